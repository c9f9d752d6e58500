"""The pool of members on their way down: who moves, who is to be polished, who has arrived.

Compiled code takes members down until all of them stand, few at a time; then the host has those at rest polished and
judged, and sends those that have not arrived on to a lower threshold.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from mdsens.batch.fire import Units, Walk, descend, rest_at, start_walk, units, with_skin
from mdsens.batch.kernels import count_pairs
from mdsens.batch.lapack import one_by_one
from mdsens.batch.newton import Judged, polish
from mdsens.batch.sharding import compiled, n_shards
from mdsens.batch.stack import Stack, positions, taken
from mdsens.errors import UserError
from mdsens.neighbors import standard_capacity
from mdsens.results import Verdict
from mdsens.types import replaced

WIDE, NARROW = 0.7, 0.3  # skins in units of the reach: while particles still travel, and later
FIRST_STEPS = 100  # steps with the wide skin
SEGMENT = 5000  # most steps of a member between two looks from the host
FIRST_POLISH = 1e-4  # epsilon/sigma: the contact network has mostly settled there
CPU_LANES, ACCELERATOR_LANES = 4, 1024  # members that move at a time on one device
_SPARE = 1  # places in a particle's list beyond what is found
_UNJAMMED_PRESSURE = 1e-8  # epsilon/sigma^d


@dataclasses.dataclass(frozen=True)
class BatchSettings:
    """How to relax a batch.

    Attributes:
        max_force: Largest force of a relaxed state, units of epsilon/sigma, > 0.
        max_steps: Most FIRE steps of a member, >= 1.
        group: Members whose dense Hessians are held at a time, >= 1; more suit an accelerator, up to its memory.

    Raises:
        UserError: When a value is out of its range.
    """

    max_force: float = 1e-12
    max_steps: int = 1_000_000
    group: int = 16

    def __post_init__(self) -> None:
        if not (np.isfinite(self.max_force) and self.max_force > 0):
            raise UserError(f"max_force is {self.max_force}; it must be finite and greater than 0.")
        for name in ("max_steps", "group"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least 1.")


class Arrived(NamedTuple):
    """Members that have arrived, in the order of the starts.

    Attributes:
        judged: Where, arrays on the host.
        verdicts: With what verdict.
        n_fire: After how many steps of FIRE, shape (b,).
    """

    judged: Judged
    verdicts: tuple[Verdict, ...]
    n_fire: np.ndarray


class Moving(eqx.Module):
    """What the slots of a pool hold."""

    stack: Stack
    unit: Units
    walk: Walk


def _begin(stack: Stack, unit: Units, threshold: Array, limit: Array, capacity: int, skin: float) -> Moving:
    return Moving(stack, unit, start_walk(stack, with_skin(unit, skin), threshold, limit, capacity))


def _advanced(moving: Moving, limit: Array, capacity: int, skin: float, lanes: int) -> tuple[Walk, tuple[Array, ...]]:
    """Return the walk after a segment, and what the host looks at."""
    ready = replaced(moving.walk, {"overflow": jnp.zeros_like(moving.walk.overflow), "limit": limit})
    walk = descend(moving.stack, with_skin(moving.unit, skin), ready, capacity, lanes)
    return walk, (walk.resting, walk.overflow, walk.steps)


def _counted(stack: Stack, unit: Units, position: Array, skin: float) -> Array:
    return count_pairs(stack, position, with_skin(unit, skin).skin)


def _polished(moving: Moving, index: Array, tolerance: Array, capacity: int) -> Judged:
    group: Moving = taken(moving, index)
    finish = one_by_one(functools.partial(polish, capacity=capacity))
    return finish(group.stack, with_skin(group.unit, NARROW), group.walk.position, tolerance)


def _thresholds(moving: Moving, threshold: Array) -> Walk:
    return rest_at(moving.walk, moving.unit, threshold)


class Pool:
    """Members on their way down; ``run`` brings all of them to an end."""

    def __init__(self, stack: Stack, settings: BatchSettings, mesh: Mesh | None) -> None:
        self._settings, self._mesh = settings, mesh
        b, n, _ = positions(stack).shape
        self._n = int(n)
        self._number = _spread(b, n_shards(mesh))  # the member in every slot, -1 for none, shape (shards, slots)
        slots = np.maximum(self._number, 0).ravel()
        held = jax.tree.map(lambda leaf: np.asarray(leaf)[slots], stack)
        unit = compiled(units, mesh)(held)
        self._target = settings.max_force * _by_member(np.asarray(unit.force), self._number)
        self._threshold = self._target * max(1.0, FIRST_POLISH / settings.max_force)
        self._pressure_unit = _by_member(
            np.asarray(unit.energy / unit.length ** positions(stack).shape[2]), self._number
        )
        self._contact = getattr(stack.potential, "contact", False)
        self._capacity: dict[float, int] = {}
        self._arrived: list[tuple[int, Verdict, int, Judged]] = []
        platform = (mesh.devices.flat[0] if mesh else jax.devices()[0]).platform
        self._lanes = CPU_LANES if platform == "cpu" else ACCELERATOR_LANES
        self._steps = np.zeros(self._number.shape, np.int32)
        self._moving = self._begun(held, unit)

    def run(self) -> Arrived:
        """Relax everybody."""
        self._advance(WIDE, FIRST_STEPS)
        while (self._number >= 0).any():
            self._advance(NARROW, SEGMENT)
        self._arrived.sort(key=lambda entry: entry[0])
        _, verdicts, n_fire, judged = zip(*self._arrived, strict=True)
        return Arrived(jax.tree.map(lambda *leaves: np.stack(leaves), *judged), verdicts, np.array(n_fire))

    def _begun(self, stack: Stack, unit: Units) -> Moving:
        """Return the members where they start, slot by slot."""
        self._count(WIDE, stack, unit, np.swapaxes(positions(stack), 1, 2))
        begin = compiled(_begin, self._mesh, self._capacity[WIDE], WIDE)
        moving: Moving = begin(stack, unit, self._slot_thresholds(), self._steps.ravel())
        return moving

    def _count(self, skin: float, stack: Stack, unit: Units, position: Array | np.ndarray) -> None:
        """Provide for the pairs that there are."""
        self._make_room(skin, int(np.max(compiled(_counted, self._mesh, skin)(stack, unit, position))) + _SPARE)

    def _room(self, skin: float) -> int:
        """Return the size of lists with this skin, at first use counted where the members then are."""
        if skin not in self._capacity:
            self._count(skin, self._moving.stack, self._moving.unit, self._moving.walk.position)
        return self._capacity[skin]

    def _make_room(self, skin: float, least: int) -> None:
        """Provide for that many partners of a particle, rounded up to few sizes, so that compiled code is reused."""
        self._capacity[skin] = min(math.ceil(standard_capacity(float(least))), max(1, self._n - 1))

    def _slot_thresholds(self) -> np.ndarray:
        """Return every slot's threshold; empty slots are always at rest."""
        return np.where(self._number >= 0, self._threshold[self._number], np.inf).ravel()

    def _advance(self, skin: float, n_steps: int) -> None:
        """Take at most that many steps with everybody, polish those at rest, let those leave that have arrived."""
        resting, overflow = self._moved(skin, n_steps)
        live = self._number >= 0
        if np.any(overflow & live):
            self._make_room(skin, self._capacity[skin] + 1)
        waiting = live & (resting | (self._steps >= self._settings.max_steps))
        if not waiting.any():
            return
        while waiting.any():
            self._polish(waiting, resting)
        self._lower()

    def _moved(self, skin: float, n_steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Take at most that many steps with everybody; return who rests and whose pairs found no room, by slot."""
        segment = compiled(_advanced, self._mesh, self._room(skin), skin, self._lanes)
        limit = np.minimum(self._steps + n_steps, self._settings.max_steps)
        walk, look = segment(self._moving, limit.ravel())
        self._moving = replaced(self._moving, {"walk": walk})
        resting, overflow, self._steps = (np.asarray(part).reshape(self._number.shape) for part in look)
        return resting, overflow

    def _lower(self) -> None:
        """Let those go on that have not arrived, to the thresholds that are set now."""
        rest = compiled(_thresholds, self._mesh)
        self._moving = replaced(self._moving, {"walk": rest(self._moving, self._slot_thresholds())})

    def _polish(self, waiting: np.ndarray, resting: np.ndarray) -> None:
        """Polish one group per device; take it off the waiting list."""
        group = self._settings.group
        index = np.zeros((len(waiting), group), np.int32)
        valid = np.zeros(index.shape, bool)
        for shard, flags in enumerate(waiting):
            first = np.flatnonzero(flags)[:group]
            index[shard, : len(first)], valid[shard, : len(first)] = first, True
        rows = np.arange(len(waiting))[:, None]
        members = self._number[rows, index]
        # who is not at rest is judged as it is
        tolerance = np.where(valid & resting[rows, index], self._target[members], np.inf)
        polished = compiled(_polished, self._mesh, self._room(NARROW))
        judged = jax.tree.map(np.asarray, polished(self._moving, index.ravel(), tolerance.ravel()))
        if np.any(judged.overflow & valid.ravel()):
            self._make_room(NARROW, self._capacity[NARROW] + 1)
            return
        for k in np.flatnonzero(valid.ravel()):
            shard, slot = int(k) // group, int(index.ravel()[k])
            waiting[shard, slot] = False
            one = taken(judged, np.asarray(k))
            number, n_steps = int(self._number[shard, slot]), int(self._steps[shard, slot])
            verdict = self._verdict(number, one, bool(resting[shard, slot]), n_steps)
            if verdict is None:
                self._threshold[number] = max(self._target[number], self._threshold[number] / 10)
            else:
                self._arrived.append((number, verdict, n_steps, one))
                self._number[shard, slot] = -1

    def _verdict(self, number: int, judged: Judged, resting: bool, n_steps: int) -> Verdict | None:
        """Return the verdict on a polished member; None where FIRE must go on."""
        if not np.isfinite(judged.largest):
            return Verdict.NONFINITE
        loaded = judged.backbone.any() and judged.pressure >= _UNJAMMED_PRESSURE * self._pressure_unit[number]
        unjammed = self._contact and not loaded
        relaxed = resting and judged.largest <= self._target[number]
        final = self._threshold[number] <= self._target[number]  # FIRE alone came all the way
        if relaxed and (final or (judged.settled and (unjammed or judged.stable))):
            if unjammed:
                return Verdict.UNJAMMED
            return Verdict.CONVERGED if judged.stable else Verdict.SADDLE
        return Verdict.MAX_STEPS if n_steps >= self._settings.max_steps else None


def _spread(b: int, shards: int) -> np.ndarray:
    number = np.full((shards, -(-b // shards)), -1)
    for shard, part in enumerate(np.array_split(np.arange(b), shards)):
        number[shard, : len(part)] = part
    return number


def _by_member(slots: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Return values per slot in the order of the members."""
    values, held = slots.ravel(), number.ravel()
    return values[held >= 0][np.argsort(held[held >= 0])]
