"""Compiled derivatives of the energy that linear response needs: mixed derivatives and how they change along a step."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mdsens.energy import State, free_forces
from mdsens.energy.parameters import Parameters
from mdsens.hessian.any_energy import hessian_products
from mdsens.hessian.matrix import directional_row_sum
from mdsens.rounding import position_rounding
from mdsens.types import Position, Scalar

NEARBY = 1e-8  # of the spacing of particles


def _gradient(state: State, position: Position, parameters: Parameters) -> Position:
    return -free_forces(state.at(position, parameters))


@jax.jit
def mixed(state: State, tangents: Parameters) -> Float[Array, "k n d"]:
    """Return d2U/dx dp along every direction dp (leading axis of ``tangents``), shape (k, n, d)."""

    def one(tangent: Parameters) -> Position:
        along = lambda p: _gradient(state, state.position, p)  # noqa: E731
        return jax.jvp(along, (state.parameters,), (tangent,))[1]

    return jax.vmap(one)(tangents)


@jax.jit
def slopes_and_forces(state: State, tangents: Parameters) -> tuple[Float[Array, "k n d"], Position]:
    """Return ``mixed`` and the forces on what is free in one compiled call."""
    return mixed(state, tangents), free_forces(state)


@jax.jit
def carried(state: State, tangents: Parameters) -> Float[Array, "k n d"]:
    """Return how held particles move along every direction dp, with the box or on their own, shape (k, n, d)."""
    along = lambda p: state.at(state.position, p).position  # noqa: E731
    return jax.vmap(lambda tangent: jax.jvp(along, (state.parameters,), (tangent,))[1])(tangents)


@jax.jit
def drifts(
    state: State, tangents: Parameters, responses: Float[Array, "k n d"], step: Position
) -> tuple[Float[Array, "k n d"], Float[Array, "k n d"], Scalar]:
    """Return H J + U_xp after a step, the change of U_xp and the bound of the Hessian's change along it in one call.

    The first is what J lacks there, to first order: what its solve left and what the step adds.
    """
    left, (change, slope_change) = _left_and_changes(state, tangents, responses, step)
    return left + change, slope_change, directional_row_sum(state, step)


@jax.jit
def dense_forward(
    state: State,
    tangents: Parameters,
    unknowns: Int[Array | np.ndarray, " m"],
    matrix: Float[Array | np.ndarray, "m m"],
    vectors: Float[Array | np.ndarray, "m r"],
    values: Float[Array | np.ndarray, " r"],
) -> tuple[
    Float[Array, "k n d"], Float[Array, " k"], Float[Array, " k"], Float[Array, " k"], Float[Array, " k"], Scalar
]:
    """Return the response to every direction dp and all that its certificate is made of, in one compiled call.

    For systems so small that a call costs more than what it computes.

    Args:
        state: The state.
        tangents: Directions dp, leading axis k.
        unknowns: Numbers of the degrees of freedom that respond.
        matrix: The Hessian among them.
        vectors: Its eigenvectors without the zero modes.
        values: Their eigenvalues.

    Returns:
        dx/dp; relative residuals; norms of U_xp; of what dx/dp lacks to first order after the remaining Newton step and
        the rounding of positions; of the change of U_xp along it; the bound of the Hessian's change.
    """
    shape, size = state.position.shape, state.position.size

    def solve(fields: Float[Array, "k n d"]) -> tuple[Float[Array, "k n d"], Float[Array, " k"]]:
        reduced = fields.reshape(-1, size)[:, jnp.asarray(unknowns)]
        wanted = reduced @ vectors
        found = (wanted / values) @ vectors.T
        left = jnp.linalg.norm((reduced - found @ matrix) @ vectors, axis=1)
        norm = jnp.linalg.norm(wanted, axis=1)
        whole = jnp.zeros((len(found), size)).at[:, jnp.asarray(unknowns)].set(found)
        return whole.reshape(-1, *shape), left / jnp.where(norm > 0, norm, 1.0)

    slopes, force = slopes_and_forces(state, tangents)
    solutions, residuals = solve(jnp.concatenate([-slopes, force[None]]))
    step = solutions[-1] + position_rounding(state.position)
    drift, slope_drift, hessian_drift = drifts(state, tangents, solutions[:-1], step)
    norms = [jnp.linalg.norm(field.reshape(-1, size), axis=1) for field in (slopes, solve(drift)[0], slope_drift)]
    return solutions[:-1], residuals[:-1], *norms, hessian_drift


@jax.jit
def mixed_drift(
    state: State, tangents: Parameters, responses: Float[Array, "k n d"], step: Position
) -> tuple[Float[Array, "k n d"], Float[Array, "k n d"]]:
    r"""Return the changes of :math:`H J + U_{xp}` and of :math:`U_{xp}` alone under a step, J and dp held.

    Args:
        state: The state.
        tangents: Directions dp, leading axis k.
        responses: J = dx/dp for each, shape (k, n, d).
        step: Displacement of the particles, shape (n, d).
    """
    return _left_and_changes(state, tangents, responses, step)[1]


def _left_and_changes(
    state: State, tangents: Parameters, responses: Float[Array, "k n d"], step: Position
) -> tuple[Float[Array, "k n d"], tuple[Float[Array, "k n d"], Float[Array, "k n d"]]]:
    """Return what a solve for J left at the state, H J + U_xp, besides what ``mixed_drift`` returns."""

    def one(tangent: Parameters, response: Position) -> tuple[Position, tuple[Position, Position]]:
        def both(x: Position) -> tuple[Position, Position]:
            parameter_part = jax.jvp(lambda p: _gradient(state, x, p), (state.parameters,), (tangent,))[1]
            position_part = jax.jvp(lambda y: _gradient(state, y, state.parameters), (x,), (response,))[1]
            return position_part + parameter_part, parameter_part

        (left, _), changes = jax.jvp(both, (state.position,), (step,))
        return left, changes

    return jax.vmap(one)(tangents, responses)


@jax.jit
def _pulls(
    state: State, tangents: Parameters, responses: Float[Array, "k n d"]
) -> tuple[Float[Array, "k n d"], Float[Array, "k n d"]]:
    """Return H J + U_xp for every direction, which vanishes where J is right, and U_xp alone."""
    slopes = mixed(state, tangents)
    return slopes + hessian_products(state, responses), slopes


def drifts_by_differences(
    state: State, tangents: Parameters, responses: np.ndarray, step: Position
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first two of ``drifts`` from a state nearby: where third derivatives of an energy are not numbers."""
    there, fraction = nearby(state, step)
    (left, slopes), (moved, moved_slopes) = (
        [np.asarray(part) for part in _pulls(at, tangents, jnp.asarray(responses))] for at in (state, there)
    )
    return left + (moved - left) / fraction, (moved_slopes - slopes) / fraction


def nearby(state: State, step: Position) -> tuple[State, float]:
    """Return the state displaced along a step by a hundred-millionth of the particles' spacing, and its part of it.

    The rounding of positions is part of the step. Differences between both states tell how derivatives change along it,
    to eight digits, without code for further derivatives.
    """
    step = step + position_rounding(state.position)
    largest, spacing = float(jnp.max(jnp.abs(step))), _spacing(state)
    fraction = NEARBY * spacing / largest if largest > 0 and spacing > 0 else 1.0
    return state.at(state.position + fraction * step, state.parameters), fraction


def _spacing(state: State) -> float:
    n, d = state.position.shape
    return float(jnp.max(jnp.ptp(state.position, axis=0))) / n ** (1 / d)
