"""The members of a group with their contacts and responses, inside compiled code."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mdsens.batch.algebra import Response, respond
from mdsens.batch.fire import Units, units, with_skin
from mdsens.batch.kernels import expanded, list_pairs
from mdsens.batch.newton import Contacts, PairValues, backbone_hessian, contacts, pairs_at
from mdsens.batch.stack import Stack, positions
from mdsens.energy import State
from mdsens.energy.parameters import Parameters
from mdsens.neighbors import PairList
from mdsens.types import Box, Scalar


class Loaded(eqx.Module):
    """One member with its contacts: what forces and their derivatives need.

    Attributes:
        state: The member.
        j: Partners, shape (k, n).
        held: True for backbone contacts, same shape.
    """

    state: State
    j: Int[Array, "k n"]
    held: Bool[Array, "k n"]

    def forces(self, x: Float[Array, "d n"], parameters: Parameters) -> Float[Array, " m"]:
        """Return the forces of the contacts, component by component."""
        parts, distance, own = self._pairs(x, parameters)
        slope = jax.grad(lambda r: jnp.sum(own.pair_energy(r)))(distance)
        tension = jnp.where(self.held, slope, 0.0) / distance
        return jnp.concatenate([-jnp.sum(tension * c, axis=0) for c in parts])

    def _pairs(self, x: Array, parameters: Parameters) -> tuple[tuple[Array, ...], Array, Any]:
        own = expanded(self.state, parameters.potential, self.j)
        parts = parameters.box.nearest(tuple(c - c[self.j] for c in x))
        parts = (jnp.where(self.held, parts[0], 1.0), *(jnp.where(self.held, c, 0.0) for c in parts[1:]))
        return parts, jnp.sqrt(sum(c * c for c in parts)), own

    def stiffness(self, x: Float[Array, "d n"]) -> Float[Array, "c k n"]:
        """Return the d d components of every contact's block."""
        parts, distance, own = self._pairs(x, self.state.parameters)
        slope = jax.grad(lambda r: jnp.sum(own.pair_energy(r)))
        first, second = jax.jvp(slope, (distance,), (jnp.ones_like(distance),))
        across = first / distance
        along = second - across
        unit = [c / distance for c in parts]
        d = range(len(parts))
        blocks = [along * unit[a] * unit[c] + (across if a == c else 0.0) for a in d for c in d]
        return jnp.where(self.held, jnp.stack(blocks), 0.0)

    def row_sum_drift(self, x: Array, step: Array) -> Scalar:
        """Bound the norm of the Hessian's change along a step, as ``mdsens.hessian.directional_row_sum``."""
        change = jax.jvp(self.stiffness, (x,), (step,))[1]
        return 2.0 * jnp.max(jnp.sum(jnp.sqrt(jnp.sum(change**2, axis=0)), axis=0))

    @property
    def with_pairs(self) -> State:
        """The member as a state that lists its backbone contacts."""
        own = jnp.broadcast_to(jnp.arange(self.j.shape[1], dtype=self.j.dtype), self.j.shape)
        mask = (self.held & (own < self.j)).ravel()
        i, j = (jnp.where(mask, index.ravel(), 0) for index in (own, self.j))
        apart = tuple(x[i] - x[j] for x in self.state.position.T)
        shift = jnp.stack(self.state.configuration.box.images(apart)).astype(jnp.int32)
        return self.state.with_pairs(PairList(i, j, mask, shift))


def loaded_members(stack: Stack, capacity: int) -> tuple[Loaded, Response]:
    """Return the members with their contacts, and their responses."""
    position = jnp.swapaxes(positions(stack), 1, 2)
    unit: Units = with_skin(units(stack), 0.0)
    lists = list_pairs(stack, position, unit.skin, capacity)
    pairs: PairValues = pairs_at(stack, position, lists)
    network: Contacts = contacts(stack, pairs.distance, lists)
    matrix, norm = backbone_hessian(pairs, network, lists)
    box: Box = stack.configuration.box
    response = jax.vmap(respond)(matrix, norm, position, network.backbone, box)
    return jax.vmap(Loaded)(stack, lists.j, network.held), response
