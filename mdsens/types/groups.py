"""Groups of particles that belong together: bonds, angles."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from mdsens.given import float64_array, integer_array, is_concrete
from mdsens.types.arrays import Components, Position, check_finite
from mdsens.types.boxes import Box, PeriodicBox, check_box


class Groups(eqx.Module):
    """Particles that belong together: bonds, angles; the members of a group, their images and its kind.

    Attributes:
        index: Particles of every group, shape (m, k), k >= 2.
        shift: Image counts of the further members, shape (m, k - 1, d): member a lies at x_a + B S_a.
        kind: Kind of every group, shape (m,), from 0.

    Raises:
        ValueError: When shapes disagree, numbers are not integers, or a group holds one particle (image and all) twice.
    """

    index: Int[Array, "m k"]
    shift: Int[Array, "m k-1 d"]
    kind: Int[Array, " m"]

    def __init__(self, index: object, shift: object, kind: object = None) -> None:
        self.index, self.shift = integer_array(index, "index of groups"), integer_array(shift, "shift of groups")
        m = self.index.shape[0] if self.index.ndim else 0
        self.kind = integer_array(np.zeros(m, int) if kind is None else kind, "kind of groups")

    def __check_init__(self) -> None:
        m, k = self.index.shape if self.index.ndim == 2 else (-1, -1)
        if m < 0 or k < 2 or self.shift.shape[:-1] != (m, k - 1) or self.kind.shape != (m,):
            raise ValueError(
                f"groups have index {self.index.shape}, shift {self.shift.shape} and kind {self.kind.shape}; these "
                "must be (m, k), (m, k - 1, d) and (m,) with k >= 2."
            )
        if not is_concrete(self.index, self.shift, self.kind):
            return
        index, shift = np.asarray(self.index), np.asarray(self.shift)
        places = np.concatenate([np.zeros((m, 1, shift.shape[-1]), int), shift], axis=1)
        places = np.concatenate([index[..., None], places], axis=-1)
        for a in range(k):
            for b in range(a):
                same = np.flatnonzero((places[:, a] == places[:, b]).all(axis=-1))
                if same.size:
                    raise ValueError(
                        f"group {same[0]} holds particle {index[same[0], a]} twice; its members must differ."
                    )
        if (np.asarray(self.kind) < 0).any():
            raise ValueError("the kind of a group is negative; kinds are numbered from 0.")

    @classmethod
    def nearest(cls, index: object, position: object, box: Box, kind: object = None) -> Groups:
        """Return groups whose further members are the nearest images to their first ones.

        Args:
            index: Particles of every group, shape (m, k).
            position: Real coordinates, shape (n, d), units of length.
            box: The space they live in.
            kind: Kind of every group, shape (m,); 0 by default.

        Raises:
            ValueError: When a group names a particle that does not exist, positions do not fit the box, or as for the
                class.
        """
        check_box(box)
        members, x = (
            np.asarray(integer_array(index, "index of groups")),
            np.asarray(float64_array(position, "position")),
        )
        if members.ndim != 2 or members.shape[1] < 2:
            raise ValueError(f"groups have index {members.shape}; it must be (m, k) with k >= 2: one row per group.")
        if x.ndim != 2 or x.shape[1] != box.dimension:
            raise ValueError(f"position has shape {x.shape}; it must be (n, {box.dimension}).")
        check_finite(x)
        check_members(members, len(x))
        apart = x[members[:, :1]] - x[members[:, 1:]]
        counts = box.images(tuple(jnp.asarray(np.moveaxis(apart, -1, 0))))
        return cls(members, np.stack([np.asarray(count) for count in counts], axis=-1).astype(int), kind)

    @property
    def n_kinds(self) -> int:
        """Number of kinds: one more than the largest."""
        return int(np.max(np.asarray(self.kind), initial=-1)) + 1

    def vectors(self, position: Position, box: Box) -> tuple[Components, ...]:
        """Return x_0 - x_a - B S_a from every further member to the first one, components of shape (m,)."""
        found = []
        for a in range(1, self.index.shape[1]):
            apart = position[self.index[:, 0]] - position[self.index[:, a]]
            if isinstance(box, PeriodicBox):
                apart = apart - self.shift[:, a - 1].astype(float) @ box.matrix.T
            found.append(tuple(apart.T))
        return tuple(found)


def check_members(index: np.ndarray, n: int) -> None:
    """Refuse groups of particles that do not exist."""
    if index.size and (index.min() < 0 or index.max() >= n):
        group = int(np.argmax(((index < 0) | (index >= n)).any(axis=1)))
        raise ValueError(
            f"group {group} holds the particles {index[group].tolist()}, but there are {n}, numbered from 0."
        )
