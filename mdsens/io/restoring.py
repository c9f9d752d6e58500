"""What a results file of one state was made from: its potential and its settings, made again from the file alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from mdsens.energy import Potential, summed
from mdsens.energy.group_parameters import PerBond, PerKind
from mdsens.energy.knots import PerKnot
from mdsens.energy.mixing import rule_named
from mdsens.energy.parameters import PerPair, PerParticle, PerSpecies, Uniform
from mdsens.errors import UserError
from mdsens.io.stored import StoredRun, StoredTerm
from mdsens.relaxation import MINIMIZERS, RelaxationSettings


def restored_potential(stored: StoredRun, laws: Mapping[str, Callable[..., Potential]]) -> Potential:
    """Return the potential of a stored run, bit for bit.

    Args:
        stored: The run.
        laws: The classes of potentials by the names of their laws.

    Raises:
        UserError: When a law is none of them, or a parameter is of a type that is not the library's own.
    """
    terms = {}
    for term in stored.terms:
        kind = laws.get(term.law)
        if kind is None:
            raise UserError(
                f"the potential {term.law!r} cannot be made from the file: it is none of {', '.join(laws)}."
            )
        terms[term.name] = kind(**term.fields, **_restored_params(stored, term))
    return summed(terms)


def restored_settings(stored: Mapping[str, Any]) -> RelaxationSettings:
    """Return the engine's settings as a results file has them."""
    names = ("max_force", "max_steps", "skin", "newton", "linear_solver")
    rules = {rule.words: rule for rule in MINIMIZERS.values()}
    try:
        rule = rules[stored["minimizer"]]
        changed = {field.name: stored[f"minimizer.{field.name}"] for field in dataclasses.fields(rule)}
        given = {name: stored[name] for name in names}
    except KeyError as error:
        raise UserError(
            f"the file is damaged or incomplete at /relaxation/settings ({error}): make it again."
        ) from None
    return RelaxationSettings(**given, minimizer=dataclasses.replace(rule, **changed))


def _restored_params(stored: StoredRun, term: StoredTerm) -> dict[str, Any]:
    """Return the parameters of a term of a stored run by field, bit for bit.

    Args:
        stored: The run.
        term: One of its terms.

    Returns:
        Entries by name: arguments of the law.

    Raises:
        UserError: When a field is of a type or mixing rule that is not the library's own.
    """
    found = {}
    for field, kind, rule in term.layout:
        prefix = f"{term.name}.{field}"
        values = stored.parameter_values[[path.split("[")[0] == prefix for path in stored.parameter_paths]]
        mixing = rule_named(rule)
        if kind not in _PARAMETER_TYPES or (rule and mixing is None):
            raise UserError(
                f"{prefix} cannot be made from the file: it is a {kind} mixed by {rule or 'no rule'}, which is no type "
                "or rule of mdsens; verify it from Python."
            )
        given = jnp.asarray(values.reshape(()) if kind == "Uniform" else values)
        found[field] = _PARAMETER_TYPES[kind](given, *([mixing] if rule else []))
    return found


_PARAMETER_TYPES: Mapping[str, Any] = {
    kind.__name__: kind for kind in (Uniform, PerSpecies, PerPair, PerParticle, PerKind, PerBond, PerKnot)
}
