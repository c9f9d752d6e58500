r"""Second derivatives: of solutions, and of energies at solutions.

The second derivative of :math:`x^*(p)` along dp and dq solves with the same Jacobian as the first,

.. math:: A\,d^2x = -\left(F_{xx}[dx_p, dx_q] + F_{xp}[dx_q, dp] + F_{xp}[dx_p, dq] + F_{pp}[dp, dq]\right),

and that of an energy at its own stationary point needs the first-order response only,

.. math:: \frac{d^2E^*}{dp^2} = E_{pp} - E_{px} A^{+} E_{xp}.
"""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from mdsens.implicit.certified import Certificate
from mdsens.implicit.conditions import Objective, stationary
from mdsens.implicit.linear import LinearSolver
from mdsens.implicit.null_space import NullSpace
from mdsens.implicit.root import root
from mdsens.implicit.system import NullSpaceFn, Optimality
from mdsens.implicit.trees import floating, with_float_arrays
from mdsens.implicit.values import STATIONARITY, flat_jacobian, jvp


def second_derivative(
    F: Optimality,
    x: PyTree,
    p: tuple[PyTree, ...],
    first: tuple[PyTree, ...],
    second: tuple[PyTree, ...],
    *,
    linear_solver: LinearSolver | None = None,
    null_space: NullSpace | NullSpaceFn | None = None,
    stationarity: float = STATIONARITY,
) -> tuple[PyTree, Certificate]:
    r"""Return :math:`d^2x^*[dp, dq]` of the solution x of F(x, \*p) = 0.

    Args:
        F: As for `jvp`; twice differentiable at the solution.
        x: As for `jvp`.
        p: As for `jvp`.
        first: Direction dp, a tuple like p.
        second: Direction dq, a tuple like p.
        linear_solver: As for `root`.
        null_space: As for `root`.
        stationarity: As for `jvp`.

    Returns:
        A pytree like the floating-point leaves of x, and the certificate of the first derivative along dp, whose matrix
        and solver are the same. Contract with unit vectors for the full derivative.

    Raises:
        NumericalError: As for `jvp`.
        ValueError: As for `jvp`.
        TypeError: As for `jvp`.
    """
    _, certificate = jvp(F, x, p, first, linear_solver=linear_solver, null_space=null_space, stationarity=stationarity)
    x, p, first, second = (with_float_arrays(tree) for tree in (x, p, first, second))
    solution = root(F, linear_solver=linear_solver, null_space=null_space)(lambda x0, *q: x0)

    def along(direction: tuple[PyTree, ...], function: Callable[..., PyTree]) -> Callable[..., PyTree]:
        return lambda *q: jax.jvp(function, q, direction)[1]

    once = along(first, lambda *q: floating(solution(x, *q)))
    return jax.jit(along(second, once))(*p), certificate


def energy_hessian(
    objective: Objective,
    x: PyTree,
    p: tuple[PyTree, ...],
    *,
    linear_solver: LinearSolver | None = None,
    null_space: NullSpace | NullSpaceFn | None = None,
    stationarity: float = STATIONARITY,
) -> tuple[Float[Array, "m m"], Certificate]:
    r"""Return :math:`d^2E^*/dp^2` of the energy at its stationary point x, from the first-order response.

    Args:
        objective: E(x, \*p), a scalar.
        x: Its stationary point.
        p: The parameters, a tuple.
        linear_solver: As for `root`.
        null_space: As for `root`.
        stationarity: As for `jvp`.

    Returns:
        The symmetric matrix over all floating-point entries of p, in the order of `jax.flatten_util.ravel_pytree(p)`,
        and the certificate of dx/dp.

    Raises:
        NumericalError: As for `jvp`.
        ValueError: As for `jvp`.
        TypeError: As for `jvp`.
    """
    F = stationary(objective)
    x, p = with_float_arrays(x), with_float_arrays(p)
    response, certificate = flat_jacobian(
        F, x, p, linear_solver=linear_solver, null_space=null_space, stationarity=stationarity
    )
    (flat_x, unravel_x), (flat_p, unravel_p) = ravel_pytree(floating(x)), ravel_pytree(floating(p))
    rest_x, rest_p = (eqx.filter(tree, eqx.is_inexact_array, inverse=True) for tree in (x, p))

    def energy(y: Array, q: Array) -> Float[Array, ""]:
        return objective(eqx.combine(unravel_x(y), rest_x), *eqx.combine(unravel_p(q), rest_p))

    def slope(y: Array, q: Array) -> Array:
        return jax.grad(energy, argnums=1)(y, q)

    def row(dx: Array, dq: Array) -> Array:
        return jax.jvp(slope, (flat_x, flat_p), (dx, dq))[1]

    matrix = jax.vmap(row, in_axes=(1, 1))(jnp.asarray(response), jnp.eye(flat_p.size))
    return 0.5 * (matrix + matrix.T), certificate
