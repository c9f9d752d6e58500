"""The relaxed configuration as a function that JAX differentiates: where relaxation and implicit derivatives meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PyTree

from mdsens.contacts import least_overlaps
from mdsens.energy import Barostat, PairPotential, Potential, State, max_reach
from mdsens.energy.parameters import Parameters
from mdsens.energy.strain import Unknowns, deformed, gradient_of
from mdsens.errors import UserError
from mdsens.given import is_concrete
from mdsens.implicit import DenseCholesky, NullSpace, root
from mdsens.neighbors import every_pair, layers_within, pair_distances
from mdsens.pressure import relax_at_pressure
from mdsens.relaxation import PressureSettings, Relaxation, RelaxationSettings, free_strains, relax
from mdsens.results import Verdict, check
from mdsens.types import Configuration, FreeBox, Position, replaced

Condition = Callable[[Unknowns, Parameters], Unknowns]


def relaxed_condition(
    potential: Potential,
    configuration: Configuration,
    layers: int = 0,
    *,
    strains: np.ndarray | None = None,
) -> tuple[Condition, Callable[[Unknowns, Parameters], NullSpace]]:
    r"""Return the condition that relaxed states satisfy and its null space, for ``mdsens.implicit``.

    Args:
        potential: The law.
        configuration: Species and number of particles; positions and box come with every call.
        layers: How many images on either side of the nearest one are looked at along every axis: more than none where
            the box is smaller than two interaction ranges (``mdsens.neighbors.layers_within``).
        strains: The free strains of the box, shape (s, d, d), from ``mdsens.relaxation.free_strains``: at constant
            pressure, which is then one of the parameters; none at fixed box.

    Returns:
        The function (q, p) -> dW/dq over the contacts of the backbone, with q = ``Unknowns``: positions, and strain
        components by which the parameters' box and all in it are deformed; W = U at fixed box, U + P V otherwise. And
        the function (q, p) -> null space: translations along axes along which nothing is held, rotations of a free
        cluster, rattlers and what is held frozen. ``implicit.jvp``, ``vjp`` and ``jacobian`` take both.

    Raises:
        UserError: When particles of a free cluster are held, which may leave it some rotations.
    """
    decree = configuration.held
    if decree is not None and isinstance(configuration.box, FreeBox):
        raise UserError("particles of a free cluster are held: take position_sensitivity, which finds what can turn.")

    def state_at(unknowns: Unknowns, parameters: Parameters) -> State:
        start = replaced(configuration, {"position": unknowns.position, "box": parameters.box})
        barostat = None
        if strains is not None:
            assert parameters.pressure is not None, "at constant pressure the pressure is one of the parameters"
            barostat = Barostat(parameters.pressure, strains)
        state = State.unlisted(start, parameters.potential).under(barostat)
        if not potential.lists_pairs:
            return state
        return state.with_pairs(every_pair(unknowns.position, parameters.box, layers))

    def held_at(unknowns: Unknowns, parameters: Parameters) -> State:
        here, p = jax.lax.stop_gradient((unknowns, parameters))
        return deformed(state_at(here, p), here.position, here.strain, p)

    def condition(unknowns: Unknowns, parameters: Parameters) -> Unknowns:
        held = held_at(unknowns, parameters)
        loaded = state_at(unknowns, parameters).with_pairs(held.pairs._replace(mask=backbone(held)[1]))
        return Unknowns(*gradient_of(loaded, unknowns.position, unknowns.strain, parameters))

    def null_space(unknowns: Unknowns, parameters: Parameters) -> NullSpace:
        held, _ = backbone(held_at(unknowns, parameters))
        position, strain = unknowns
        frozen = jnp.broadcast_to(~held[:, None], position.shape)
        motions = rigid_motions(position, held, free=isinstance(parameters.box, FreeBox))
        if decree is not None:
            frozen = frozen | jnp.asarray(decree)
            motions = motions[configuration.drifts]
        modes = Unknowns(motions, jnp.zeros((len(motions), *strain.shape)))
        return NullSpace.from_modes(modes, frozen=Unknowns(frozen, jnp.zeros(strain.shape, bool)))

    return condition, null_space


def relaxed_configuration(
    potential: Potential,
    configuration: Configuration,
    settings: RelaxationSettings | PressureSettings | None = None,
    *,
    layers: int = 0,
) -> Callable[[Parameters], Configuration]:
    r"""Return the function p -> relaxed configuration, differentiable in every parameter, any mode, any order.

    At fixed box the positions solve :math:`\partial U/\partial x = 0` on the backbone, at constant pressure positions
    and box :math:`\partial (U + P V)/\partial (x, \varepsilon) = 0`; derivatives follow from ``mdsens.implicit.root``
    with that condition, in the gauge of ``position_sensitivity`` (backbone mean zero, rattlers zero; a box that relaxes
    does not rotate). Use it inside a loss of your own; ``position_sensitivity`` is faster for large systems and brings
    a certificate.

    Args:
        potential: The law.
        configuration: Where every relaxation starts; its box is replaced by that of the parameters.
        settings: How to relax; ``PressureSettings`` say that the box relaxes, too, and how.
        layers: As for ``relaxed_condition``.

    Returns:
        ``relaxed(parameters)``, a ``Configuration``. At constant pressure ``parameters.pressure`` is the pressure and
        their box no more than a start, in which derivatives vanish. Outside jit a state that is unjammed, a saddle or
        not converged raises ``NumericalError``, and a box that needs more layers ``UserError``; inside jit its
        positions are NaN.

    Raises:
        UserError: When called with a pressure at fixed box, or without one where the box relaxes.

    Notes:
        Differentiation uses the list of all pairs and a dense Cholesky factor: memory grows as (n d)^2, for n up to
        about a thousand. A derivative at a contact that just touches is the one of the present contacts.

    References:
        M. Blondel et al., NeurIPS 2022, arXiv:2105.15183, eq. 2 and section 4.4.
    """
    box_settings = settings if isinstance(settings, PressureSettings) else None
    strains = None
    if box_settings is not None:
        strains = free_strains(configuration.dimension, box_settings.box, box_settings.fixed)
    condition, null_space = relaxed_condition(potential, configuration, layers, strains=strains)
    solver = root(condition, linear_solver=DenseCholesky(), null_space=null_space)(lambda found, parameters: found)
    origin = State.unlisted(configuration, potential)
    if strains is not None:
        origin = origin.under(Barostat(0.0, strains))

    def relaxed(parameters: Parameters) -> Configuration:
        if (parameters.pressure is None) is not (strains is None):
            raise UserError(
                "the parameters hold a pressure, and the box is fixed: pass PressureSettings to relax it, too."
                if strains is None
                else "the box relaxes, and the parameters hold no pressure: take those of a state relaxed at one."
            )
        rest = jax.lax.stop_gradient(parameters)
        if is_concrete(rest):
            found = _Found(*map(jnp.asarray, on_host(rest, strict=True)))
        else:
            shapes = _Found(configuration.position, getattr(parameters.box, "matrix", jnp.zeros(0)))
            found = jax.pure_callback(
                lambda p: on_host(p, strict=False),
                jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), shapes),
                rest,
                vmap_method="sequential",
            )
        if strains is not None:  # unknown is how the relaxed box is deformed; the given one was a start
            parameters = replaced(parameters, {"box": replaced(parameters.box, {"matrix": found.matrix})})
        start = Unknowns(jnp.asarray(found.position), jnp.zeros(0 if strains is None else len(strains)))
        unknowns = solver(start, parameters)
        return deformed(origin, unknowns.position, unknowns.strain, parameters).configuration

    def on_host(parameters: Parameters, *, strict: bool) -> _Found:
        arrays = jax.tree.map(jnp.asarray, parameters)
        matrix = np.asarray(getattr(arrays.box, "matrix", np.zeros(0)))
        nothing = _Found(np.full(configuration.position.shape, np.nan), np.full(matrix.shape, np.nan))
        start = replaced(configuration, {"box": arrays.box})
        start = State.unlisted(start, arrays.potential).at(start.position, arrays).configuration
        relaxation = relaxed_from(arrays, start)
        if strict:
            check(relaxation.verdict, reason=relaxation.reason)
        if relaxation.verdict is not Verdict.CONVERGED:
            return nothing
        there = relaxation.state.configuration
        needed = _layers_needed(arrays.potential, there)
        if needed > layers:
            if strict:
                raise UserError(
                    f"particles see {needed} layers of images beyond the nearest in a box this small: pass "
                    f"layers={needed}."
                )
            return nothing
        return _Found(np.asarray(there.position), np.asarray(getattr(there.box, "matrix", matrix)))

    def relaxed_from(parameters: Parameters, start: Configuration) -> Relaxation:
        if box_settings is None or parameters.pressure is None:
            assert not isinstance(settings, PressureSettings)
            return relax(parameters.potential, start, settings)
        return relax_at_pressure(parameters.potential, start, float(parameters.pressure), box_settings)

    return relaxed


class _Found(NamedTuple):
    """Relaxed positions, shape (n, d), and the matrix of their box, shape (d, d); no entries without a box."""

    position: Array | np.ndarray
    matrix: Array | np.ndarray


def _layers_needed(potential: Potential, configuration: Configuration) -> int:
    """Return how many images beyond the nearest one a particle sees along an axis."""
    reach = max_reach(potential, configuration)
    return layers_within(configuration.box, reach) if np.isfinite(reach) else 0


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
