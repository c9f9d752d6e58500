"""What a batch answers: derivatives of all members, each number with its certificate."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mdsens.batch.relaxation import RelaxationBatch
from mdsens.batch.stack import member
from mdsens.energy.inner import continued_pair, has_inner
from mdsens.response.linear import WORST_RESIDUAL
from mdsens.results import Verdict
from mdsens.rounding import UNIT
from mdsens.sensitivity.certified import relative
from mdsens.types import Scalar


@dataclasses.dataclass(frozen=True)
class BatchCertificate:
    """How good the sensitivities of a batch are; NaN (and zero counts) for members without an answer.

    Attributes:
        residual: Relative residual of every linear solve after projection, shape (b, k).
        error: Estimated absolute error of every answer, as in ``mdsens.sensitivity.Certificate``, shape (b, k).
        relative_error: ``error`` over the norm of the answer, shape (b, k); NaN where that is zero within its error.
        bound: Upper bound of the same error, shape (b, k).
        smallest_eigenvalue: Smallest non-zero eigenvalue of the backbone Hessian, shape (b,).
        largest_eigenvalue: Upper bound of its largest one, shape (b,).
        translations: Number of translations projected out, shape (b,).
        rotations: Number of rotations projected out, shape (b,).
        rattlers: Number of rattlers, whose rows are zero, shape (b,).
        floppy: Number of further zero modes projected out, shape (b,).
        one_sided: Whether a backbone contact is just touching at a kink, shape (b,).
    """

    residual: np.ndarray
    error: np.ndarray
    relative_error: np.ndarray
    bound: np.ndarray
    smallest_eigenvalue: np.ndarray
    largest_eigenvalue: np.ndarray
    translations: np.ndarray
    rotations: np.ndarray
    rattlers: np.ndarray
    floppy: np.ndarray
    one_sided: np.ndarray


@dataclasses.dataclass(frozen=True)
class PositionSensitivities:
    """dx/dp of all members for k parameter entries.

    Attributes:
        paths: Name of every parameter entry.
        units: Their units.
        values: dx/dp, shape (b, k, n, d), backbone mean zero, rattler rows zero; NaN without an answer.
        answered: True for members with an answer, shape (b,): converged, every solve below a residual of 1e-6, and no
            mode loaded that counts as floppy.
        verdicts: What became of every member's relaxation.
        certificate: How good they are.
    """

    paths: tuple[str, ...]
    units: tuple[str, ...]
    values: np.ndarray
    answered: np.ndarray
    verdicts: tuple[Verdict, ...]
    certificate: BatchCertificate


@dataclasses.dataclass(frozen=True)
class ObservableSensitivities:
    """dO/dp of all members for k parameter entries.

    Attributes:
        value: The observable, shape (b,).
        paths: Name of every parameter entry.
        units: Their units.
        values: dO/dp, shape (b, k); NaN without an answer.
        answered: As in ``PositionSensitivities``.
        verdicts: What became of every member's relaxation.
        certificate: How good they are.
    """

    value: np.ndarray
    paths: tuple[str, ...]
    units: tuple[str, ...]
    values: np.ndarray
    answered: np.ndarray
    verdicts: tuple[Verdict, ...]
    certificate: BatchCertificate


class Answer(eqx.Module):
    """What compiled code returns per member."""

    values: Array
    value: Scalar
    residual: Float[Array, " k"]
    error: Float[Array, " k"]
    bound: Float[Array, " k"]
    size: Float[Array, " k"]
    smallest: Scalar
    norm: Scalar
    n_rotations: Int[Array, ""]
    n_floppy: Int[Array, ""]
    loaded: Bool[Array, " k"]


def certified(batch: RelaxationBatch, found: Answer) -> tuple[np.ndarray, BatchCertificate]:
    """Return which members have an answer, shape (b,), and how good the answers are."""
    with np.errstate(invalid="ignore"):
        solved = (found.residual <= WORST_RESIDUAL) & (found.loaded == 0)
    answered = batch.converged & solved.all(axis=1)
    if has_inner(batch.stack.potential):  # a member with a pair closer than its law is meant for has no answer
        stack = jax.tree.map(np.asarray, batch.stack)
        answered &= [not continued_pair(jax.tree.map(jnp.asarray, member(stack, k))) for k in range(len(answered))]
    blank = lambda values: np.where(answered.reshape(-1, *[1] * (values.ndim - 1)), values, np.nan)  # noqa: E731
    count = lambda values: np.where(answered, values, 0).astype(int)  # noqa: E731
    error = blank(found.error + UNIT * found.size)
    dimension = batch.position.shape[2]
    return answered, BatchCertificate(
        residual=blank(found.residual),
        error=error,
        relative_error=relative(error, np.asarray(found.size)),
        bound=blank(found.bound),
        smallest_eigenvalue=blank(found.smallest),
        largest_eigenvalue=blank(found.norm),
        translations=count(np.full(len(answered), dimension)),
        rotations=count(found.n_rotations),
        rattlers=count(batch.n_rattlers),
        floppy=count(found.n_floppy),
        one_sided=batch.one_sided & answered,
    )
