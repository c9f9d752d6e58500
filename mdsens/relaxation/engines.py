"""What runs a minimiser's steps: XLA for any law and rule, machine code for pair laws on a CPU."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np

from mdsens.energy import State
from mdsens.energy.native_law import NativeLaw, evaluated, free_components, native_law
from mdsens.neighbors import PairList, no_pairs
from mdsens.neighbors.listing import Cell, listed
from mdsens.relaxation import loops
from mdsens.relaxation.conjugate_gradient import ConjugateGradient
from mdsens.relaxation.descent import Reach, advance, find_pairs, room_for, start
from mdsens.relaxation.fire import Fire
from mdsens.relaxation.masses import host_lightness, longest_step, native_felt, softness
from mdsens.relaxation.minimizer import Minimizer
from mdsens.relaxation.scales import Scales
from mdsens.types import Position

_FRESH = 12  # steps after which masses that are measured are measured again; each later time twice as many


class Taken(NamedTuple):
    """Steps that were taken.

    Attributes:
        energy: After every step, shape (k,).
        max_force: Largest force after every step, shape (k,).
        largest: Largest force at the end, where no step was needed, too.
        resting: Whether forces and momenta are below what was asked for.
    """

    energy: np.ndarray
    max_force: np.ndarray
    largest: float
    resting: bool


class Engine(ABC):
    """A minimiser on its way.

    Attributes:
        reach: How far pairs are listed.
    """

    reach: Reach

    @property
    @abstractmethod
    def pairs(self) -> PairList:
        """The pairs listed last."""

    @property
    @abstractmethod
    def position(self) -> Position | np.ndarray:
        """Where it stands, shape (n, d)."""

    @property
    @abstractmethod
    def energy(self) -> float:
        """Energy there, in units of the scales."""

    @property
    @abstractmethod
    def force(self) -> Position | np.ndarray:
        """Forces there, same units."""

    @abstractmethod
    def relist(self) -> None:
        """List the pairs anew."""

    @abstractmethod
    def advance(self, threshold: float, n_steps: int, momentum: float, scales: Scales) -> Taken:
        """Take at most so many steps, until forces are below the threshold and momenta below theirs."""


def engine_for(state: State, rule: Minimizer, scales: Scales, reach: Reach) -> Engine:
    """Return what runs fastest.

    Args:
        state: Where to start, its pairs listed.
        rule: The minimiser.
        scales: What it measures with.
        reach: How far pairs are listed.
    """
    if isinstance(rule, Fire | ConjugateGradient) and not len(scales.felt):
        law = native_law(state)
        if law is not None:
            return Native(law, state, rule, scales, reach)
    return Compiled(state, rule, scales, reach)


class Compiled(Engine):
    """XLA's engine: the rule's own JAX code, lists included."""

    def __init__(self, state: State, rule: Minimizer, scales: Scales, reach: Reach) -> None:
        """Start a rule."""
        self._state, self._rule = state, rule
        self.reach, self._pairs = reach, state.pairs
        self._point = start(rule, state, scales)
        self._reference = self.position

    @property
    def pairs(self) -> PairList:
        """The pairs listed last."""
        return self._pairs

    @property
    def position(self) -> Position:
        """Where it stands."""
        return self._point.position

    @property
    def energy(self) -> float:
        """Energy there, in units of the scales."""
        return float(self._point.energy)

    @property
    def force(self) -> Position:
        """Forces there, same units."""
        return self._point.force

    def relist(self) -> None:
        """List the pairs anew, with more room where they no longer fit."""
        self._pairs, self.reach = find_pairs(self._state, self.position, self.reach, len(self._pairs.mask))
        self._reference = self.position

    def advance(self, threshold: float, n_steps: int, momentum: float, scales: Scales) -> Taken:
        """Take steps in one compiled loop."""
        segment = advance(
            self._rule, self._point, self._state, self.pairs, self._reference, threshold, self.reach, n_steps, momentum,
            scales,
        )  # fmt: skip
        self._point, self._pairs, self._reference = segment.point, segment.pairs, segment.reference
        steps = int(segment.steps)
        energies, largest = (np.asarray(part)[:steps] for part in (segment.energy, segment.max_force))
        if bool(segment.stale):
            self.relist()
        return Taken(energies, largest, float(segment.largest), bool(segment.resting))


class Native(Engine):
    """Machine code's engine: loops generated from the law; the same steps as XLA's to rounding."""

    def __init__(self, law: NativeLaw, state: State, rule: Fire | ConjugateGradient, scales: Scales, reach: Reach):
        """Start a rule."""
        self.reach, self._law, self._rule = reach, law, rule
        self._capacity = len(state.pairs.mask)
        self._state = state.with_pairs(no_pairs(state.configuration.dimension))
        self._x, self._cell = np.array(state.position, order="C"), Cell.of(state.configuration.box)
        n, self._free = len(self._x), free_components(state)
        self._force, self._scaled, self._memory = (np.zeros_like(self._x) for _ in range(3))
        self._units = np.array([scales.energy, scales.length**2 / softness(state, scales), softness(state, scales)])
        self._longest = np.array(longest_step(state, scales), dtype=float).reshape(-1)
        self._lightness = host_lightness(state, scales) if scales.from_pairs else None
        self._contact, self._length = scales.contact, float(scales.length)
        self._skin, self._grid = float(reach.skin), reach.grid  # attributes of modules are slow to look up
        self._now = np.zeros(loops.N_NOW)
        self._light, self._root = np.ones((n, 1)), np.ones((n, 1))
        self.relist()
        self._now[loops.ENERGY_NOW] = evaluated(*self._system, self._free, self._force, scales.energy)
        if not np.isfinite(self._x).all():
            self._force[:], self._now[loops.ENERGY_NOW] = np.nan, np.nan
        self._weigh()
        if isinstance(rule, Fire):
            self._scaled[:] = scales.length * self._root * self._force
            self._now[[loops.STEP, loops.MIXING]] = np.float16(rule.dt_start), loops.FIRST_MIXING
        else:
            self._memory[:] = self._light * self._force
            self._now[loops.FRACTION] = 0.5 * self._units[2]

    @property
    def pairs(self) -> PairList:
        """The pairs listed last."""
        return self._listing.padded(self._capacity)

    @property
    def position(self) -> np.ndarray:
        """Where it stands."""
        return self._x.copy()

    @property
    def energy(self) -> float:
        """Energy there, in units of the scales."""
        return float(self._now[loops.ENERGY_NOW])

    @property
    def force(self) -> np.ndarray:
        """Forces there, same units."""
        return self._force.copy()

    def relist(self) -> None:
        """List the pairs anew."""
        found = listed(self._x, self._cell, self._law.kind, self._law.reach + self._skin)
        self._capacity = room_for(found.n_pairs, len(self._x), self._grid, self._capacity)
        self._listing, self._paired, self._reference = found, self._law.paired(found), self._x.copy()

    def advance(self, threshold: float, n_steps: int, momentum: float, scales: Scales) -> Taken:
        """Take steps in stretches between two lists."""
        energies, largest, taken = np.zeros(n_steps), np.zeros(n_steps), 0
        self._now[loops.RESTING] = self._rests(threshold, momentum)
        while taken < n_steps and not self._now[loops.RESTING]:
            self._weigh()
            until = n_steps if self._lightness is None else min(n_steps, max(_FRESH, 2 * taken))
            self._now[loops.STALE] = 0.0
            taken = self._stretch(energies, largest, threshold, momentum, taken, until)
            if self._now[loops.STALE]:
                self.relist()
        return Taken(energies[:taken], largest[:taken], self._largest, bool(self._now[loops.RESTING]))

    def _stretch(
        self, energies: np.ndarray, largest: np.ndarray, threshold: float, momentum: float, first: int, last: int
    ) -> int:
        fire = isinstance(self._rule, Fire)
        return (loops.fire if fire else loops.conjugate_gradient)(
            *self._system,
            self._now,
            energies,
            largest,
            self._units,
            self._free,
            self._force,
            self._reference,
            self._memory,
            self._scaled,
            self._root if fire else self._light,
            self._skin,
            threshold,
            momentum,
            first,
            last,
            self._length,
            self._longest,
            float(np.float16(self._rule.dt_max)) if isinstance(self._rule, Fire) else self._rule.slack,
        )

    @property
    def _system(self) -> tuple[Any, ...]:
        return self._law.evaluate, self._x, *self._paired, self._law.shared

    @property
    def _largest(self) -> float:
        return float(np.sqrt((self._force**2).sum(axis=1).max()) * self._units[0])

    def _rests(self, threshold: float, momentum: float) -> float:
        """Return whether forces and momenta are below what is asked for; 1 for NaN, too."""
        flies = isinstance(self._rule, Fire) and self._momentum > momentum
        return 0.0 if self._largest > threshold or flies else 1.0

    @property
    def _momentum(self) -> float:
        moving = (self._memory / self._root) ** 2
        return float(np.sqrt(moving.sum(axis=1).max()) * self._units[0] / self._length)

    def _weigh(self) -> None:
        """Measure the masses where they follow from the pairs; FIRE's velocities go on."""
        if self._lightness is None:
            return
        self._light = self._lightness(native_felt(self._law, self._x, self._paired, near=self._contact))
        before, self._root = self._root, np.sqrt(self._light)
        if isinstance(self._rule, Fire):
            self._memory *= before / self._root
