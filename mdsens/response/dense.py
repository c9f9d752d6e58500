r"""Dense response of small systems, in compiled code throughout: a Cholesky factor of :math:`H + |H| Z Z^T`.

Z holds the known zero modes, so that the lifted matrix is positive definite at a minimum and agrees with H on
everything that is projected: nothing is biased. Rattlers are decoupled. A state for which this fails (a saddle, a
floppy mode) is left to the sparse response, which says what is wrong.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Bool, Float

from mdsens.backbone import Network
from mdsens.derivatives import drifts, slopes_and_forces
from mdsens.energy import PairPotential, State
from mdsens.hessian import dense_hessian
from mdsens.parameters import Parameters
from mdsens.response.linear import Forward, LinearResponse
from mdsens.response.null_space import ZERO, ZeroModes, known_zero_modes
from mdsens.types import Scalar

LARGEST = 600  # unknowns; beyond, the sparse factor is faster
_SMALLEST = 64
_MOST_VECTORS = 32  # Lanczos vectors; about eight are needed
_BLOCK = 8  # vectors between two looks at the residual
_RITZ_RESIDUAL = 1e-4  # relative; the eigenvalue's error is about its square


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Factored:
    """The compiled pieces: Hessian and lower factor (m, m), zero modes (k, m), 0/1 mask of the unknowns (m,)."""

    hessian: Float[Array, "m m"]
    lower: Float[Array, "m m"]
    modes: Float[Array, "k m"]
    mask: Float[Array, " m"]

    def project(self, columns: Float[Array, "m c"]) -> Float[Array, "m c"]:
        return self.mask[:, None] * (columns - self.modes.T @ (self.modes @ columns))

    def solve(self, columns: Float[Array, "m c"]) -> tuple[Float[Array, "m c"], Float[Array, " c"]]:
        wanted = self.project(columns)
        first = self.project(cho_solve((self.lower, True), wanted))
        left = self.project(wanted - self.hessian @ first)
        solution = first + self.project(cho_solve((self.lower, True), left))
        norm = jnp.linalg.norm(wanted, axis=0)
        residual = jnp.linalg.norm(self.project(wanted - self.hessian @ solution), axis=0)
        return solution, residual / jnp.where(norm > 0, norm, 1.0)


@dataclasses.dataclass(frozen=True)
class DenseResponse(LinearResponse):
    """A response with a dense factor on the device.

    Attributes:
        factored: Hessian, factor, zero modes.
    """

    factored: _Factored

    @property
    def method(self) -> str:
        """The linear solver, in words."""
        return "dense Cholesky on the complement of the zero modes, refined once"

    def solve(self, rhs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Solve as ``LinearResponse.solve`` says."""
        solution, residual = _solve(self.factored, rhs)
        return np.asarray(solution), np.asarray(residual)

    def forward(self, tangents: Parameters) -> Forward:
        """Respond as ``LinearResponse.forward`` says, in one compiled call."""
        *fields, hessian_drift = (np.asarray(part) for part in _forward(self.factored, self.state, tangents))
        values, residual, slope, change, slope_drift = fields
        return Forward(values, residual, slope, change, slope_drift, float(hessian_drift))


def dense_response(state: State, network: Network, largest: float) -> DenseResponse | None:
    """Factor the backbone Hessian of a small state, or return None when that is not possible or not wise.

    Args:
        state: The state, its pairs the backbone's contacts.
        network: Its backbone.
        largest: Its largest force.
    """
    n, d = state.position.shape
    if not (isinstance(state.potential, PairPotential) and network.n_backbone * d >= _SMALLEST and n * d <= LARGEST):
        return None
    held = network.backbone
    known, n_translations, n_rotations = known_zero_modes(np.asarray(state.position)[held], state.configuration.box)
    modes = np.zeros((known.shape[1], n, d))
    modes[:, held] = known.T.reshape(-1, network.n_backbone, d)
    factored, norm, smallest = _factor(state, held, modes.reshape(len(modes), -1))
    if not float(smallest) > ZERO * float(norm):  # NaN when the Cholesky factorisation failed
        return None
    return DenseResponse(
        state=state,
        network=network,
        max_force=largest,
        zero_modes=ZeroModes(n_translations, n_rotations, network.n_rattlers, 0),
        smallest_eigenvalue=float(smallest),
        norm=float(norm),
        at_any_point=False,
        factored=factored,
    )


