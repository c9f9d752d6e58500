"""Zero modes of a Hessian: those known from symmetry, and those found in the spectrum."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse.linalg as spla

from mdsens.linear import ZERO, Factor, Spectrum
from mdsens.types import Box, PeriodicBox

_RANK_TOLERANCE = 1e-8
_BLOCK = 6
_PRECISE, _LOOSE = 1e-3, 1e-2  # tolerances of a Lanczos iteration up to and beyond
_LARGE = 5000  # unknowns, where a solve is dear
_FEW = 16  # unknowns: too few for a Lanczos iteration
_ROUNDS = 4  # of purification: each takes from a mode what is not zero, all but 1e-7 of it or so


@dataclasses.dataclass(frozen=True)
class ZeroModes:
    """Motions that cost no energy and are left out of every answer.

    Attributes:
        translations: Number of uniform translations projected out (d in a periodic box or for a free cluster).
        rotations: Number of rotations projected out (clusters, also those alone in a periodic box).
        rattlers: Number of particles without a rigid cage, d zero modes each; their rows of a sensitivity are zero.
        floppy: Number of further zero modes found in the spectrum: a marginal state whose response is not unique.
    """

    translations: int
    rotations: int
    rattlers: int
    floppy: int

    def __str__(self) -> str:
        """Name the kinds that occur, such as ``2 translations, 3 rattlers``."""
        kinds = [
            (self.translations, "translation"),
            (self.rotations, "rotation"),
            (self.rattlers, "rattler"),
            (self.floppy, "floppy mode"),
        ]
        return ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for count, kind in kinds if count) or "none"


def known_zero_modes(position: np.ndarray, box: Box) -> tuple[np.ndarray, int, int]:
    """Return orthonormal rigid motions of the particles.

    Translations in a periodic box; translations and rotations about the centre for a free cluster. Rotations that
    vanish or repeat one another (two particles, a linear cluster) are dropped by rank.

    Args:
        position: Positions of the particles that move, shape (m, d).
        box: Their space.

    Returns:
        Modes as columns, shape (m d, k); number of translations; number of rotations.
    """
    m, d = position.shape
    translations = np.tile(np.eye(d) / np.sqrt(max(m, 1)), (m, 1))
    if isinstance(box, PeriodicBox) or m == 0:
        return translations, d, 0
    centred = position - position.mean(axis=0)
    rotations = []
    for a in range(d):
        for b in range(a + 1, d):
            mode = np.zeros((m, d))
            mode[:, a], mode[:, b] = -centred[:, b], centred[:, a]
            rotations.append(mode.ravel())
    left, singular, _ = np.linalg.svd(np.stack(rotations, axis=1), full_matrices=False)
    scale = np.linalg.norm(centred)
    kept = left[:, singular > _RANK_TOLERANCE * scale] if scale > 0 else left[:, :0]
    return np.hstack([translations, kept]), d, kept.shape[1]


def project_out(modes: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return the vectors without their components along the orthonormal modes."""
    return vectors - modes @ (modes.T @ vectors)


def spectrum_edge(factor: Factor, modes: np.ndarray) -> tuple[float, np.ndarray]:
    r"""Find the smallest non-zero eigenvalue (in magnitude) and any zero modes beyond the known ones.

    Shift-invert Lanczos (ARPACK) with the factor at hand, on the complement of the known modes; modes with
    |lambda| < 1e-9 |H| are added to the null space until none is left. Lanczos vectors are rough; those added are
    purified to rounding, :math:`v \leftarrow v - (H + \mu)^{-1} H v`, for they serve as a projector.

    Args:
        factor: The symmetric matrix, shape (m, m), and its factor.
        modes: Known zero modes, orthonormal columns, shape (m, k).

    Returns:
        The eigenvalue (infinite when the complement is empty) and the floppy modes, shape (m, f).
    """
    size = factor.size
    found = np.zeros((size, 0))
    if size - modes.shape[1] <= 0:
        return float("inf"), found
    if isinstance(factor, Spectrum):
        return _edge_of(factor, modes)
    if size <= _FEW:
        return _dense_edge(factor, modes)
    count = 1
    while True:
        null = np.hstack([modes, found])
        values, vectors = _smallest(factor, null, count)
        zero = np.abs(values) < ZERO * factor.norm
        if not zero.any():
            return float(values[np.argmin(np.abs(values))]), found
        fresh = _purified(factor, null, vectors[:, zero])
        found = np.hstack([found, fresh])
        count = min(_BLOCK, size - null.shape[1] - fresh.shape[1])
        if count <= 0:
            return float("inf"), found


def _purified(factor: Factor, null: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return zero modes, orthonormal columns, from approximate ones, as far as rounding allows."""
    best, least = np.linalg.qr(project_out(null, vectors))[0], np.inf
    trial = best
    for _ in range(_ROUNDS):
        image = factor.product(trial)
        left = float(np.linalg.norm(image))
        if not left < 0.5 * least:
            break
        best, least = trial, left
        trial = np.linalg.qr(project_out(null, trial - factor.solve(image)))[0]
    return best


def _smallest(factor: Factor, null: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    size = factor.size

    def inverse(vector: np.ndarray) -> np.ndarray:
        return project_out(null, factor.solve(vector[:, None])[:, 0])  # Lanczos vectors stay on the complement

    operator = spla.LinearOperator((size, size), matvec=inverse, dtype=float)
    start = project_out(null, np.random.default_rng(0).standard_normal(size))
    # the edge of an inverse spectrum converges fast, and the error of an eigenvalue is the square of its vector's: nine
    # solves give six digits of the smallest one, six solves four
    tol, ncv = (_PRECISE if size <= _LARGE else _LOOSE), min(2 * count + 3, size)
    inverses, vectors = spla.eigsh(operator, k=count, which="LM", v0=start, tol=tol, ncv=ncv)
    return 1.0 / inverses - factor.shift, vectors


def _edge_of(factor: Spectrum, modes: np.ndarray) -> tuple[float, np.ndarray]:
    """Read the edge off a known spectrum."""
    rest = factor.values[~factor.zero]
    smallest = float(rest[np.argmin(np.abs(rest))]) if rest.size else float("inf")
    beyond = int(factor.zero.sum()) - modes.shape[1]
    if beyond <= 0:
        return smallest, np.zeros((factor.size, 0))
    left = np.linalg.svd(project_out(modes, factor.vectors[:, factor.zero]), full_matrices=False)[0]
    return smallest, left[:, :beyond]


def _dense_edge(factor: Factor, modes: np.ndarray) -> tuple[float, np.ndarray]:
    size = factor.size
    basis = np.linalg.svd(modes, full_matrices=True)[0][:, modes.shape[1] :] if modes.shape[1] else np.eye(size)
    values, vectors = np.linalg.eigh(basis.T @ factor.product(basis))
    zero = np.abs(values) < ZERO * factor.norm
    rest = values[~zero]
    return (float(rest[np.argmin(np.abs(rest))]) if rest.size else float("inf")), basis @ vectors[:, zero]
