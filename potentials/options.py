"""The ``[potential]`` section of a law, made from what the law declares of its fields."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_type_hints

import jax.numpy as jnp
import pydantic
from jaxtyping import Array
from pydantic import Field

from mdsens.config import Section
from mdsens.energy import Declared, PairPotential, declared_fields
from mdsens.parameters import Entries, PerPair, PerParticle, PerSpecies, Uniform
from mdsens.types import LARGEST

Mixing = Literal["additive", "independent"]
Build = Callable[[Any, Array, int], PairPotential]
_ENTRIES = "one number, one per species ({mixing}), or one per pair (AA, AB, BB, ...)"


def section_of(law: type[PairPotential], kind: str) -> tuple[type[Section], Build]:
    """Return the ``[potential]`` section of a law and the function that makes the law from it.

    Every declared field is a key: settings with their type, range and default; parameters as one number, one per
    species, one per particle or one per pair of species. A parameter that is ``of_system`` defaults to the system's
    diameters, and ``mixing`` says whether those of unlike species are their mean or entries of their own.

    Args:
        law: The law's class.
        kind: Its name in TOML files.
    """
    hints, defaults = get_type_hints(law), inspect.signature(law).parameters
    fields: dict[str, Any] = {"kind": (Literal[kind], kind)}
    number: Any
    for name, declared in declared_fields(law):
        default = defaults[name].default
        if _is_setting(law, name):
            fields[name] = (hints[name], _field(default, declared))
        elif declared.of_system:
            fields["mixing"] = (
                Mixing,
                Field("additive", description=f"{name} of unlike species: mean of the two, or an independent entry"),
            )
            about = f"{declared.about}; default: the system's diameters. independent: AA, AB, BB, ..."
            number = _number(declared)
            fields[name] = (tuple[number, ...] | None, Field(None, description=about))
        else:
            number = _number(declared)
            about = f"{declared.about}: {_ENTRIES.format(mixing=declared.mixing.__name__.replace('_', ' '))}"
            given = (
                Field(description=about) if default is inspect.Parameter.empty else Field(default, description=about)
            )
            fields[name] = (number | tuple[number, ...], given)
    doc = f'The ``[potential]`` section for ``kind = "{kind}"``.'
    options: type[Section] = pydantic.create_model(f"{law.__name__}Options", __base__=Section, __doc__=doc, **fields)

    def build(section: Any, diameters: Array, n_species: int) -> PairPotential:
        """Make the law.

        Args:
            section: The validated ``[potential]`` section.
            diameters: Diameter per species, shape (s,), or per particle, shape (n,), as the system defines them.
            n_species: Number of species s.

        Raises:
            ValueError: When a list has the wrong number of entries or the law refuses a value.
        """
        return law(
            **{
                name: getattr(section, name)
                if _is_setting(law, name)
                else lengths(section.mixing, getattr(section, name), diameters, n_species, name)
                if declared.of_system
                else entries(getattr(section, name), n_species, name, declared)
                for name, declared in declared_fields(law)
            }
        )

    return options, build


def lengths(mixing: str, given: tuple[float, ...] | None, diameters: Array, n_species: int, name: str) -> Entries:
    """Return the lengths of a law from the entries given, or from the system's diameters.

    Args:
        mixing: "additive": a pair has the mean of its two diameters; "independent": every pair of species has its own.
        given: The entries given; None for the system's diameters.
        diameters: Diameter per species, shape (s,), or per particle, shape (n,), as the system defines them.
        n_species: Number of species s.
        name: The field's name, for messages.

    Raises:
        ValueError: When there is a wrong number of entries.
    """
    values = jnp.asarray(given if given is not None else diameters, dtype=float)
    n_pairs = n_species * (n_species + 1) // 2
    if mixing == "independent":
        if values.shape == (n_pairs,) and given is not None:
            return PerPair(values)
        if values.shape != (n_species,):
            raise ValueError(
                f"potential.{name} has {values.shape[0]} entries; independent mixing of {n_species} species needs "
                f"{n_pairs} (AA, AB, ...) or {n_species} (one per species)."
            )
        first, second = jnp.triu_indices(n_species)
        return PerPair(0.5 * (values[first] + values[second]))
    if values.shape == (n_species,):
        return PerSpecies(values)
    if values.shape == diameters.shape:
        return PerParticle(values)
    raise ValueError(
        f"potential.{name} has {values.shape[0]} entries; additive mixing needs {n_species} (one per species) "
        f"or {diameters.shape[0]} (one per particle)."
    )


def entries(given: float | tuple[float, ...], n_species: int, name: str, declared: Declared) -> Entries:
    """Return a parameter from one number, s of them (mixed as declared), or s (s + 1)/2 (AA, AB, ...).

    Raises:
        ValueError: When there is another number of entries.
    """
    if isinstance(given, float | int):
        return Uniform(given)
    n_pairs = n_species * (n_species + 1) // 2
    values = jnp.asarray(given, dtype=float)
    if n_species > 1 and values.shape == (n_species,):
        return PerSpecies(values, mixing=declared.mixing)
    if values.shape == (n_pairs,):
        return PerPair(values)
    raise ValueError(
        f"potential.{name} has {values.shape[0]} entries; give one number, {n_species} (one per species) "
        f"or {n_pairs} (AA, AB, ...)."
    )


def _is_setting(law: type[PairPotential], name: str) -> bool:
    return bool(law.__dataclass_fields__[name].metadata.get("static"))


def _number(declared: Declared) -> Any:
    """Return the type of one entry with its range; what is positive is neither tiny nor huge beyond all reason."""
    smallest = 1 / LARGEST if declared.above == 0 else -LARGEST if declared.at_least is None else declared.at_least
    return Annotated[float, Field(gt=declared.above, ge=smallest, le=LARGEST)]


def _field(default: Any, declared: Declared) -> Any:
    return Field(default, gt=declared.above, ge=declared.at_least, le=declared.at_most, description=declared.about)
