r"""Ready-made optimality conditions F(x, \*p) = 0, for `root` and for `jvp`, `vjp` and `jacobian`.

| the solution | the condition |
| --- | --- |
| a stationary point of an energy E(x, \*p) | `stationary(E)` |
| a minimum with lower <= x <= upper | `projected_gradient(E, bounds)` |
| a minimum with g(x, \*p) = 0 | `kkt(E, g)`; the state is (x, multipliers) |
| several conditions at once, such as on (position, box) | `joint(F, G, ...)`; the state is (x, y, ...) |

Each takes any pytree x. Parameters that E or g depend on must be arguments p.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from mdsens.implicit.trees import floating, require_like

Objective = Callable[..., Float[Array, ""]]
Bounds = Callable[..., tuple[PyTree, PyTree]]


@dataclasses.dataclass(frozen=True)
class Condition:
    """An optimality function that knows its structure.

    Attributes:
        function: F(x, *p), which vanishes at the solution.
        symmetric: Whether dF/dx is symmetric: F is the gradient of something.
        reference: The function whose parameters it takes, by the same names, where it knows one.
    """

    function: Callable[..., PyTree]
    symmetric: bool = False
    reference: Callable[..., object] | None = dataclasses.field(default=None, compare=False)

    def __call__(self, x: PyTree, *p: PyTree, **named: PyTree) -> PyTree:
        """Return F(x, *p), a pytree like x; parameters by name are those of the reference."""
        return self.function(x, *p, **named)


def stationary(objective: Objective) -> Condition:
    r"""Return the condition :math:`\partial E/\partial x = 0` of a minimum, maximum or saddle of E(x, \*p).

    Args:
        objective: E(x, \*p), a scalar. x may hold leaves that are no floating-point arrays; they stand still.

    Returns:
        The condition, symmetric. At a minimum its Jacobian is positive definite outside the zero modes: name
        `DenseCholesky` or CG to profit from it.
    """

    def gradient(x: PyTree, *p: PyTree, **named: PyTree) -> PyTree:
        rest = eqx.filter(x, eqx.is_inexact_array, inverse=True)
        return jax.grad(lambda y: objective(eqx.combine(y, rest), *p, **named))(floating(x))

    return Condition(gradient, symmetric=True, reference=objective)


def projected_gradient(objective: Objective, bounds: Bounds, *, step: float = 1.0) -> Condition:
    r"""Return the fixed-point condition :math:`x - \mathrm{clip}(x - s E_x, l, u) = 0` of a minimum within bounds.

    A component at its bound does not move with p unless the bound does; the others respond as if it were fixed.

    Args:
        objective: E(x, \*p), a scalar.
        bounds: Function (\*p) -> (lower, upper), pytrees like x (or numbers), which may depend on p.
        step: s > 0. The solution and its derivative do not depend on it, the conditioning of the condition does:
            best is about one over the curvature of E.

    Returns:
        The condition, not symmetric.

    Raises:
        ValueError: When the step is not positive.

    Notes:
        Where a component touches its bound with zero slope the solution has a kink, and the derivative is one-sided.

    References:
        Blondel et al., NeurIPS 2022, arXiv:2105.15183, eq. 9.
    """
    if not step > 0:
        raise ValueError(f"step = {step} must be greater than 0; about one over the curvature of the objective.")
    gradient = stationary(objective)

    def condition(x: PyTree, *p: PyTree, **named: PyTree) -> PyTree:
        lower, upper = (_spread(bound, floating(x)) for bound in bounds(*p, **named))
        slope = gradient(x, *p, **named)
        return jax.tree.map(lambda y, g, low, up: y - jnp.clip(y - step * g, low, up), floating(x), slope, lower, upper)

    return Condition(condition, reference=objective)


def kkt(objective: Objective, equality: Callable[..., PyTree]) -> Condition:
    r"""Return the Karush-Kuhn-Tucker conditions of a minimum of E(x, \*p) subject to g(x, \*p) = 0.

    .. math:: E_x + \nu\cdot g_x = 0, \qquad g(x, p) = 0

    Args:
        objective: E(x, \*p), a scalar.
        equality: g(x, \*p), any pytree of floating-point arrays; its derivatives in x must be independent at the
            solution (redundant constraints leave the multipliers undetermined: name them as zero modes).

    Returns:
        The condition on the state (x, nu), with multipliers nu, a pytree like g's value. Symmetric, never definite:
        `DenseLU` or `Minres`.
    """

    def lagrangian(state: tuple[PyTree, PyTree], *p: PyTree, **named: PyTree) -> Float[Array, ""]:
        x, multipliers = state
        products = jax.tree.map(jnp.vdot, floating(multipliers), equality(x, *p, **named))
        return objective(x, *p, **named) + jax.tree.reduce(jnp.add, products)

    return Condition(stationary(lagrangian), symmetric=True, reference=objective)


def joint(*conditions: Callable[..., PyTree]) -> Condition:
    r"""Return several conditions on a joint state as one: F_k(state, \*p) = 0 for the k-th part of the state.

    Args:
        conditions: One for each part; each is called as F_k((x_1, x_2, ...), \*p) and returns a pytree like x_k.

    Returns:
        The condition on the state (x_1, x_2, ...). Derivatives couple all parts, which solving them one after the other
        would not.
    """

    def condition(state: tuple[PyTree, ...], *p: PyTree, **named: PyTree) -> tuple[PyTree, ...]:
        if len(state) != len(conditions):
            raise ValueError(f"the state has {len(state)} parts but there are {len(conditions)} conditions.")
        parts = zip(conditions, state, strict=True)
        values = ((F(state, *p, **named), part) for F, part in parts)
        return tuple(require_like(value, part, name=f"condition {k}") for k, (value, part) in enumerate(values))

    return Condition(condition, reference=conditions[0] if conditions else None)


def _spread(bound: PyTree, like: PyTree) -> PyTree:
    """Return a bound as a pytree like x, whether it is one already or a single number."""
    if bool(jax.tree.structure(bound) == jax.tree.structure(like)):  # type: ignore[operator]
        return bound
    return jax.tree.map(lambda leaf: jnp.broadcast_to(bound, leaf.shape), like)
