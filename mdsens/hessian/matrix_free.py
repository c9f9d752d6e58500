r"""The Hessian of an energy of which only products are known: MINRES in place of a factor.

For long-ranged energies of many particles, whose matrix would not fit into memory. The answers carry their residual
like those of a factor, and are refused by the same threshold.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg as spla
from jaxtyping import Array, Float, Int

from mdsens.energy import State
from mdsens.energy.products import hessian_products
from mdsens.errors import NumericalError
from mdsens.hessian.any_energy import unknowns_of
from mdsens.hessian.krylov import minimum_residual
from mdsens.linear import Factor

_SIGN = 1e-7  # of the norm: a negative eigenvalue closer to zero is not told from zero
_LANCZOS = 40  # vectors kept by a Lanczos iteration


@dataclasses.dataclass(frozen=True)
class MatrixFree(Factor):
    """Products with a Hessian, and MINRES for its inverse; no shift is needed.

    ``norm`` is the largest eigenvalue, by Lanczos iteration; ``n_negative`` is one when there is any eigenvalue below
    -1e-7 of it.

    Attributes:
        state: The state whose Hessian is meant.
        unknowns: Numbers of the degrees of freedom whose rows and columns are kept, shape (m,).
    """

    state: State
    unknowns: np.ndarray

    @property
    def method(self) -> str:
        """How the matrix is solved with, in words."""
        return "matrix-free MINRES"

    def product(self, columns: np.ndarray) -> np.ndarray:
        """Return H times columns, one after the other."""
        return np.stack([np.asarray(_product(self.state, self.unknowns, column)) for column in columns.T], axis=1)

    def solve(self, columns: np.ndarray) -> np.ndarray:
        """Return the inverse times columns without zero modes, to a relative residual of 1e-8 or as far as it gets."""
        return np.stack([np.asarray(_solution(self.state, self.unknowns, column)) for column in columns.T], axis=1)


def matrix_free(state: State, particles: np.ndarray | None = None) -> MatrixFree:
    """Return products and solves with the Hessian of a state.

    Args:
        state: The state.
        particles: True for the particles whose rows and columns are kept, shape (n,); all by default.

    Raises:
        NumericalError: When a product is not finite or Lanczos iteration does not converge.
    """
    unknowns = unknowns_of(state, particles)
    norm = abs(_eigenvalue(state, unknowns, "LM", 0.0))
    # H - |H| has its zero modes far from zero, so that accuracy relative to an eigenvalue means accuracy
    lowest = norm + _eigenvalue(state, unknowns, "SA", norm)
    return MatrixFree(np.arange(len(unknowns)), 0.0, norm, int(lowest < -_SIGN * norm), state, unknowns)


def _eigenvalue(state: State, unknowns: np.ndarray, which: Literal["LM", "SA"], shift: float) -> float:
    """Return the extreme eigenvalue of H - shift."""
    size = len(unknowns)

    def product(vector: np.ndarray) -> np.ndarray:
        return np.asarray(_product(state, unknowns, vector.ravel())) - shift * vector.ravel()

    start = np.random.default_rng(0).standard_normal(size)
    if not np.isfinite(product(start)).all():
        raise NumericalError(
            "the Hessian holds infinite or NaN entries: particles overlap completely or a parameter is wrong."
        )
    operator = spla.LinearOperator((size, size), matvec=product, dtype=float)
    try:
        values, _ = spla.eigsh(operator, k=1, which=which, v0=start, tol=_SIGN, ncv=min(_LANCZOS, size))
    except spla.ArpackNoConvergence as error:
        raise NumericalError(
            "Lanczos iteration did not find the Hessian's extreme eigenvalue: relax further, or declare the energy's "
            "Locality so that its Hessian can be factored."
        ) from error
    return float(values[0])


@jax.jit
def _product(state: State, unknowns: Int[Array, " m"], vector: Float[Array, " m"]) -> Float[Array, " m"]:
    shape = state.position.shape
    direction = jnp.zeros(state.position.size).at[unknowns].set(vector).reshape(shape)
    return hessian_products(state, direction[None]).ravel()[unknowns]


@jax.jit
def _solution(state: State, unknowns: Int[Array, " m"], vector: Float[Array, " m"]) -> Float[Array, " m"]:
    return minimum_residual(lambda v: _product(state, unknowns, v), vector)
