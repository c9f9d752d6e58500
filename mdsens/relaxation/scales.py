"""Units of length and energy: what a law declares for the particles there are, or what an energy shows at a start."""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mdsens.energy import PairPotential, State
from mdsens.energy.products import hessian_products
from mdsens.energy.stiffness import ALIKE, declared_and_spread, scales
from mdsens.types import Configuration, PeriodicBox

_PROBES = 4  # products with the Hessian that show how stiff an energy is
_SAMPLE = 2_000_000  # distances looked at for a mean spacing


class Scales(eqx.Module):
    """What a relaxation measures with; units are floats, or scalars where traced.

    Attributes:
        length: Unit of length.
        energy: Unit of energy.
        felt: Curvature that every particle feels, shape (n,), units of energy per length^2, where it is measured from
            products with the Hessian; empty where pairs show it or all particles are alike.
        force: Unit of force tolerances: energy over length; of unlike contacts that of the softest, of energies that
            declare no units 1 unless their forces are smaller by orders of magnitude.
        alike: Whether all pairs of a law are about equally stiff and long.
        contact: Whether the law is one of contact, which is as stiff as declared wherever particles touch.
    """

    length: Any
    energy: Any
    felt: Float[Array, " k"]
    force: Any
    alike: bool = eqx.field(static=True, default=True)
    contact: bool = eqx.field(static=True, default=False)

    @classmethod
    def declared(cls, state: State) -> Scales:
        """Return the units that a law declares, all particles taken as alike; may be traced."""
        length, energy = scales(state.potential, state.configuration)
        contact = isinstance(state.potential, PairPotential) and state.potential.contact
        length, energy = jax.lax.stop_gradient((length, energy))
        return cls(length, energy, jnp.zeros(0), energy / length, contact=contact)

    @classmethod
    def found(cls, state: State) -> Scales:
        """Return the scales of a start, from the host."""
        if isinstance(state.potential, PairPotential):
            length, energy, softest, spread = (float(number) for number in declared_and_spread(state))
            contact, alike = state.potential.contact, spread <= ALIKE
            force = softest if contact and not alike else energy / length
            return cls(length, energy, jnp.zeros(0), force, alike=alike, contact=contact)
        length, felt = _spacing(state.configuration), hessian_rows(state)
        energy = float(jnp.mean(felt)) * length**2
        return cls(length, energy, felt, _small(energy / length), alike=False)

    @property
    def from_pairs(self) -> bool:
        """Whether every particle's mass follows from its pairs."""
        return not len(self.felt) and not (self.contact and self.alike)


@jax.jit
def hessian_rows(state: State) -> Float[Array, " n"]:
    """Return an estimate of the norms of every particle's rows of the Hessian, units of energy per length^2.

    The norms of a particle's part of products with random signs have the norm of its rows as their mean square.
    Where a row is below a tenth of their mean, that takes its place: a particle without neighbours will have some.
    """
    signs = jax.random.rademacher(jax.random.key(0), (_PROBES, *state.position.shape), float)
    rows = jnp.sqrt(jnp.mean(jnp.sum(hessian_products(state, signs) ** 2, axis=-1), axis=0))
    known = jnp.isfinite(rows) & (rows > 0)
    mean = jnp.sum(jnp.where(known, rows, 0.0)) / jnp.maximum(jnp.sum(known), 1)
    mean = jnp.where(mean > 0, mean, 1.0)
    return jnp.where(known, jnp.maximum(rows, 0.1 * mean), mean)


def _small(force: float) -> float:
    """Return 1, or the power of ten below a force that is smaller by orders of magnitude, as in SI units."""
    return 1.0 if force >= 1e-3 else 10.0 ** math.floor(math.log10(force))


def _spacing(configuration: Configuration) -> float:
    """Return the median distance of a particle to its nearest one; of one particle alone the box's edge, or 1."""
    position, box = np.asarray(configuration.position), configuration.box
    n = len(position)
    chosen = np.arange(0, n, max(1, math.ceil(n * n / _SAMPLE)))
    apart = box.displacement(jnp.asarray(position[chosen][:, None] - position[None]))
    distance = np.linalg.norm(np.asarray(apart), axis=-1)
    nearest = np.where(distance > 0, distance, np.inf).min(axis=1)
    nearest = nearest[np.isfinite(nearest)]
    if len(nearest):
        return float(np.median(nearest))
    return float(box.length) if isinstance(box, PeriodicBox) else 1.0
