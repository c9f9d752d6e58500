"""Which combinations of parameters a structure determines, and which it cannot, in words."""

from __future__ import annotations

import dataclasses

import numpy as np

_TAKES_PART = 1e-3  # of a direction's largest component: smaller ones are not named


@dataclasses.dataclass(frozen=True)
class Identified:
    """The singular value decomposition of a Jacobian in the parameters' logarithms.

    Attributes:
        singular_values: Descending, shape (k,), units of length.
        free: Orthonormal directions that the positions do not determine, columns, shape (k, f).
        words: One description per free direction.
    """

    singular_values: np.ndarray
    free: np.ndarray
    words: tuple[str, ...]

    @property
    def is_nothing(self) -> bool:
        """Whether no direction is determined."""
        return self.free.shape[1] == len(self.singular_values)

    def determined(self, change: np.ndarray) -> np.ndarray:
        """Return a change of the logarithms without its free part: energies then compare at a fixed scale."""
        return np.asarray(change - self.free @ (self.free.T @ change))


def identify(jacobian: np.ndarray, paths: tuple[str, ...], *, rank: float = 1e-8, floor: float = 0.0) -> Identified:
    """Find the directions in parameter space along which the positions do not change.

    Args:
        jacobian: Derivative of the positions in the logarithm of every parameter, shape (m, k), units of length.
        paths: Name of every parameter.
        rank: Singular values below this part of the largest count as zero.
        floor: So do those below this, units of length: rounding, where nothing is determined.

    Returns:
        Singular values and the free directions, named.
    """
    _, found, directions = np.linalg.svd(jacobian, full_matrices=True)
    singular = np.zeros(len(paths))
    singular[: len(found)] = found
    loose = singular <= max(rank * singular[0], floor, np.finfo(float).tiny)
    free = np.eye(len(paths)) if loose.all() else directions[loose].T
    return Identified(singular, free, tuple(_described(direction, paths) for direction in free.T))


def _described(direction: np.ndarray, paths: tuple[str, ...]) -> str:
    """Name a direction by the parameters that it mixes."""
    size = np.abs(direction).max()
    taking = [k for k, part in enumerate(direction) if abs(part) > _TAKES_PART * size]
    parts = direction[taking] / size
    names = _listed([paths[k] for k in taking])
    if len(taking) == 1:
        return names
    if np.allclose(parts, parts[0], atol=1e-4):
        return f"an overall scale of {names}"
    weights = ", ".join(f"{part:+.2g}" for part in parts)
    return f"a combination of {names} (in the logarithms {weights})"


def _listed(paths: list[str]) -> str:
    """Join names, leaving out a field's name where it repeats: ``law.epsilon[A,A], [A,B], [B,B]``."""
    words, last = [], ""
    for path in paths:
        head, bracket, tail = path.partition("[")
        words.append(bracket + tail if head == last and bracket else path)
        last = head
    return ", ".join(words)
