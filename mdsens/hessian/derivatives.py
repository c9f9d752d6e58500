"""Compiled derivatives that linear response needs: mixed ones, the border of strains, and how they change on a step.

W is the enthalpy, the energy at fixed box; q is made of positions and components of the free strains, none there.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mdsens.energy import State
from mdsens.energy.parameters import Parameters
from mdsens.energy.products import hessian_products
from mdsens.energy.strain import Components, enthalpy_gradient, gradient_of, n_strains
from mdsens.hessian.matrix import directional_row_sum
from mdsens.rounding import position_rounding
from mdsens.types import Position, Scalar

Fields = Float[Array | np.ndarray, "k n d"]
Loads = Float[Array | np.ndarray, "k s"]
NEARBY = 1e-8  # of the spacing of particles


@jax.jit
def mixed(state: State, tangents: Parameters) -> Fields:
    """Return d2U/dx dp along every direction dp (leading axis of ``tangents``), shape (k, n, d)."""
    return mixed_slopes(state, tangents)[0]


@jax.jit
def mixed_slopes(state: State, tangents: Parameters) -> tuple[Fields, Loads]:
    """Return d2W/dx dp, shape (k, n, d), and the same of the free strains, shape (k, s); W is U at fixed box."""
    here = (state.position, jnp.zeros(n_strains(state)))

    def one(tangent: Parameters) -> tuple[Position, Components]:
        return jax.jvp(lambda p: gradient_of(state, *here, p), (state.parameters,), (tangent,))[1]

    return jax.vmap(one)(tangents)


@jax.jit
def slopes_and_forces(state: State, tangents: Parameters) -> tuple[Fields, Loads, Position, Components]:
    """Return ``mixed_slopes``, and what drives positions and strains on, in one compiled call."""
    by_position, by_strain = enthalpy_gradient(state)
    return *mixed_slopes(state, tangents), -by_position, -by_strain


@jax.jit
def carried(state: State, tangents: Parameters) -> Float[Array, "k n d"]:
    """Return how held particles move along every direction dp, with the box or on their own, shape (k, n, d)."""
    along = lambda p: state.at(state.position, p).position  # noqa: E731
    return jax.vmap(lambda tangent: jax.jvp(along, (state.parameters,), (tangent,))[1])(tangents)


@jax.jit
def drifts(
    state: State, tangents: Parameters, moved: Fields, components: Loads, step: Position, strain_step: Components
) -> tuple[Fields, Loads, Fields, Loads, Scalar]:
    """Return K J + W_qp after a step, the change of W_qp and the bound of the Hessian's change along it in one call.

    The first is what J lacks there, to first order: what its solve left and what the step adds. q is made of positions
    and strains.

    Args:
        state: The state.
        tangents: Directions dp, leading axis k.
        moved: What particles do for each (J of the positions), shape (k, n, d).
        components: What the strains do for each, shape (k, s).
        step: Displacement of the particles, shape (n, d).
        strain_step: Components of the strain, shape (s,).

    Returns:
        For positions and strains, shapes (k, n, d) and (k, s): what J lacks; the change of W_qp; and the bound.
    """
    left, (change, slope_change) = _left_and_changes(state, tangents, (moved, components), (step, strain_step))
    lacking = (part + more for part, more in zip(left, change, strict=True))
    return *lacking, *slope_change, directional_row_sum(state, step, strain_step)


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

    For systems at fixed box, so small that a call costs more than what it computes.

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

    slopes, loads, force, still = slopes_and_forces(state, tangents)
    solutions, residuals = solve(jnp.concatenate([-slopes, force[None]]))
    step = solutions[-1] + position_rounding(state.position)
    drift, _, slope_drift, _, hessian_drift = drifts(state, tangents, solutions[:-1], loads, step, still)
    norms = [jnp.linalg.norm(field.reshape(-1, size), axis=1) for field in (slopes, solve(drift)[0], slope_drift)]
    return solutions[:-1], residuals[:-1], *norms, hessian_drift


@jax.jit
def joint_drift(
    state: State, tangent: Parameters, moved: Position | np.ndarray, components: Components | np.ndarray
) -> tuple[Fields, Loads]:
    r"""Return the change of :math:`K J + W_{qp}` along J itself, for one direction dp (leading axis 1), J held."""
    response = jnp.asarray(moved), jnp.asarray(components)
    stacked = jax.tree.map(lambda part: part[None], response)
    return _left_and_changes(state, tangent, stacked, response)[1][0]


Both = tuple[Position, Components]


def _left_and_changes(
    state: State, tangents: Parameters, responses: tuple[Fields, Loads], step: Both
) -> tuple[tuple[Fields, Loads], tuple[tuple[Fields, Loads], tuple[Fields, Loads]]]:
    """Return what a solve for J left at the state, K J + W_qp; its change along a step, J held, and that of W_qp."""
    here = (state.position, jnp.zeros(n_strains(state)))

    def one(tangent: Parameters, response: Both) -> tuple[Both, tuple[Both, Both]]:
        def both(x: Position, e: Components) -> tuple[Both, Both]:
            parameter_part = jax.jvp(lambda p: gradient_of(state, x, e, p), (state.parameters,), (tangent,))[1]
            own_part = jax.jvp(lambda y, f: gradient_of(state, y, f, state.parameters), (x, e), response)[1]
            return jax.tree.map(jnp.add, own_part, parameter_part), parameter_part

        (left, _), changes = jax.jvp(both, here, step)
        return left, changes

    return jax.vmap(one)(tangents, jax.tree.map(jnp.asarray, responses))


@jax.jit
def border(state: State) -> tuple[Float[Array, "s n d"], Float[Array, "s s"]]:
    """Return the second derivatives of the enthalpy in positions and strains, and in strains alone."""
    return _border(state, state.position, jnp.zeros(n_strains(state)))


@jax.jit
def border_drift(
    state: State, step: Position, strain_step: Components
) -> tuple[Float[Array, "s n d"], Float[Array, "s s"]]:
    """Return the change of ``border`` along a step."""
    here = (state.position, jnp.zeros(n_strains(state)))
    return jax.jvp(lambda *q: _border(state, *q), here, (step, strain_step))[1]


def _border(
    state: State, position: Position, components: Components
) -> tuple[Float[Array, "s n d"], Float[Array, "s s"]]:
    def one(direction: Components) -> Both:
        return jax.jvp(lambda e: gradient_of(state, position, e, state.parameters), (components,), (direction,))[1]

    return jax.vmap(one)(jnp.eye(n_strains(state)))


@jax.jit
def products(state: State, components: Components, fields: Fields, loads: Loads) -> tuple[Fields, Loads]:
    """Return the products of the enthalpy's Hessian, at other strains, with fields of positions and strains."""

    def one(field: Position, load: Components) -> Both:
        along = lambda x, e: gradient_of(state, x, e, state.parameters)  # noqa: E731
        return jax.jvp(along, (state.position, components), (field, load))[1]

    return jax.vmap(one)(jnp.asarray(fields), jnp.asarray(loads))


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
