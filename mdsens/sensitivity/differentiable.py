"""The relaxed positions as a function that JAX differentiates: where relaxation and implicit differentiation meet."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PyTree

from mdsens.contacts import least_overlaps
from mdsens.energy import PairPotential, Potential, State, gradient_at, max_reach
from mdsens.energy.parameters import Parameters
from mdsens.errors import UserError
from mdsens.given import is_concrete
from mdsens.implicit import DenseCholesky, NullSpace, root
from mdsens.neighbors import every_pair, layers_within, pair_distances
from mdsens.relaxation import RelaxationSettings, relax
from mdsens.results import Verdict, check
from mdsens.types import Configuration, FreeBox, Position, replaced


def relaxed_condition(
    potential: Potential, configuration: Configuration, layers: int = 0
) -> tuple[Callable[[Position, Parameters], Position], Callable[[Position, Parameters], NullSpace]]:
    r"""Return the condition that relaxed positions satisfy and its null space, for ``mdsens.implicit``.

    Args:
        potential: The law.
        configuration: Species and number of particles; positions and box come with every call.
        layers: How many images on either side of the nearest one are looked at along every axis: more than none where
            the box is smaller than two interaction ranges (``mdsens.neighbors.layers_within``).

    Returns:
        F(x, p) = dU/dx over the contacts of the backbone at (x, p), shape (n, d), and the function (x, p) -> null
        space: translations along axes along which nothing is held, rotations of a free cluster, rattlers and what is
        held frozen. ``implicit.jvp``, ``vjp`` and ``jacobian`` take both.

    Raises:
        UserError: When particles of a free cluster are held, which may leave it some rotations.
    """
    decree = configuration.held
    if decree is not None and isinstance(configuration.box, FreeBox):
        raise UserError("particles of a free cluster are held: take position_sensitivity, which finds what can turn.")

    def state_at(position: Position, parameters: Parameters) -> State:
        start = replaced(configuration, {"position": position, "box": parameters.box})
        if potential.lists_pairs:
            return State(start, parameters.potential, every_pair(position, parameters.box, layers))
        return State.unlisted(start, parameters.potential)

    def condition(position: Position, parameters: Parameters) -> Position:
        held = state_at(*jax.lax.stop_gradient((position, parameters)))
        _, bonds = backbone(held)
        loaded = state_at(position, parameters).with_pairs(held.pairs._replace(mask=bonds))
        return gradient_at(loaded, position, parameters)

    def null_space(position: Position, parameters: Parameters) -> NullSpace:
        held, _ = backbone(state_at(*jax.lax.stop_gradient((position, parameters))))
        frozen = jnp.broadcast_to(~held[:, None], position.shape)
        motions = rigid_motions(position, held, free=isinstance(parameters.box, FreeBox))
        if decree is not None:
            frozen = frozen | jnp.asarray(decree)
            motions = motions[configuration.drifts]
        return NullSpace.from_modes(motions, frozen=frozen)

    return condition, null_space


def relaxed_position(
    potential: Potential,
    configuration: Configuration,
    settings: RelaxationSettings | None = None,
    *,
    layers: int = 0,
) -> Callable[[Parameters], Position]:
    r"""Return the function p -> x*(p), differentiable in every parameter and in the box, any mode, any order.

    The positions solve :math:`\partial U/\partial x = 0` on the backbone; derivatives follow from
    ``mdsens.implicit.root`` with that condition, in the gauge of ``position_sensitivity`` (backbone mean zero, rattlers
    zero). Use it inside a loss of your own; ``position_sensitivity`` is faster for large systems and brings a
    certificate.

    Args:
        potential: The law.
        configuration: Where every relaxation starts; its box is replaced by that of the parameters.
        settings: How to relax.
        layers: As for ``relaxed_condition``.

    Returns:
        ``position(parameters)`` of shape (n, d). Outside jit a state that is unjammed, a saddle or not converged raises
        ``NumericalError``, and a box that needs more layers ``UserError``; inside jit its positions are NaN.

    Notes:
        Differentiation uses the list of all pairs and a dense Cholesky factor: memory grows as (n d)^2, for n up to
        about a thousand. A derivative at a contact that just touches is the one of the present contacts.

    References:
        M. Blondel et al., NeurIPS 2022, arXiv:2105.15183, eq. 2 and section 4.4.
    """
    condition, null_space = relaxed_condition(potential, configuration, layers)

    def relaxed(position: Position, parameters: Parameters) -> Position:
        shape = jax.ShapeDtypeStruct(position.shape, position.dtype)
        if is_concrete(position, parameters):
            return jnp.asarray(on_host(position, parameters, strict=True))
        return jax.pure_callback(
            lambda x, p: on_host(x, p, strict=False), shape, position, parameters, vmap_method="sequential"
        )

    def on_host(position: Position, parameters: Parameters, *, strict: bool) -> np.ndarray:
        arrays = jax.tree.map(jnp.asarray, parameters)
        start = replaced(configuration, {"position": jnp.asarray(position), "box": arrays.box})
        start = State.unlisted(start, arrays.potential).at(start.position, arrays).configuration
        reach = max_reach(arrays.potential, start)
        needed = layers_within(arrays.box, reach) if np.isfinite(reach) else 0
        if needed > layers:
            if strict:
                raise UserError(
                    f"particles see {needed} layers of images beyond the nearest in a box this small: pass "
                    f"layers={needed}."
                )
            return np.full(position.shape, np.nan)
        relaxation = relax(arrays.potential, start, settings)
        if strict:
            check(relaxation.verdict, reason=relaxation.reason)
        if relaxation.verdict is not Verdict.CONVERGED:
            return np.full(position.shape, np.nan)
        return np.asarray(relaxation.state.position)

    solver = root(condition, linear_solver=DenseCholesky(), null_space=null_space)(relaxed)

    def positions(parameters: Parameters) -> Position:
        found = solver(configuration.position, parameters)
        return State.unlisted(configuration, potential).at(found, parameters).position  # what is held moves with them

    return positions


def backbone(state: State) -> tuple[Bool[Array, " n"], Bool[Array, " m"]]:
    """Return who belongs to the backbone, shape (n,), and which listed pairs are its contacts, shape (m,), inside jit.

    The rule of ``mdsens.contacts.contact_network``; for an ``EnergyFunction`` everybody belongs.
    """
    n, pairs, potential = state.configuration.n_particles, state.pairs, state.potential
    everybody = jnp.ones(n, bool)
    if not isinstance(potential, PairPotential):
        return everybody, jnp.asarray(pairs.mask)
    reach = potential.reach(state.configuration, pairs)
    overlap = 1.0 - pair_distances(state.configuration, pairs) / reach
    touching = pairs.mask & (overlap > least_overlaps(state))
    held = state.configuration.held
    free = jnp.full(n, state.configuration.dimension) if held is None else jnp.sum(~jnp.asarray(held), axis=1)
    least = jnp.where(free > 0, free + 1 if potential.contact else 1, 0)

    def pruned(alive: Bool[Array, " n"]) -> Bool[Array, " n"]:
        bonds = (touching & alive[pairs.i] & alive[pairs.j]).astype(int)
        counts = jnp.zeros(n, int).at[pairs.i].add(bonds).at[pairs.j].add(bonds)
        return alive & (counts >= least)

    def unsettled(carry: tuple[Array, Array]) -> Array:
        return jnp.any(carry[0] != carry[1])

    alive, _ = jax.lax.while_loop(unsettled, lambda carry: (pruned(carry[0]), carry[0]), (pruned(everybody), everybody))
    return alive, jnp.asarray(touching & alive[pairs.i] & alive[pairs.j])


def rigid_motions(position: Position, held: Bool[Array, " n"], *, free: bool) -> PyTree:
    """Return translations and, for a free cluster, rotations about the held particles' centre, shape (k, n, d)."""
    n, d = position.shape
    translations = [jnp.broadcast_to(axis, (n, d)) for axis in jnp.eye(d)]
    if not free:
        return jnp.stack(translations)
    centre = jnp.sum(jnp.where(held[:, None], position, 0.0), axis=0) / jnp.sum(held)
    arm = position - centre
    rotations = [
        jnp.zeros((n, d)).at[:, a].set(-arm[:, b]).at[:, b].set(arm[:, a]) for a in range(d) for b in range(a + 1, d)
    ]
    return jnp.stack(translations + rotations)
