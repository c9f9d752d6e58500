"""The way down from the host: compiled segments one after the other, watched, recorded, with room for their pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from mdsens.energy import State
from mdsens.neighbors import SMALL
from mdsens.relaxation.descent import SEGMENT, Reach
from mdsens.relaxation.engines import Taken, engine_for
from mdsens.relaxation.masses import force_rounding
from mdsens.relaxation.relaxed import History
from mdsens.relaxation.scales import Scales, hessian_rows
from mdsens.relaxation.settings import RelaxationSettings
from mdsens.results import Verdict
from mdsens.types import Position, replaced

_PATH_NUMBERS = 5_000_000  # coordinates kept of a path, 40 MB
_FIRST = 20  # steps of the first segment where masses are measured from the host, each later one twice as long
_STANDING = 50  # steps without any move after which there will be none
_STALL = 20_000  # steps, and as many as led there, without progress
_CHANGED = 2.0  # factor by which a curvature has changed much


class Recorder:
    """Collects the history of a relaxation and reports progress; particles come in memory order and leave in theirs."""

    def __init__(self, progress: Callable[[int, float], Any] | None, back: np.ndarray) -> None:
        """Take whom to tell and the order that leads back to the particles' own."""
        self._back = back
        self.chunks: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.path: list[tuple[int, np.ndarray]] = []
        self.n_descent = 0
        self.n_total = 0
        self.largest = float("inf")
        self._progress = progress

    def add(self, energies: np.ndarray, largest: np.ndarray, *, newton: bool) -> None:
        """Add energies and largest forces after further steps."""
        self.chunks.append((energies, largest, np.full(len(energies), newton)))
        self.n_total += len(energies)
        self.n_descent += 0 if newton else len(energies)
        if len(largest):
            self.largest = float(largest[-1])
        if self._progress is not None:
            self._progress(self.n_descent, self.largest)

    def add_taken(self, taken: Taken) -> None:
        """Add the minimiser's steps."""
        self.add(taken.energy, taken.max_force, newton=False)
        self.largest = taken.largest

    def keep(self, position: Position | np.ndarray) -> None:
        """Keep a frame of the path, and of the earlier ones every other one when they have become too many."""
        if self.path and self.path[-1][0] == self.n_total:
            return
        self.path.append((self.n_total, np.asarray(position)[self._back]))
        if len(self.path) > max(3, _PATH_NUMBERS // position.size):
            self.path = [self.path[0], *self.path[2:-1:2], self.path[-1]]

    def finish(self, position: Position) -> None:
        """Keep the final state, which comes in the particles' own order."""
        kept = [frame for frame in self.path if frame[0] < self.n_total]
        self.path = [*kept, (self.n_total, np.asarray(position))]

    def history(self) -> History:
        """Return all that was added and kept."""
        energies, largest, newton = (np.concatenate(parts) for parts in zip(*self.chunks, strict=True))
        steps, frames = zip(*self.path, strict=True)
        return History(energies, largest, newton, np.array(steps), np.stack(frames))


class _Watch:
    """Looks whether the energy or the largest force still falls."""

    def __init__(self, height: float, unit: float) -> None:
        self._first, self._unit = height, unit
        self._best, self._least, self._progress = height, np.inf, 0
        self._high = False

    def stalls(self, n_steps: int, height: float, largest: float) -> bool:
        """Return whether neither has fallen for as many steps as all before, and many."""
        if largest < 0.95 * self._least or height < self._best - 1e-7 * abs(self._best):
            self._progress = n_steps
        self._least, self._best = min(self._least, largest), min(self._best, height)
        return n_steps - self._progress > max(_STALL, self._progress)

    def rises(self, height: float) -> bool:
        """Return whether the energy lies above that of the start for the second time."""
        before, self._high = self._high, height > self._first + self._unit + 0.1 * abs(self._first)
        return before and self._high


class Descent:
    """A minimiser on its way, continued to ever smaller forces.

    Attributes:
        scales: What it measures with.
        settings: How to relax.
        recorder: What collects the history.
    """

    def __init__(
        self, state: State, reach: Reach, scales: Scales, settings: RelaxationSettings, recorder: Recorder
    ) -> None:
        """Take the start, its pairs listed."""
        self.scales, self.recorder, self.settings, self._state = scales, recorder, settings, state
        self._engine = engine_for(state, settings.rule(state.configuration.n_particles), scales, reach)
        self._watch = _Watch(self._engine.energy * scales.energy, scales.energy)

    @property
    def position(self) -> Position | np.ndarray:
        """Where it stands, shape (n, d), in memory order."""
        return self._engine.position

    @property
    def reach(self) -> Reach:
        """How far pairs are listed."""
        return self._engine.reach

    @property
    def is_finite(self) -> bool:
        """Whether energy and forces are, where it stands."""
        return bool(np.isfinite(self._engine.energy) and np.isfinite(np.asarray(self._engine.force)).all())

    @property
    def capacity(self) -> int:
        """Number of pairs for which there is room."""
        return len(self._engine.pairs.mask)

    def down_to(self, threshold: float) -> Verdict:
        """Run until the largest force is below the threshold."""
        self._engine.relist()
        while True:
            stood = self.position
            taken = self._engine.advance(threshold, self._n_steps(), self._momentum(threshold), self.scales)
            self.recorder.add_taken(taken)
            verdict = self._verdict(taken, stood)
            if verdict is not None:
                return verdict
            self.recorder.keep(self.position)
            self._measure()

    def _here(self) -> State:
        return self._state.moved(jnp.asarray(self.position), self._engine.pairs)

    def _n_steps(self) -> int:
        taken = self.recorder.n_descent
        n_steps = min(SEGMENT, self.settings.max_steps - taken)
        return min(n_steps, max(_FIRST, taken)) if len(self.scales.felt) else n_steps

    def _momentum(self, threshold: float) -> float:
        # in a large system rattlers fly on for thousands of steps, and it is the Newton steps that judge the state
        large = self._state.configuration.n_particles > SMALL
        return np.inf if self.settings.newton and large else threshold

    def _verdict(self, taken: Taken, stood: Position | np.ndarray) -> Verdict | None:
        height = self._engine.energy * self.scales.energy
        if not np.isfinite(self.recorder.largest + height):
            return Verdict.NONFINITE
        if taken.resting:
            return Verdict.CONVERGED
        if self.recorder.n_descent >= self.settings.max_steps:
            return Verdict.MAX_STEPS
        stands = len(taken.energy) >= _STANDING and np.array_equal(self.position, stood)
        if stands or self._watch.stalls(self.recorder.n_descent, height, self.recorder.largest):
            known = float(force_rounding(self._here()))
            return Verdict.CONVERGED if self.recorder.largest <= known else Verdict.STALLED
        return Verdict.RISING if self._watch.rises(height) else None

    def _measure(self) -> None:
        """Measure the curvature again where products with the Hessian show it, and keep what has hardly changed."""
        if not len(self.scales.felt):
            return
        felt = hessian_rows(self._here())
        ratio = np.asarray(felt) / np.asarray(self.scales.felt)
        if ratio.max() > _CHANGED or ratio.min() < 1 / _CHANGED:
            self.scales = replaced(self.scales, {"felt": felt})
