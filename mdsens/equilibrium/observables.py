r"""What is averaged: observables that know the temperature, and the energy whose weight the dynamics samples."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mdsens.energy import PairPotential, State, energy, energy_at
from mdsens.energy.parameters import Parameters, at_pairs
from mdsens.energy.strain import periodic_box
from mdsens.errors import UserError
from mdsens.neighbors import pair_distances
from mdsens.observables import StressComponent, mean_overlap, number_density, packing_fraction
from mdsens.types import Box, PeriodicBox, Position, Scalar, replaced

Observable = Callable[[State], Scalar]
_STRESS = re.compile(r"stress\[([012]),([012])\]")
_FEW = 8  # directions up to which forward derivatives, free of scattered sums, beat one backward pass
_JUST_INSIDE = 1.0 - 1e-12  # of the cutoff: the law's value there from within


class Tail(NamedTuple):
    """Mean-field corrections for the part of a law beyond its cutoff.

    Attributes:
        energy: Its energy as a function of the state, units of energy.
        pressure: Its pressure, units of energy per volume.
    """

    energy: Observable
    pressure: Observable


class TailedEnergy(eqx.Module):
    """The potential energy, with the tail's.

    Attributes:
        tail: Corrections beyond the cutoff; None for none.
        per_particle: Whether it is divided by the number of particles.
    """

    tail: Tail | None = eqx.field(static=True, default=None)
    per_particle: bool = eqx.field(static=True, default=False)

    def __call__(self, state: State) -> Scalar:
        """Return U, or U/N, units of energy."""
        total = energy(state) + (self.tail.energy(state) if self.tail else 0.0)
        return total / state.configuration.n_particles if self.per_particle else total


class ThermalPressure(eqx.Module):
    r"""The pressure of a thermal state, :math:`P = N k_B T/V - (\partial U/\partial V) + P_{tail}`.

    Attributes:
        temperature: k_B T, units of energy.
        tail: Corrections beyond the cutoff; None for none.
    """

    temperature: float = eqx.field(static=True)
    tail: Tail | None = eqx.field(static=True, default=None)

    def __call__(self, state: State) -> Scalar:
        """Return the instantaneous pressure, units of energy per volume, its kinetic part already averaged.

        Raises:
            UserError: For a free system, which has no volume.
        """
        box = periodic_box(state)

        def scaled(factor: Scalar) -> Scalar:
            larger = Parameters(state.potential, replaced(box, {"matrix": box.matrix * factor}))
            return energy_at(state, state.position * factor, larger)

        # the derivative that mdsens.energy.pressure takes, but forwards: several times faster
        _, slope = jax.jvp(scaled, (jnp.ones(()),), (jnp.ones(()),))
        static = -slope / (box.dimension * box.volume)
        tail = self.tail.pressure(state) if self.tail else 0.0
        return static + self.temperature * number_density(state) + tail


class ThermalStress(eqx.Module):
    r"""A component of the stress of a thermal state, :math:`\sigma_{ij} - \delta_{ij} N k_B T/V`; tension is positive.

    Attributes:
        temperature: k_B T, units of energy.
        static: The component without the kinetic part.
    """

    temperature: float = eqx.field(static=True)
    static: StressComponent

    def __call__(self, state: State) -> Scalar:
        """Return the component, units of energy per volume."""
        kinetic = self.temperature * number_density(state) if self.static.i == self.static.j else 0.0
        return self.static(state) - kinetic


def thermal_observable(name: str, temperature: float, tail: Tail | None = None) -> Observable:
    """Return the observable of that name at a temperature.

    Args:
        name: ``energy`` (U), ``energy_per_particle`` (U/N), ``pressure`` (with its kinetic part; these three with the
            tail), ``stress[i,j]`` (with its kinetic part), ``packing_fraction``, or ``mean_overlap``.
        temperature: k_B T, units of energy.
        tail: Corrections beyond the cutoff; None for none.

    Raises:
        UserError: When there is no observable of that name; the message names the nearest.
    """
    known: dict[str, Observable] = {
        "energy": TailedEnergy(tail),
        "energy_per_particle": TailedEnergy(tail, per_particle=True),
        "pressure": ThermalPressure(temperature, tail),
        "packing_fraction": packing_fraction,
        "mean_overlap": mean_overlap,
    }
    if name in known:
        return known[name]
    if found := _STRESS.fullmatch(name.replace(" ", "")):
        return ThermalStress(temperature, StressComponent(int(found[1]), int(found[2])))
    names = [*known, "stress[0,1]"]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.3)
    hint = f"did you mean {near[0]}? Known" if near else "known"
    raise UserError(f"there is no thermal observable {name!r}; {hint}: {', '.join(names)}.")


def sampled_energy(state: State) -> Scalar:
    r"""Return the energy whose Boltzmann weight molecular dynamics samples, units of energy.

    Forces know nothing of a jump of the law at its cutoff: the particles move as under the continuous law

    .. math:: U_{sampled} = \sum_{r_{ij} < r_c} [u(r_{ij}) - u(r_c)]

    and samples must be weighed by :math:`e^{-\beta (U - U_{sampled})}` to belong to the law as it is. The two are the
    same for every law that does not jump.
    """
    law, pairs = state.potential, state.pairs
    if not isinstance(law, PairPotential) or law.smoothness > 0:
        return energy(state)
    expanded = at_pairs(law, state.configuration.species, pairs.i, pairs.j)
    reach = jnp.broadcast_to(law.cutoff * expanded.pair_length, pairs.mask.shape)
    edge = expanded.pair_energy(reach * _JUST_INSIDE)
    inside = pairs.mask & (pair_distances(state.configuration, pairs) < reach)
    return energy(state) - jnp.sum(jnp.where(inside, edge, 0.0))


def value_and_slopes(
    observable: Observable, state: State, tangents: Parameters, *, moves_box: bool
) -> tuple[Scalar, Float[Array, " k"]]:
    r"""Return A and dA/dp along every direction, positions following the box.

    Where a direction changes the box, fractional coordinates are held, :math:`x \to B' B^{-1} x`: at fixed real
    positions the average over a box has no derivative in its size. The factor V^N of the partition function is the same
    for all states and drops out of :math:`d\langle A\rangle/dp = \langle dA/dp\rangle - \beta\,\mathrm{Cov}(A, dU/dp)`.

    Args:
        observable: A.
        state: The state.
        tangents: Directions dp, leading axis k of every leaf.
        moves_box: Whether any of them changes the box.

    Returns:
        The value and the k derivatives.
    """

    def along(parameters: Parameters) -> Scalar:
        position = _carried(state.position, state.configuration.box, parameters.box) if moves_box else state.position
        return observable(state.at(position, parameters))

    n_directions = jax.tree.leaves(tangents)[0].shape[0]
    if n_directions <= _FEW:
        value, onward = jax.linearize(along, state.parameters)
        return value, jax.vmap(onward)(tangents)
    value, gradient = jax.value_and_grad(along)(state.parameters)
    pairs = zip(jax.tree.leaves(tangents), jax.tree.leaves(gradient), strict=True)
    parts = jnp.stack([jnp.reshape(t, (n_directions, -1)) @ jnp.ravel(g) for t, g in pairs])
    return value, jnp.sum(parts, axis=0)


def _carried(position: Position, old: Box, new: Box) -> Position:
    """Return the positions deformed with the box."""
    if isinstance(old, PeriodicBox) and isinstance(new, PeriodicBox):
        return position @ jax.lax.stop_gradient(old.inverse).T @ new.matrix.T
    return position
