"""jax-md's energy functions as potentials: as they are, made from our displacement, or over a dense neighbour list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from mdsens.energy.foreign import EnergyFunction, NeighborEnergyFunction
from mdsens.energy.potential import Locality
from mdsens.neighbors import PairList, jax_md_neighbors
from mdsens.types import Box, Configuration, PeriodicBox, Position, Scalar
from mdsens.units import Powers

Displacement = Callable[..., Float[Array, "d"]]
_FAR = 1e4  # box edges at which jax-md's laws are evaluated for a particle with itself, where they count nothing


def from_jax_md(
    energy_fn: Callable[..., Scalar],
    params: Mapping[str, Any],
    *,
    name: str = "jax_md",
    locality: Locality | None = None,
    units: Mapping[str, Powers] | None = None,
) -> EnergyFunction:
    """Adapt a jax-md energy function as it is, at fixed box: its box stands in a closure.

    Args:
        energy_fn: ``energy_fn(position, sigma=..., epsilon=..., ...)`` as made by ``jax_md.energy.*_pair``. Its space
            must take real coordinates (not ``fractional_coordinates=True``, which makes derivatives L times too large).
        params: The keyword arguments to differentiate in.
        name: Prefix of parameter paths.
        locality: How far the influence of a particle reaches; not known if left out.
        units: Units of parameters by name as powers, for the scale identities.

    Returns:
        A potential that refuses pressure, strain and box; ``from_jax_md_displacement`` makes one that has them.

    Notes:
        Some of jax-md's whole-system functions (Lennard-Jones) evaluate their law at the distance zero of a particle to
        itself: adjoint derivatives in their parameters are then NaN, and refused; forward ones are finite, and
        ``from_jax_md_displacement`` has both.
    """

    def function(position: Position, params: PyTree, box: Box) -> Scalar:
        return energy_fn(position, **params)

    return EnergyFunction(function, params, name, locality or Locality(), units or {})


def from_jax_md_displacement(
    make: Callable[[Displacement], Callable[..., Scalar]],
    params: Mapping[str, Any],
    *,
    name: str = "jax_md",
    locality: Locality | None = None,
    units: Mapping[str, Powers] | None = None,
) -> EnergyFunction:
    """Adapt a jax-md energy function that is made from a displacement, so that it follows the box.

    Args:
        make: ``make(displacement) -> energy_fn(position, **params)``, such as
            ``lambda displacement: jax_md.energy.morse_pair(displacement, alpha=5.0)``. The displacement is ours,
            between nearest images in the box of the state; of a particle from itself it is long, so that no law is
            evaluated at the distance zero.
        params: The keyword arguments to differentiate in.
        name: Prefix of parameter paths.
        locality: How far the influence of a particle reaches; not known if left out.
        units: Units of parameters by name as powers, for the scale identities.

    Returns:
        A potential with pressure, strain derivatives and elastic moduli.
    """

    def function(position: Position, params: PyTree, box: Box) -> Scalar:
        away = _FAR * (box.length if isinstance(box, PeriodicBox) else 1.0 + jnp.max(jnp.abs(position)))
        away = jax.lax.stop_gradient(away)

        def displacement(first: Array, second: Array, **handed_on: Any) -> Array:
            del handed_on  # jax-md gives a displacement the law's parameters and a time, too; a law checks its own
            # and tries it with vectors of several lengths
            if first.shape != (box.dimension,):
                raise ValueError(f"the displacement takes vectors of {box.dimension} components, not {first.shape}.")
            separation = first - second
            # a particle and itself are one point: nothing else is, which is checked before anything is computed
            same = jnp.all(jax.lax.stop_gradient(separation) == 0.0, axis=-1, keepdims=True)
            return jnp.where(same, away, box.displacement(separation))

        return make(displacement)(position, **params)

    return EnergyFunction(function, params, name, locality or Locality(), units or {}, parts_places=True)


def from_jax_md_neighbors(
    energy_fn: Callable[..., Scalar],
    params: Mapping[str, Any],
    locality: Locality,
    *,
    max_neighbors: int,
    with_self: bool = False,
    name: str = "jax_md",
) -> NeighborEnergyFunction:
    """Adapt a jax-md energy function that takes a dense neighbour list, at fixed box.

    Args:
        energy_fn: ``energy_fn(position, neighbor, **params)``, the second of the two functions that
            ``jax_md.energy.*_neighbor_list(..., format=partition.Dense)`` return, in real coordinates.
        params: The keyword arguments to differentiate in.
        locality: Its cutoff, and how many of them the influence of a particle travels.
        max_neighbors: Most neighbours of a particle within the cutoff; where there are more, energy and forces
            are NaN.
        with_self: Whether a particle is listed among its own neighbours, as ``eam_neighbor_list`` has it.
        name: Prefix of parameter paths.

    Returns:
        A potential that refuses pressure, strain and box, as that of ``from_jax_md``, and boxes below two cutoffs.
    """

    def function(configuration: Configuration, params: PyTree, pairs: PairList) -> Scalar:
        neighbors, fits = jax_md_neighbors(configuration, pairs, locality.cutoff, max_neighbors, with_self=with_self)
        # a factor, because the derivative of a chosen NaN would be zero
        return jnp.where(fits, 1.0, jnp.nan) * energy_fn(configuration.position, neighbors, **params)

    return NeighborEnergyFunction(function, params, locality, name, nearest_only=True, has_box=False)
