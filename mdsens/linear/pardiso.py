"""MKL's Pardiso through pypardiso: supernodal factors in a nested-dissection order, where MKL exists (x86-64).

The only module that imports pypardiso.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import weakref
from typing import Any

import numpy as np
import scipy.sparse as sp

from mdsens.linear.base import TooLargeError

_CHOLESKY, _INDEFINITE = 2, -2  # Pardiso's matrix types
_ANALYSE, _FACTOR, _SOLVE = 11, 22, 33  # and phases
_NOT_POSITIVE = -4  # and error code
_ALONE = 10_000  # unknowns, up to which one thread factors a matrix about as fast as several


@functools.cache
def available() -> bool:
    """Return whether MKL and pypardiso are installed and can be loaded."""
    if importlib.util.find_spec("pypardiso") is None:
        return False
    _prepare_environment()
    try:
        _solver(_CHOLESKY)
    except (ImportError, OSError):
        return False
    return True


class Supernodal:
    """A factored symmetric sparse matrix inside MKL, freed with the object.

    Attributes:
        order: Pardiso's fill-reducing order, to be handed to the next matrix of about the same pattern.
        n_negative: Number of negative eigenvalues.
        definite: Whether it is a Cholesky factor; else L D L^T with Bunch and Kaufman's pivots.
    """

    def __init__(
        self,
        upper: sp.csr_array,
        order: np.ndarray | None = None,
        *,
        definite: bool = True,
        most_numbers: float = float("inf"),
    ) -> None:
        """Factor a matrix given by its upper triangle.

        Args:
            upper: Upper triangle, every diagonal entry stored, indices sorted, shape (m, m).
            order: The order of an earlier factor of about the same pattern, or None to compute one.
            definite: Whether Cholesky's factor is tried first.
            most_numbers: Most numbers that the factor may hold.

        Raises:
            TooLargeError: When it would hold more, as the analysis of its pattern tells before any number is computed.
            ArithmeticError: When MKL fails, as it does for a matrix that is exactly singular or not finite.
        """
        self._upper, self._most_numbers = upper, most_numbers
        found = self._factored(_CHOLESKY, order) if definite else None
        self.definite = found is not None and found[2]
        if found is None or not self.definite:
            found = self._factored(_INDEFINITE, found[1] if found else order)
        self._solver: Any = found[0]
        self.order: np.ndarray = found[1]
        self.n_negative = 0 if self.definite else int(self._solver.get_iparm(23))
        self._solver.set_phase(_SOLVE)
        weakref.finalize(self, self._solver.free_memory, everything=True).atexit = False

    def solve(self, columns: np.ndarray) -> np.ndarray:
        """Return the inverse times columns, shape (m, k)."""
        solution = _called(self._solver, self._upper, np.asfortranarray(columns))
        return np.asarray(solution).reshape(columns.shape)

    def _factored(self, kind: int, order: np.ndarray | None) -> tuple[Any, np.ndarray, bool]:
        """Return a solver with the factor, the order, and whether such a factor exists (the solver is freed if not)."""
        from pypardiso.pardiso_wrapper import PyPardisoError

        solver = _solver(kind)
        nothing = np.zeros(self._upper.shape[0])
        solver.perm = np.zeros(len(nothing), np.int32) if order is None else order.copy()
        settings = {
            1: 1,  # these settings, not the defaults
            2: 3,  # nested dissection on all threads
            5: 2 if order is None else 1,  # return the order, or take it
            10: 13,  # pivots below 1e-13 are perturbed
            18: -1,  # count the factor's numbers
            21: 1,  # Bunch and Kaufman's pivots for indefinite matrices
        }
        for index, value in settings.items():
            solver.set_iparm(index, value)
        try:
            for phase in (_ANALYSE, _FACTOR):
                solver.set_phase(phase)
                _called(solver, self._upper, nothing)
                if phase == _ANALYSE and not 0 <= solver.get_iparm(18) <= self._most_numbers:  # negative: overflown
                    solver.free_memory(everything=True)
                    raise TooLargeError
        except PyPardisoError as error:
            solver.free_memory(everything=True)
            if kind == _CHOLESKY and error.value == _NOT_POSITIVE:
                return None, solver.perm, False
            raise ArithmeticError(str(error)) from error
        return solver, solver.perm, True


def _solver(kind: int) -> Any:
    from pypardiso import PyPardisoSolver

    return PyPardisoSolver(mtype=kind)


def _called(solver: Any, upper: sp.csr_array, columns: np.ndarray) -> Any:
    """Let Pardiso do what its phase says, a small matrix on one thread: several would spend their time waiting.

    On a machine with other work they wait for each other many times as long as the factor takes.
    """
    if upper.shape[0] > _ALONE:
        return solver._call_pardiso(upper, columns)
    before = solver.libmkl.MKL_Set_Num_Threads_Local(1)
    try:
        return solver._call_pardiso(upper, columns)
    finally:
        solver.libmkl.MKL_Set_Num_Threads_Local(before)


def _prepare_environment() -> None:
    """Tell pypardiso where MKL is, and MKL's threads to rest.

    pypardiso's own search walks the whole environment for every solver. Without the second setting MKL's threads keep
    their cores busy for a fifth of a second after every call, and XLA's wait.
    """
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    if "PYPARDISO_MKL_RT" in os.environ:
        return
    try:
        files = importlib.metadata.files("mkl") or []
    except importlib.metadata.PackageNotFoundError:
        return
    for file in files:
        if ("mkl_rt" in file.name and ".so" in file.name) or (file.name.startswith("mkl_rt") and file.suffix == ".dll"):
            os.environ["PYPARDISO_MKL_RT"] = str(file.locate())
            return