@jax.jit
def _factor(state: State, held: Bool[Array, " n"], modes: Float[Array, "k m"]) -> tuple[_Factored, Scalar, Scalar]:
    matrix = dense_hessian(state)
    mask = jnp.repeat(held, state.configuration.dimension).astype(float)
    norm = jnp.max(jnp.sum(jnp.abs(matrix), axis=0))
    lifted = matrix + norm * (modes.T @ modes) + norm * jnp.diag(1.0 - mask)
    lower = jax.lax.linalg.cholesky(lifted, symmetrize_input=False)
    factored = _Factored(matrix, lower, modes, mask)
    return factored, norm, _smallest_eigenvalue(factored)


def _smallest_eigenvalue(factored: _Factored) -> Scalar:
    """Return the smallest eigenvalue on the complement by Lanczos iteration with the inverse; NaN if not converged."""
    size = len(factored.mask)
    start = factored.project(jnp.asarray(np.random.default_rng(0).standard_normal((size, 1))))[:, 0]
    basis = jnp.zeros((_MOST_VECTORS + 1, size)).at[0].set(start / jnp.linalg.norm(start))

    def step(k: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        basis, projected = carry
        image = factored.project(cho_solve((factored.lower, True), basis[k])[:, None])[:, 0]
        first = basis @ image
        image = image - basis.T @ first
        second = basis @ image  # once more: rounding would bring converged vectors back
        image = image - basis.T @ second
        length = jnp.linalg.norm(image)
        return basis.at[k + 1].set(image / length), projected.at[:, k].set(first + second).at[k + 1, k].set(length)

    def unconverged(carry: tuple[Array, Array, Array, Array, Array]) -> Array:
        return (carry[0] < _MOST_VECTORS) & (carry[4] > _RITZ_RESIDUAL * carry[3])

    def block(carry: tuple[Array, Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array, Array]:
        k, basis, projected, _, _ = carry
        basis, projected = jax.lax.fori_loop(k, k + _BLOCK, step, (basis, projected))
        k = k + _BLOCK
        inside = jnp.arange(_MOST_VECTORS) < k
        small = jnp.where(inside[:, None], projected[:-1], 0.0)
        values, vectors = jnp.linalg.eigh(0.5 * (small + small.T))
        return k, basis, projected, values[-1], projected[k, k - 1] * jnp.abs(vectors[k - 1, -1])

    begin = (
        jnp.zeros((), int),
        basis,
        jnp.zeros((_MOST_VECTORS + 1, _MOST_VECTORS)),
        jnp.ones(()),
        jnp.full((), jnp.inf),
    )
    _, _, _, largest, residual = jax.lax.while_loop(unconverged, block, begin)
    return jnp.where(residual <= _RITZ_RESIDUAL * largest, 1.0 / largest, jnp.nan)


@jax.jit
def _solve(factored: _Factored, rhs: Float[Array, "k n d"]) -> tuple[Float[Array, "k n d"], Float[Array, " k"]]:
    solution, residual = factored.solve(rhs.reshape(len(rhs), -1).T)
    return solution.T.reshape(rhs.shape), residual


@jax.jit
def _forward(factored: _Factored, state: State, tangents: Parameters) -> tuple[Array, ...]:
    slopes, force = slopes_and_forces(state, tangents)
    solutions, residuals = _solve(factored, jnp.concatenate([-slopes, force[None]]))
    values, step = solutions[:-1], solutions[-1]
    drift, slope_drift, hessian_drift = drifts(state, tangents, values, step)
    change = factored.project(cho_solve((factored.lower, True), factored.project(drift.reshape(len(drift), -1).T)))
    norms = [jnp.linalg.norm(field.reshape(len(field), -1), axis=1) for field in (slopes, slope_drift)]
    return values, residuals[:-1], norms[0], jnp.linalg.norm(change, axis=0), norms[1], hessian_drift
