"""Parameters of laws as a TOML file gives them: numbers whose count says what they belong to."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array

from mdsens.energy import Declared
from mdsens.energy.entries import Entries
from mdsens.energy.group_parameters import PerBond, PerKind
from mdsens.energy.mixing import NonAdditive, arithmetic_mean
from mdsens.energy.parameters import PerPair, PerParticle, PerSpecies, Uniform
from mdsens.types import Groups


def lengths(
    mixing: str,
    given: tuple[float, ...] | None,
    diameters: Array,
    n_species: int,
    key: str,
    non_additivity: float = 0.0,
) -> Entries:
    """Return the lengths of a law from the entries given, or from the system's diameters.

    Args:
        mixing: "additive": a pair has the mean of its two diameters; "independent": every pair of species has its own.
        given: The entries given; None for the system's diameters.
        diameters: Diameter per species, shape (s,), or per particle, shape (n,), as the system defines them; shape (0,)
            where it defines none.
        n_species: Number of species s.
        key: The key in the TOML file, for messages.
        non_additivity: Strength of ``NonAdditive``, units of 1/length; the mean for zero.

    Raises:
        ValueError: When there is a wrong number of entries, none although the system has no diameters, or independent
            entries are to be mixed.
    """
    if mixing == "independent" and non_additivity:
        raise ValueError(
            f"{key} has independent entries and non_additivity {non_additivity}: it is for the mean; give one of them."
        )
    rule = NonAdditive(non_additivity) if non_additivity else arithmetic_mean
    if given is None and not diameters.size:
        raise ValueError(
            f"{key} is not given and the start has no diameters: give system.diameters, one per species or one per "
            f"particle, or {key}."
        )
    values = jnp.asarray(given if given is not None else diameters, dtype=float)
    n_pairs = n_species * (n_species + 1) // 2
    if mixing == "independent":
        if values.shape == (n_pairs,) and given is not None:
            return PerPair(values)
        if values.shape != (n_species,):
            raise ValueError(
                f"{key} has {values.shape[0]} entries; independent mixing of {n_species} species needs "
                f"{n_pairs} (AA, AB, ...) or {n_species} (one per species)."
            )
        first, second = jnp.triu_indices(n_species)
        return PerPair(0.5 * (values[first] + values[second]))
    if values.shape == (n_species,):
        return PerSpecies(values, rule)
    if values.shape == diameters.shape or not diameters.size:  # how many particles there are, the law is told later
        return PerParticle(values, rule)
    raise ValueError(
        f"{key} has {values.shape[0]} entries; additive mixing needs {n_species} (one per species) "
        f"or {diameters.shape[0]} (one per particle)."
    )


def entries(given: float | tuple[float, ...], n_species: int, key: str, declared: Declared) -> Entries:
    """Return a parameter from one number, s of them (mixed as declared), or s (s + 1)/2 (AA, AB, ...).

    Args:
        given: The number or numbers.
        n_species: Number of species s.
        key: The key in the TOML file, for messages.
        declared: What the law says of it.

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
        f"{key} has {values.shape[0]} entries; give one number, {n_species} (one per species) "
        f"or {n_pairs} (AA, AB, ...)."
    )


def site_entries(given: float | tuple[float, ...], n_species: int, key: str) -> Entries:
    """Return a parameter of particles from one number or one per species.

    Args:
        given: The number or numbers.
        n_species: Number of species s.
        key: The key in the TOML file, for messages.

    Raises:
        ValueError: When there is another number of entries.
    """
    if isinstance(given, float | int):
        return Uniform(given)
    if len(given) != n_species:
        raise ValueError(f"{key} has {len(given)} entries; give one number or {n_species} (one per species).")
    return PerSpecies(jnp.asarray(given, dtype=float))


def groups_named(name: str, topology: Mapping[str, Groups], place: str) -> Groups:
    """Return the groups that a bonded law sums over.

    Args:
        name: Their name.
        topology: The start's groups of particles by name.
        place: The law's section in the TOML file, for messages.

    Raises:
        ValueError: When there are none of that name.
    """
    if name in topology:
        return topology[name]
    if topology:
        raise ValueError(f"{place}.topology is {name!r}; the groups of the start are {', '.join(map(repr, topology))}.")
    raise ValueError(
        f"{place}.topology is {name!r}, and the start has no groups: start from an .npz file with an array "
        f'topology.{name}.index (system.kind = "file"), or from a results file that has such groups.'
    )


def group_entries(given: float | tuple[float, ...], groups: Groups, key: str) -> Entries:
    """Return a parameter of bonds or other groups from one number, one per kind of them, or one per group.

    Args:
        given: The number or numbers; as many as there are both kinds and groups belong to the kinds.
        groups: The groups.
        key: The key in the TOML file, for messages.

    Raises:
        ValueError: When there is another number of entries.
    """
    if isinstance(given, float | int):
        return Uniform(given)
    n_groups, n_kinds = len(groups.index), groups.n_kinds
    if len(given) == n_kinds:
        return PerKind(jnp.asarray(given, dtype=float))
    if len(given) == n_groups:
        return PerBond(jnp.asarray(given, dtype=float))
    raise ValueError(
        f"{key} has {len(given)} entries; give one number, {n_kinds} (one per kind of group) or {n_groups} (one per "
        "group)."
    )
