"""Compiled functions of members, on one device or split over all devices of a mesh.

Every argument and every result is a pytree whose arrays carry the members first. ``shard_map`` lets every device run
its own loops to its own end; ``jit`` with sharded arrays would put an all-reduce into every step of a loop's condition.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

AXIS = "members"


def device_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh | None:
    """Return the mesh of the given devices (by default all) along the members' axis; None for the default one alone."""
    chosen = list(devices or jax.devices())
    return None if chosen == jax.devices()[:1] else Mesh(np.array(chosen), (AXIS,))


@functools.lru_cache(maxsize=256)
def compiled(function: Callable[..., Any], mesh: Mesh | None, *static: Any) -> Callable[..., Any]:
    """Compile a function of members; ``static`` arguments follow the arrays.

    With a mesh the function sees the members of its own device only, also in index arrays.
    """

    def bound(*arrays: Any) -> Any:
        return function(*arrays, *static)

    if mesh is None:
        return jax.jit(bound)
    spec = PartitionSpec(AXIS)
    return jax.jit(jax.shard_map(bound, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False))


def n_shards(mesh: Mesh | None) -> int:
    """Return over how many devices members are split."""
    return 1 if mesh is None else int(mesh.devices.size)
