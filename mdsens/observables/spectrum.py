r"""Vibrations of a relaxed state: eigenvalues of its Hessian, density of states, shape of its modes.

.. math:: H v_k = \lambda_k v_k, \quad |v_k| = 1, \quad \omega_k = \sqrt{\lambda_k}\ \text{(unit masses)}

With v held, :math:`v\cdot H(x, p) v` has the derivative of the eigenvalue (Hellmann and Feynman); where eigenvalues
coincide only the mean of the cluster has one. A symmetric function of all eigenvalues, such as the density of states,
always does. The derivative of a mode is that of first-order perturbation theory and needs a simple eigenvalue.
"""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg as spla
from jaxtyping import Array, Float

from mdsens.energy import State
from mdsens.energy.products import hessian_products
from mdsens.errors import NumericalError, UserError
from mdsens.linear import ZERO
from mdsens.response import LinearResponse
from mdsens.response.null_space import project_out
from mdsens.types import Position, Scalar

MOST_DENSE = 4000  # unknowns of which all modes are found
_DEGENERATE = 1e-6  # relative gap below which eigenvalues count as one
_CHUNK = 256


@dataclasses.dataclass(frozen=True)
class Vibrations:
    """Modes of a relaxed state without its zero modes, softest first.

    Attributes:
        eigenvalues: Shape (k,), ascending, units of energy per length squared.
        modes: Orthonormal displacements, zero for rattlers, shape (k, n, d).
        zero_modes: Zero modes (rigid motions and floppy ones), orthonormal, shape (z, n, d).
        complete: Whether these are all modes.
    """

    eigenvalues: np.ndarray
    modes: np.ndarray
    zero_modes: np.ndarray
    complete: bool

    @property
    def frequencies(self) -> np.ndarray:
        """Angular frequencies at unit masses, shape (k,); NaN for negative eigenvalues."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.sqrt(self.eigenvalues))

    @property
    def participation_ratios(self) -> np.ndarray:
        r"""How many particles take part over how many there are, :math:`(\sum|v_i|^2)^2/(N\sum|v_i|^4)`, shape (k,)."""
        squares = np.sum(self.modes**2, axis=-1)
        return np.asarray(np.sum(squares, axis=1) ** 2 / (squares.shape[1] * np.sum(squares**2, axis=1)))

    def cluster(self, k: int) -> np.ndarray:
        """Return the numbers of the modes whose eigenvalues coincide with that of mode k.

        Raises:
            UserError: When there is no mode k, or its cluster may go on beyond the modes at hand.
        """
        if not 0 <= k < len(self.eigenvalues):
            raise UserError(f"there is no mode {k}: {len(self.eigenvalues)} are at hand, from 0, the softest.")
        gaps = np.abs(np.diff(self.eigenvalues)) > _DEGENERATE * np.abs(self.eigenvalues[1:])
        label = np.concatenate([[0], np.cumsum(gaps)])
        found = np.flatnonzero(label == label[k])
        if not self.complete and found[-1] == len(self.eigenvalues) - 1:
            raise UserError(f"mode {k} is the last at hand, and degenerate ones may follow: ask for more modes.")
        return found


def vibrations(response: LinearResponse, count: int | None = None) -> Vibrations:
    """Return the modes of a relaxed state.

    Args:
        response: Its factored Hessian.
        count: How many of the softest, >= 1; by default all, which takes a dense matrix.

    Raises:
        UserError: When all are asked for of more than 4000 unknowns, or the count is below one.
    """
    size = len(response.unknowns)
    if count is not None and count < 1:
        raise UserError(f"the number of modes is {count}; it must be at least 1.")
    if count is None and size > MOST_DENSE:
        raise UserError(f"all modes of {size} unknowns are too many (at most {MOST_DENSE}): ask for a number of them.")
    if size <= MOST_DENSE:
        values, vectors = _all_modes(response)
        complete = count is None or count >= len(values)
        values, vectors = values[:count], vectors[:, :count]
    else:
        assert count is not None
        values, vectors = _softest(response, count)
        complete = False
    return Vibrations(values, _fields(response, vectors), _fields(response, response.modes), complete)


def _fields(response: LinearResponse, columns: np.ndarray) -> np.ndarray:
    """Return columns over the unknowns as displacements of all particles, shape (k, n, d)."""
    full = np.zeros((columns.shape[1], response.state.position.size))
    full[:, response.unknowns] = columns.T
    return full.reshape(-1, *response.state.position.shape)


def _all_modes(response: LinearResponse) -> tuple[np.ndarray, np.ndarray]:
    matrix = response.factor.product(np.eye(len(response.unknowns)))
    values, vectors = np.linalg.eigh(0.5 * (matrix + matrix.T))
    # zero modes are known: what lies along them is dropped
    along = np.sum((response.modes.T @ vectors) ** 2, axis=0)
    kept = (along < 0.5) | (np.abs(values) > ZERO * response.norm)
    return values[kept], vectors[:, kept]


def _softest(response: LinearResponse, count: int) -> tuple[np.ndarray, np.ndarray]:
    size, factor, modes = len(response.unknowns), response.factor, response.modes

    def inverse(vector: np.ndarray) -> np.ndarray:
        return project_out(modes, factor.solve(project_out(modes, vector.reshape(-1, 1)))[:, 0])

    start = project_out(modes, np.random.default_rng(0).standard_normal(size))
    operator = spla.LinearOperator((size, size), matvec=inverse, dtype=float)
    inverses, vectors = spla.eigsh(operator, k=count, which="LM", v0=start)
    order = np.argsort(1.0 / inverses)
    return (1.0 / inverses - factor.shift)[order], vectors[:, order]


class Eigenvalue(eqx.Module):
    """The mean of the eigenvalues of a cluster of modes.

    Attributes:
        modes: The modes, shape (g, n, d), orthonormal; held.
    """

    modes: Float[Array, "g n d"]

    def __call__(self, state: State) -> Scalar:
        """Return the mean, units of energy per length squared."""
        return jnp.sum(self.modes * hessian_products(state, self.modes)) / len(self.modes)


def eigenvalue(found: Vibrations, k: int = 0) -> Eigenvalue:
    """Return the k-th eigenvalue, zero modes not counted, as an observable; of degenerate ones their mean.

    Raises:
        UserError: When there is no mode k.
    """
    return Eigenvalue(jnp.asarray(found.modes[found.cluster(k)]))


class DensityOfStates(eqx.Module):
    r"""The vibrational density of states at one frequency, smeared by a Gaussian.

    .. math:: D(\omega) = \frac1M\sum_k \frac{e^{-(\omega - \omega_k)^2/2 w^2}}{\sqrt{2\pi}\,w}

    over the M modes that are not zero modes, unit masses.

    Attributes:
        frequency: omega.
        width: w.
        modes: All modes, shape (M, n, d); held.
    """

    frequency: float = eqx.field(static=True)
    width: float = eqx.field(static=True)
    modes: Float[Array, "m n d"]

    def __call__(self, state: State) -> Scalar:
        """Return D, units of inverse frequency."""
        values = _rayleigh(state, self.modes)
        apart = (jnp.sqrt(values) - self.frequency) / self.width
        return jnp.mean(jnp.exp(-0.5 * apart**2)) / (np.sqrt(2 * np.pi) * self.width)


def _rayleigh(state: State, modes: Float[Array, "m n d"]) -> Float[Array, " m"]:
    """Return v.H v of every mode, a few hundred products at a time."""
    n_parts = -(-len(modes) // _CHUNK)
    padded = jnp.concatenate([modes, jnp.zeros((n_parts * _CHUNK - len(modes), *modes.shape[1:]))])
    parts = padded.reshape(n_parts, _CHUNK, *modes.shape[1:])
    one = jax.checkpoint(lambda part: jnp.sum(part * hessian_products(state, part), axis=(1, 2)))
    return jax.lax.map(one, parts).ravel()[: len(modes)]


def density_of_states(found: Vibrations, frequency: float, width: float) -> DensityOfStates:
    """Return the density of states at one frequency as an observable.

    Args:
        found: All modes.
        frequency: omega, >= 0.
        width: Standard deviation of the smearing, > 0.

    Raises:
        UserError: When modes are lacking, or numbers out of range.
    """
    if not found.complete:
        raise UserError("the density of states needs all modes.")
    if not (frequency >= 0 and width > 0):
        raise UserError(f"D at omega = {frequency:g} with width {width:g}: 0 <= omega and 0 < width must hold.")
    if found.eigenvalues[0] <= 0:
        raise NumericalError("the state has an unstable mode, which has no frequency.")
    return DensityOfStates(float(frequency), float(width), jnp.asarray(found.modes))


class ParticipationRatio(eqx.Module):
    r"""The participation ratio :math:`1/(N\sum_i|v_i|^4)` of a mode that follows the Hessian to first order.

    .. math:: v \to v + \sum_j v_j \frac{v_j\cdot H(x, p)\,v}{\lambda - \lambda_j}, \quad j \neq k

    Attributes:
        mode: v, shape (n, d).
        others: The other modes, zero modes among them (rotations of a cluster turn with it), shape (m, n, d).
        gaps: lambda - lambda_j, shape (m,).
    """

    mode: Position
    others: Float[Array, "m n d"]
    gaps: Float[Array, " m"]

    def __call__(self, state: State) -> Scalar:
        """Return the ratio, between 1/N and 1."""
        image = hessian_products(state, self.mode[None])[0]
        mixed = jnp.einsum("mnd,nd->m", self.others, image) / self.gaps
        mode = self.mode + jnp.einsum("m,mnd->nd", mixed, self.others)
        squares = jnp.sum(mode**2, axis=1)
        return jnp.sum(squares) ** 2 / (len(squares) * jnp.sum(squares**2))


def participation_ratio(found: Vibrations, k: int = 0) -> ParticipationRatio:
    """Return the participation ratio of mode k as an observable.

    Raises:
        UserError: When modes are lacking or there is no mode k.
        NumericalError: When its eigenvalue is degenerate, so that the mode is not unique.
    """
    if not found.complete:
        raise UserError("the derivative of a mode needs all other modes.")
    together = found.cluster(k)
    if len(together) > 1:
        raise NumericalError(
            f"mode {k} is one of {len(together)} with the same eigenvalue: it is not unique and has no participation "
            "ratio to be differentiated; take the mean eigenvalue of the cluster."
        )
    rest = np.delete(np.arange(len(found.eigenvalues)), k)
    others = np.concatenate([found.modes[rest], found.zero_modes])
    gaps = found.eigenvalues[k] - np.append(found.eigenvalues[rest], np.zeros(len(found.zero_modes)))
    return ParticipationRatio(jnp.asarray(found.modes[k]), jnp.asarray(others), jnp.asarray(gaps))
