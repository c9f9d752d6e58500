"""Theorem 1 on ridge regression, whose solution and Jacobian are known in closed form (the paper's figure 3)."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from pydantic import Field

from mdsens.config import Section
from mdsens.implicit import DenseCholesky, jacobian
from workflows.rows import Row

ROUNDING = 1e-10  # of |x*|: iterates closer to the solution measure rounding and not the theorem
Theta = Float[Array, ""] | Float[Array, " n"]
SLACK = 1e-5  # of the bound, which one theta attains: rounding of |x_t - x*| where it is small
MEASURED = ("distance", "implicit_error", "unrolled_error", "bound", "estimate")


class RidgeOptions(Section):
    """The ``[ridge]`` section."""

    n_samples: int = Field(100, ge=2, le=10_000, description="rows of the design, drawn from a normal distribution")
    n_features: int = Field(40, ge=1, le=200, description="its columns: the unknowns")
    theta: float = Field(1.0, gt=0, description="strength of the regularisation, of every coordinate")
    n_steps: int = Field(400, ge=2, le=10_000, description="steps of gradient descent")
    seed: int = Field(0, ge=0, description="of the design and the targets")


class Ridge(eqx.Module):
    r"""Ridge regression :math:`\min_x |A x - b|^2/2 + \sum_i \theta_i x_i^2/2`; theta is one number or one per unknown.

    Attributes:
        design: A.
        targets: b.
    """

    design: Float[Array, "m n"]
    targets: Float[Array, " m"]

    def gradient(self, x: Float[Array, " n"], theta: Theta) -> Float[Array, " n"]:
        r"""Return :math:`F = A^T (A x - b) + \theta x`, zero at the solution."""
        return self.design.T @ (self.design @ x - self.targets) + theta * x

    def hessian(self, theta: Theta) -> Float[Array, "n n"]:
        r"""Return :math:`\partial F/\partial x = A^T A + \mathrm{diag}\,\theta`, the same at every x."""
        n = self.design.shape[1]
        return self.design.T @ self.design + jnp.diag(jnp.broadcast_to(theta, (n,)))

    def solution(self, theta: Theta) -> Float[Array, " n"]:
        """Return x* in closed form."""
        return jnp.linalg.solve(self.hessian(theta), self.design.T @ self.targets)

    def jacobian(self, theta: Theta) -> Array:
        r"""Return dx*/dtheta in closed form, :math:`-(A^T A + \mathrm{diag}\,\theta)^{-1} x^*`, a column per theta."""
        x = self.solution(theta)
        return -jnp.linalg.solve(self.hessian(theta), x if jnp.ndim(theta) == 0 else jnp.diag(x))

    def iterates(self, theta: Theta, step: float, n_steps: int) -> Float[Array, "t n"]:
        """Return the iterates x_1 ... x_t of gradient descent from zero, differentiable in theta (by unrolling)."""

        def advance(x: Array, _: None) -> tuple[Array, Array]:
            x = x - step * self.gradient(x, theta)
            return x, x

        return jax.lax.scan(advance, jnp.zeros(self.design.shape[1]), None, length=n_steps)[1]


def make_ridge(options: RidgeOptions) -> Ridge:
    """Return a random problem: normal design, targets from normal weights with unit noise."""
    generator = np.random.default_rng(options.seed)
    design = generator.standard_normal((options.n_samples, options.n_features))
    noise = generator.standard_normal(options.n_samples)
    targets = design @ generator.standard_normal(options.n_features) + noise
    return Ridge(jnp.asarray(design), jnp.asarray(targets))


def implicit_jacobian(
    problem: Ridge, x: Float[Array, " n"], theta: Theta, *, at_any_point: bool = False
) -> tuple[np.ndarray, float]:
    """Return dx*/dtheta (at any point: the paper's estimate J(x, theta), definition 1) and its estimated error."""
    found, certificate = jacobian(
        problem.gradient, x, (theta,), linear_solver=DenseCholesky(), at_any_point=at_any_point
    )
    return np.asarray(found[0]), float(np.linalg.norm(certificate.error))


def precision(problem: Ridge, theta: Theta, n_steps: int) -> dict[str, np.ndarray]:
    r"""Measure both derivatives along gradient descent, and the theorem's bound.

    The constants are exact. The Hessian does not depend on x: gamma = 0, and alpha is its smallest eigenvalue. The
    mixed derivative x (or diag x) changes as fast as x in the Frobenius norm: beta = 1. So
    :math:`(\beta/\alpha + \gamma R/\alpha^2)|x_t - x^*| = |x_t - x^*|/\alpha`, for Frobenius norms of the Jacobian.

    Args:
        problem: The regression.
        theta: One number, shape (), or one per unknown, shape (n,).
        n_steps: Steps of gradient descent with step 1/L.

    Returns:
        ``step``, ``distance`` = |x_t - x*|, Frobenius errors ``implicit_error`` and ``unrolled_error`` of the
        Jacobians, ``bound``, the certificate's ``estimate``, and ``settled`` (true), each of shape (t,), for the
        iterates that rounding does not spoil; scalars ``alpha``, ``beta``, ``gamma``, and ``solution_error``, the
        relative error of the implicit Jacobian at x*.

    References:
        Blondel et al., arXiv:2105.15183, theorem 1 and figure 3.
    """
    spectrum = np.linalg.eigvalsh(np.asarray(problem.hessian(theta)))
    descend = jax.jit(lambda theta: problem.iterates(theta, 1.0 / spectrum[-1], n_steps))
    iterates, solution, exact = descend(theta), problem.solution(theta), problem.jacobian(theta)
    distance = np.linalg.norm(iterates - solution, axis=1)
    kept = np.flatnonzero(distance > ROUNDING * np.linalg.norm(solution))
    estimates = [implicit_jacobian(problem, iterates[k], theta, at_any_point=True) for k in kept]
    implicit, estimate = (np.stack(part) for part in zip(*estimates, strict=True))
    at_solution, _ = implicit_jacobian(problem, solution, theta)
    columns = {
        "step": kept + 1,
        "distance": distance[kept],
        "implicit_error": _norms(implicit - exact),
        "unrolled_error": _norms(jax.jacfwd(descend)(theta)[kept] - exact),
        "bound": distance[kept] / spectrum[0],
        "estimate": estimate,
        "settled": np.ones(len(kept), dtype=bool),
    }
    constants = {"alpha": spectrum[0], "beta": 1.0, "gamma": 0.0}
    constants["solution_error"] = np.linalg.norm(at_solution - exact) / np.linalg.norm(exact)
    return columns | {name: np.asarray(value) for name, value in constants.items()}


def precision_rows(label: str, table: dict[str, np.ndarray], target: float) -> list[Row]:
    """Return the claims on one problem: the bound holds, and unrolling is worse at the same iterates.

    Args:
        label: What the problem is called.
        table: What ``precision`` (here or of the packing) returned.
        target: Largest relative error of the implicit Jacobian at the solution.
    """
    settled = table["settled"]
    used = {name: table[name][settled] for name in MEASURED}
    tightness = used["implicit_error"] / used["bound"]
    ratio = used["unrolled_error"] / used["implicit_error"]
    doubled = 2 * used["estimate"]
    honest = (used["implicit_error"] <= doubled) & (doubled <= 10 * used["implicit_error"])
    where = f"{settled.sum()} iterates, |x - x*| from {used['distance'].max():.1e} to {used['distance'].min():.1e}"
    constants = ", ".join(f"{name} = {table[name]:.3g}" for name in ("alpha", "beta", "gamma") if name in table)
    return [
        Row(f"{label}: implicit error at the solution", float(table["solution_error"]), target, "at most"),
        Row(f"{label}: implicit error / bound, largest", float(tightness.max()), 1.0 + SLACK, "at most", where),
        Row(
            f"{label}: implicit error / bound, median",
            float(np.median(tightness)),
            1.0,
            "at most",
            constants or "constants estimated at each iterate, by the remaining Newton step",
        ),
        Row(
            f"{label}: honest certificates",
            float(honest.mean()),
            0.9,
            "at least",
            f"{honest.sum()} of {len(honest)} with error <= 2 x estimate <= 10 x error",
        ),
        Row(
            f"{label}: unrolled error / implicit error, median",
            float(np.median(ratio)),
            1.0,
            "at least",
            f"worse at {np.sum(ratio > 1)} of {len(ratio)} iterates, last {ratio[-1]:.3g}",
        ),
    ]


def _norms(jacobians: Array | np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.asarray(jacobians).reshape(len(jacobians), -1), axis=1)
