"""FIRE, the fast inertial relaxation engine of jax-md."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from mdsens.machine.jax_md import part
from mdsens.relaxation.minimizer import Minimizer, Point, Surface, largest_norm, refuse_outside, shortened
from mdsens.types import Position, Scalar

_SHORTEST = 1e-12  # a time step in units of the fastest vibration, below which nothing moves


class Fire(Minimizer):
    """Settings of jax-md's FIRE (time in units of sqrt(mass/k) with the law's stiffness k).

    Attributes:
        dt_start: First time step, > 0.
        dt_max: Largest time step, >= dt_start.

    References:
        E. Bitzek, P. Koskinen, F. Gahler, M. Moseler, P. Gumbsch, Phys. Rev. Lett. 97, 170201 (2006),
        doi:10.1103/PhysRevLett.97.170201.
    """

    words: ClassVar[str] = "FIRE"
    dt_start: float = eqx.field(static=True, default=0.1)
    dt_max: float = eqx.field(static=True, default=0.4)

    def __check_init__(self) -> None:
        refuse_outside(self, "dt_start", low=_SHORTEST)
        refuse_outside(self, "dt_max", low=self.dt_start)

    def start(self, surface: Surface, position: Position) -> Point:
        """Return the position at rest."""
        init, _ = self._functions(surface)
        state = init(position, mass=surface.length**2 / surface.softness)
        return _point(surface, _Memory(state, _root(surface)))

    def step(self, surface: Surface, point: Point) -> Point:
        """Return the point after one time step."""
        _, apply = self._functions(surface)
        before, root = point.memory.state, _root(surface)
        # where masses have changed velocities go on
        held = dataclasses.replace(before, momentum=before.momentum * (point.memory.root / root))
        return _point(surface, _Memory(apply(held), root))

    def momentum(self, point: Point) -> Scalar:
        """Return the largest momentum, in units in which lengths and frequencies are of order one."""
        return largest_norm(point.memory.state.momentum / point.memory.root)

    def _functions(self, surface: Surface) -> tuple[Any, Any]:
        # jax-md sees scaled coordinates, units of length: its norms compare with absolute numbers
        factor = surface.length * _root(surface)
        return part("minimize").fire_descent(
            lambda position: factor * surface.evaluate(position)[1],
            lambda position, step: position + shortened(factor * step, surface.longest),
            dt_start=self.dt_start,
            dt_max=self.dt_max,
        )


class _Memory(NamedTuple):
    state: Any  # jax-md's
    root: Array  # of the lightness, by which it sees coordinates divided


def _root(surface: Surface) -> Array:
    return jnp.sqrt(jnp.asarray(surface.lightness))


def _point(surface: Surface, memory: _Memory) -> Point:
    # computed once: it is what jax-md asked for
    energy, force = surface.evaluate(memory.state.position)
    return Point(memory.state.position, force, energy, memory)
