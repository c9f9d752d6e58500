"""The pool on a CPU: every member runs down in machine code, as it does alone; the rest is the pool's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mdsens.batch.fire import Units, Walk
from mdsens.batch.pool import BatchSettings, Moving, Pool
from mdsens.batch.sharding import n_shards
from mdsens.batch.stack import Stack, member, positions
from mdsens.energy import State
from mdsens.energy.native_law import NativeLaw, native_law
from mdsens.neighbors import Grid
from mdsens.relaxation import Fire
from mdsens.relaxation.descent import Reach
from mdsens.relaxation.engines import Native
from mdsens.relaxation.scales import Scales
from mdsens.types import replaced

_SKIN = 0.4  # of the largest range: what a list reaches beyond


def pool_for(stack: Stack, settings: BatchSettings, mesh: Mesh | None) -> Pool:
    """Return the pool whose members move fastest: in machine code where their laws have it and devices are cores."""
    laws = _laws(stack)
    return Pool(stack, settings, mesh) if laws is None else NativePool(stack, settings, mesh, laws)


def _laws(stack: Stack) -> list[NativeLaw] | None:
    """Return the machine code of every member; None where one has none."""
    stack = jax.tree.map(np.asarray, stack)
    parameters = (*jax.tree.leaves(stack.potential), stack.configuration.species)
    known: dict[tuple[bytes, ...], NativeLaw | None] = {}
    laws = []
    for k in range(len(positions(stack))):
        key = tuple(leaf[k].tobytes() for leaf in parameters)
        if key not in known:
            known[key] = native_law(jax.tree.map(jnp.asarray, member(stack, k)))
        law = known[key]
        if law is None:
            return None
        laws.append(law)
    return laws


class NativePool(Pool):
    """Members on their way down, each by an engine of its own; as many move at a time as there are devices."""

    def __init__(self, stack: Stack, settings: BatchSettings, mesh: Mesh | None, laws: list[NativeLaw]) -> None:
        """Take the systems and the machine code of each."""
        self._laws = laws
        super().__init__(stack, settings, mesh)

    def _begun(self, stack: Stack, unit: Units) -> Moving:
        host = jax.tree.map(np.asarray, stack)
        slots = {int(number): slot for slot, number in enumerate(self._number.ravel()) if number >= 0}
        self._engines = {
            number: _engine(jax.tree.map(jnp.asarray, member(host, slot)), self._laws[number])
            for number, slot in slots.items()
        }
        position = jnp.asarray(np.swapaxes(positions(host), 1, 2))
        rows = jnp.zeros(len(position))
        whole, nobody = rows.astype(jnp.int32), rows.astype(bool)
        walk = Walk(position, position, position, rows, rows, whole, whole, rows, rows, nobody, nobody, whole)
        return Moving(stack, unit, walk)

    def _moved(self, skin: float, n_steps: int) -> tuple[np.ndarray, np.ndarray]:
        resting, steps = np.zeros(self._number.shape, bool), self._steps.copy()
        position = np.array(self._moving.walk.position)

        def move(place: tuple[int, int]) -> None:
            number = int(self._number[place])
            engine, scales = self._engines[number]
            room = min(n_steps, self._settings.max_steps - int(steps[place]))
            threshold = float(self._threshold[number])
            taken = engine.advance(threshold, room, threshold, scales)
            steps[place] += len(taken.energy)
            resting[place] = taken.resting
            position[np.ravel_multi_index(place, self._number.shape)] = engine.position.T

        live = [(int(row), int(column)) for row, column in np.argwhere(self._number >= 0)]
        with ThreadPoolExecutor(n_shards(self._mesh)) as threads:
            list(threads.map(move, live))
        self._steps = steps
        walk = replaced(self._moving.walk, {"position": position})
        self._moving = replaced(self._moving, {"walk": walk})
        return resting, np.zeros_like(resting)

    def _lower(self) -> None:
        """Thresholds are looked up with every step."""


def _engine(state: State, law: NativeLaw) -> tuple[Native, Scales]:
    longest, n = float(law.reach.max()), len(law.kind)
    scales = Scales.found(state)
    reach = Reach(longest, _SKIN * longest, Grid((), (), max(1, n * (n - 1) // 2)))
    return Native(law, state, Fire(), scales, reach), scales
