"""From many starts to their minima: FIRE and Newton steps in compiled code, bookkeeping on the host between them.

A few members move at a time; who has arrived makes room for the next: nobody waits for the slowest.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from mdsens.batch.fire import units
from mdsens.batch.native import pool_for
from mdsens.batch.pool import Arrived, BatchSettings
from mdsens.batch.sharding import compiled, device_mesh
from mdsens.batch.stack import Stack, positions, taken
from mdsens.neighbors import check_range
from mdsens.results import Verdict
from mdsens.types import replaced


@dataclasses.dataclass(frozen=True)
class RelaxationBatch:
    """Relaxed members, each with its own verdict; arrays are in the order of the starts.

    Attributes:
        stack: The systems at their relaxed positions (of refused members: where they were left), without pairs.
        verdicts: What became of every member.
        energy: Potential energies, shape (b,), units of energy; NaN where the member did not converge.
        max_force: Largest forces, shape (b,), units of energy per length.
        pressure: Pressures, shape (b,), units of energy per volume; NaN for systems that are free along an axis.
        backbone: True for particles held in place, shape (b, n).
        n_contacts: Numbers of backbone contacts, shape (b,).
        one_sided: Whether a backbone contact is just touching at a kink, shape (b,).
        n_fire: FIRE steps taken, shape (b,).
        n_newton: Newton steps taken, shape (b,).
        settings: What was asked for.
        mesh: The devices over which members were and will be split, or None.
        seconds: Wall time of the whole batch.
    """

    stack: Stack
    verdicts: tuple[Verdict, ...]
    energy: np.ndarray
    max_force: np.ndarray
    pressure: np.ndarray
    backbone: np.ndarray
    n_contacts: np.ndarray
    one_sided: np.ndarray
    n_fire: np.ndarray
    n_newton: np.ndarray
    settings: BatchSettings
    mesh: Mesh | None
    seconds: float

    @property
    def position(self) -> Float[Array, "b n d"]:
        """Positions of all members, shape (b, n, d)."""
        return jnp.asarray(positions(self.stack))

    @property
    def converged(self) -> np.ndarray:
        """True for members that are minima, shape (b,)."""
        return np.array([verdict is Verdict.CONVERGED for verdict in self.verdicts])

    @property
    def n_rattlers(self) -> np.ndarray:
        """Number of rattlers of every member, shape (b,)."""
        return np.sum(~self.backbone, axis=1)


def relax_batch(
    stack: Stack,
    settings: BatchSettings | None = None,
    *,
    devices: Sequence[jax.Device] | None = None,
) -> RelaxationBatch:
    """Relax all members at fixed box, each to its own convergence.

    Every member goes the way of ``mdsens.relaxation``: FIRE to 1e-4 epsilon/sigma, then Newton steps that must not
    change its backbone, else FIRE to a tenth of that, and so on. From a random start rounding decides which minimum is
    reached, so that a member may end in another one than it does alone.

    Args:
        stack: The systems, from ``stack_systems`` or ``stack_arrays``.
        settings: How to relax.
        devices: Over which to split the members; by default all that JAX sees. A CPU counts as one device until told
            otherwise before its first use: ``jax.config.update("jax_num_cpu_devices", k)`` for k cores.

    Returns:
        The relaxed members; a member that failed is labelled by its verdict, the others are not affected.

    Raises:
        UserError: When a box is too small for the interaction range.
    """
    begun = time.perf_counter()
    settings = settings or BatchSettings()
    _check_boxes(stack)
    mesh = device_mesh(devices)
    return _record(stack, pool_for(stack, settings, mesh).run(), settings, mesh, begun)


def _check_boxes(stack: Stack) -> None:
    unit = compiled(units, None)(stack)
    boxes = jax.tree.map(np.asarray, stack.configuration.box)
    seen = set()
    for k, reach in enumerate(np.asarray(unit.reach)):
        box = taken(boxes, np.asarray(k))
        key = (float(reach), *(leaf.tobytes() for leaf in jax.tree.leaves(box)))
        if key not in seen:
            seen.add(key)
            check_range(box, float(reach), "a batch")


def _record(stack: Stack, found: Arrived, settings: BatchSettings, mesh: Mesh | None, begun: float) -> RelaxationBatch:
    position = jnp.asarray(np.swapaxes(found.judged.position, 1, 2))
    configuration = replaced(stack.configuration, {"position": position})
    judged = found.judged
    good = np.array([verdict is Verdict.CONVERGED for verdict in found.verdicts])
    return RelaxationBatch(
        stack=replaced(stack, {"configuration": configuration}),
        verdicts=found.verdicts,
        energy=np.where(good, judged.energy, np.nan),
        max_force=np.asarray(judged.largest),
        pressure=np.asarray(judged.pressure),
        backbone=np.asarray(judged.backbone),
        n_contacts=np.asarray(judged.n_contacts),
        one_sided=np.asarray(judged.one_sided),
        n_fire=found.n_fire,
        n_newton=np.asarray(judged.n_newton),
        settings=settings,
        mesh=mesh,
        seconds=time.perf_counter() - begun,
    )
