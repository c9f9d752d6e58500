"""Compiled functions of members, on one device or split over all devices of a mesh.

Every argument and every result is a pytree whose arrays carry the members first. ``shard_map`` lets every device run
its own loops to its own end; ``jit`` with sharded arrays would put an all-reduce into every step of a loop's condition.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from mdsens.errors import UserError

AXIS = "members"


def device_mesh(devices: list[Any] | None = None) -> Mesh:
    """Return the mesh of all devices (or of those given) along the members' axis.

    Raises:
        UserError: For several CPU devices: in JAX 0.10.1 two of them that factor matrices wait for each other for ever.
    """
    chosen = devices or jax.devices()
    if len(chosen) > 1 and chosen[0].platform == "cpu":
        raise UserError(
            f"{len(chosen)} CPU devices cannot share a batch: JAX's factorisations wait for each other for ever. "
            "Leave the mesh out; it is for several accelerators."
        )
    return Mesh(np.array(chosen), (AXIS,))


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
