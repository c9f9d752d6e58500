"""Krylov solvers: matrix-free, with preconditioners; lineax's methods, and MINRES, which lineax lacks."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

from mdsens.implicit.linear import LinearSolution, LinearSolver, check_tolerance
from mdsens.implicit.operator import Matvec, Point, ProjectedOperator, is_symmetric
from mdsens.implicit.trees import floating

Preconditioner = Callable[..., Callable[[PyTree], PyTree]]
_DEFAULT_METHOD = lx.GMRES(rtol=1e-10, atol=1e-10)


class Iterative(LinearSolver):
    """Any iterative solver of lineax, matrix-free: one product with A per step and no n x n array.

    Ask the method for a smaller residual than `tolerance`: Iterative(lx.CG(rtol=1e-10, atol=1e-10), symmetric=True).

    Attributes:
        method: For example `lineax.CG` (symmetric positive definite A only), `lineax.GMRES`, `lineax.BiCGStab`;
            GMRES to 1e-10 if left out. Right-hand sides have unit norm, so its atol is as relative as its rtol.
        symmetric: Whether A is symmetric positive definite.
        tolerance: Largest accepted relative residual, in (0, 1).
        preconditioner: Function (x, *p) that returns a linear function v -> C v with C close to A^-1; v is a pytree
            like the floating-point leaves of x. Symmetric positive definite for a `symmetric` solver (checked by a
            probe; one that is not fails). None: no preconditioner.
    """

    method: lx.AbstractLinearSolver = _DEFAULT_METHOD
    symmetric: bool = False
    tolerance: float = 1e-6
    preconditioner: Preconditioner | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        check_tolerance(self.tolerance)
        if isinstance(self.method, lx.CG) and not self.symmetric:
            raise ValueError(
                "conjugate gradients need a symmetric positive definite matrix: say Iterative(CG, symmetric=True), "
                "or use lineax.GMRES or lineax.BiCGStab for a condition that is not a gradient."
            )

    @property
    def name(self) -> str:
        """The method, in words."""
        return type(self.method).__name__ + (", preconditioned" if self.preconditioner else "")

    def prepare(self, operator: ProjectedOperator, point: Point) -> Matvec | None:
        """Return the flat, projected preconditioner."""
        return prepared_preconditioner(self.preconditioner, operator, point, symmetric=self.symmetric)

    def solve(
        self,
        state: Matvec | None,
        operator: ProjectedOperator,
        right_hand_side: Float[Array, " n"],
        *,
        transposed: bool,
    ) -> LinearSolution:
        """Iterate until the method is satisfied or gives up; whether the answer is good is for the caller to check."""
        tags = (lx.symmetric_tag, lx.positive_semidefinite_tag) if self.symmetric else ()
        structure = jax.ShapeDtypeStruct(right_hand_side.shape, right_hand_side.dtype)
        options: dict[str, Any] = {}
        if state is not None:
            apply = _transpose(state, structure) if transposed else state
            options["preconditioner"] = lx.FunctionLinearOperator(apply, structure, tags)
        system = lx.FunctionLinearOperator(operator, structure, tags)
        solution = lx.linear_solve(system, right_hand_side, self.method, options=options, throw=False)
        return LinearSolution(solution.value, jnp.asarray(solution.stats["num_steps"]))


class Minres(LinearSolver):
    """Minimum residual method: A symmetric, definite or not (a saddle, KKT conditions), matrix-free.

    The residual falls in every step, so that stopping early gives the best answer so far.

    Attributes:
        rtol: Relative residual at which to stop, in (0, 1).
        max_steps: Most steps; None: five times the number of unknowns.
        tolerance: Largest accepted relative residual, in (0, 1).
        preconditioner: As for `Iterative`; symmetric positive definite.

    References:
        C. C. Paige, M. A. Saunders, SIAM J. Numer. Anal. 12, 617 (1975), doi:10.1137/0712047.
    """

    rtol: float = 1e-10
    max_steps: int | None = None
    tolerance: float = 1e-6
    preconditioner: Preconditioner | None = eqx.field(static=True, default=None)
    symmetric: bool = eqx.field(default=True, init=False)

    def __check_init__(self) -> None:
        check_tolerance(self.tolerance)
        check_tolerance(self.rtol)

    @property
    def name(self) -> str:
        """The method, in words."""
        return "MINRES" + (", preconditioned" if self.preconditioner else "")

    def prepare(self, operator: ProjectedOperator, point: Point) -> Matvec | None:
        """Return the flat, projected preconditioner."""
        return prepared_preconditioner(self.preconditioner, operator, point, symmetric=True)

    def solve(
        self,
        state: Matvec | None,
        operator: ProjectedOperator,
        right_hand_side: Float[Array, " n"],
        *,
        transposed: bool,
    ) -> LinearSolution:
        """Iterate until the residual (in the preconditioner's norm) has fallen by `rtol`."""
        del transposed
        most = self.max_steps or 5 * operator.size
        return _minres(operator, state or (lambda v: v), right_hand_side, self.rtol, most)


class _Minres(NamedTuple):
    """What one step hands to the next, in the notation of Paige and Saunders."""

    x: Array
    r1: Array
    r2: Array
    y: Array
    w: Array
    w_old: Array
    beta: Array
    beta_old: Array
    dbar: Array
    epsilon: Array
    phibar: Array
    cosine: Array
    sine: Array
    k: Int[Array, ""]


def _minres(apply: Matvec, precondition: Matvec, b: Float[Array, " n"], rtol: float, most: int) -> LinearSolution:
    nothing, zero = jnp.zeros_like(b), jnp.zeros(())
    y = precondition(b)
    beta_1 = jnp.sqrt(jnp.vdot(b, y))
    start = (nothing, b, b, y, nothing, nothing, beta_1, zero, zero, zero, beta_1, -jnp.ones(()), zero)
    first = _Minres(*start, jnp.zeros((), int))

    def unfinished(s: _Minres) -> Array:
        return (s.phibar > rtol * beta_1) & (s.k < most) & (s.beta > 0)

    def step(s: _Minres) -> _Minres:
        v = s.y / s.beta
        image = apply(v) - jnp.where(s.k > 0, s.beta / jnp.where(s.k > 0, s.beta_old, 1.0), 0.0) * s.r1
        alpha = jnp.vdot(v, image)
        r2 = image - (alpha / s.beta) * s.r2
        y = precondition(r2)
        beta = jnp.sqrt(jnp.maximum(jnp.vdot(r2, y), 0.0))
        delta, gamma_bar = s.cosine * s.dbar + s.sine * alpha, s.sine * s.dbar - s.cosine * alpha
        gamma = jnp.maximum(jnp.hypot(gamma_bar, beta), jnp.finfo(b.dtype).tiny)
        cosine, sine = gamma_bar / gamma, beta / gamma
        w = (v - s.epsilon * s.w_old - delta * s.w) / gamma
        x, phibar = s.x + cosine * s.phibar * w, sine * s.phibar
        rotated = (-s.cosine * beta, s.sine * beta, phibar, cosine, sine)
        return _Minres(x, s.r2, r2, y, w, s.w, beta, s.beta, *rotated, s.k + 1)

    last = jax.lax.while_loop(unfinished, step, first)
    return LinearSolution(last.x, last.k)


def prepared_preconditioner(
    preconditioner: Preconditioner | None, operator: ProjectedOperator, point: Point, *, symmetric: bool
) -> Matvec | None:
    """Return P C P + (1 - P)/s on flat vectors, the companion of M = P A P + s (1 - P); NaN if it lacks its symmetry.

    Raises:
        ValueError: If C does not map a pytree like x to one.
    """
    if preconditioner is None:
        return None
    apply, (_, unravel) = preconditioner(point.x, *point.p), ravel_pytree(floating(point.x))
    project = operator.null_space.project

    def flat(v: Float[Array, " n"]) -> Float[Array, " n"]:
        image = ravel_pytree(apply(unravel(v)))[0]
        if image.shape != v.shape:
            raise ValueError(
                f"the preconditioner returned {image.size} numbers for {v.size} unknowns: it must map a pytree like "
                "the floating-point leaves of x to another one."
            )
        return image

    def projected(v: Float[Array, " n"]) -> Float[Array, " n"]:
        inside = project(v)
        return project(flat(inside)) + (v - inside) / operator.shift

    if not symmetric:
        return projected
    spoilt = jnp.where(is_symmetric(projected, operator.size), 1.0, jnp.nan)
    return lambda v: spoilt * projected(v)


def _transpose(apply: Matvec, structure: jax.ShapeDtypeStruct) -> Matvec:
    transposed = jax.linear_transpose(apply, structure)
    return lambda v: transposed(v)[0]
