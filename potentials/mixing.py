"""How the entries of sigma and epsilon in a TOML file become parameters: what laws of two parameters share."""

from __future__ import annotations

from typing import Annotated, Literal

import jax.numpy as jnp
from jaxtyping import Array
from pydantic import Field

from mdsens.parameters import PairParameter, PerPair, PerParticle, PerSpecies, Uniform, geometric_mean
from mdsens.types import LARGEST

Positive = Annotated[float, Field(gt=0, ge=1 / LARGEST, le=LARGEST)]
Mixing = Literal["additive", "independent"]


def pair_lengths(mixing: Mixing, sigma: tuple[float, ...] | None, diameters: Array, n_species: int) -> PairParameter:
    """Return the lengths of a law.

    Args:
        mixing: "additive": a pair has the mean of its two diameters; "independent": every pair of species has its own.
        sigma: The entries given; None for the system's diameters.
        diameters: Diameter per species, shape (s,), or per particle, shape (n,), as the system defines them.
        n_species: Number of species s.

    Raises:
        ValueError: When there is a wrong number of entries or one of them is not finite and positive.
    """
    values = jnp.asarray(sigma if sigma is not None else diameters, dtype=float)
    n_pairs = n_species * (n_species + 1) // 2
    if mixing == "independent":
        if values.shape == (n_pairs,) and sigma is not None:
            return PerPair(values)
        if values.shape != (n_species,):
            raise ValueError(
                f"potential.sigma has {values.shape[0]} entries; independent mixing of {n_species} species needs "
                f"{n_pairs} (AA, AB, ...) or {n_species} (one per species)."
            )
        first, second = jnp.triu_indices(n_species)
        return PerPair(0.5 * (values[first] + values[second]))
    if values.shape == (n_species,):
        return PerSpecies(values)
    if values.shape == diameters.shape:
        return PerParticle(values)
    raise ValueError(
        f"potential.sigma has {values.shape[0]} entries; additive mixing needs {n_species} (one per species) "
        f"or {diameters.shape[0]} (one per particle)."
    )


def pair_energies(epsilon: float | tuple[float, ...], n_species: int) -> PairParameter:
    """Return the energies of a law: one for all, one per species (geometric mean), or one per pair of species.

    Args:
        epsilon: One number, s of them, or s (s + 1)/2 (AA, AB, ...).
        n_species: Number of species s.

    Raises:
        ValueError: When there is a wrong number of entries or one of them is not finite and positive.
    """
    if isinstance(epsilon, float | int):
        return Uniform(epsilon)
    n_pairs = n_species * (n_species + 1) // 2
    values = jnp.asarray(epsilon, dtype=float)
    if n_species > 1 and values.shape == (n_species,):
        return PerSpecies(values, mixing=geometric_mean)
    if values.shape == (n_pairs,):
        return PerPair(values)
    raise ValueError(
        f"potential.epsilon has {values.shape[0]} entries; give one number, {n_species} (one per species) "
        f"or {n_pairs} (AA, AB, ...)."
    )
