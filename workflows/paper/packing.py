"""Theorem 1 on a packing: derivatives along FIRE, restricted to the range of the Hessian."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from mdsens.contacts import contact_network
from mdsens.energy import State, max_reach
from mdsens.energy.paths import Selection, select
from mdsens.errors import NumericalError
from mdsens.neighbors import neighbor_pairs
from mdsens.relaxation import Relaxation, relax
from mdsens.response import linear_response, response_at
from mdsens.results import check
from mdsens.sensitivity import position_sensitivity
from mdsens.sensitivity.unrolled import Iterates, differentiate_iterates
from mdsens.verification import dense_reference
from workflows.problem import Problem

ROUNDING = 1e-9  # of the unit of length: iterates closer to the minimum measure rounding and not the theorem


def precision(problem: Problem, path: str, steps: np.ndarray) -> dict[str, np.ndarray]:
    """Measure both derivatives of the positions along FIRE, and the theorem's bound, on the range of the Hessian.

    Distances and errors are 2-norms over the relaxed state's backbone with its mean removed. The bound is the
    certificate's: alpha, beta, gamma and R estimated at the iterate itself, |x - x*| by the remaining Newton step. It
    means something only where the iterate is *settled*, its backbone network being that of the relaxed state: before,
    a contact of harmonic discs that opens or closes makes the Hessian jump, and the theorem's gamma is infinite.

    Args:
        problem: What to relax.
        path: The parameter to differentiate in.
        steps: Increasing FIRE steps to look at, shape (t,).

    Returns:
        ``step``, ``distance``, ``implicit_error``, ``unrolled_error``, ``bound`` and ``estimate`` (NaN unless settled),
        ``settled`` and
        ``max_force``, each of shape (t,), for the iterates that rounding does not spoil; scalar ``solution_error``, the
        relative error of the implicit derivative at the relaxed state against the dense pseudo-inverse.

    Raises:
        NumericalError: When the packing is unjammed, does not relax, or no iterate is settled.
    """
    relaxation = relax(problem.potential, problem.configuration, problem.settings)
    check(relaxation.verdict, reason=relaxation.reason)
    selection, response = select(relaxation.state, [path]), linear_response(relaxation)
    exact = dense_reference(response.state, response.network, selection.tangents)[0]
    final = position_sensitivity(response, selection).values[0]
    law, tangent = (problem.potential,), selection.combined(np.ones(1))
    iterates = differentiate_iterates(*law, problem.configuration, tangent, steps.tolist(), skin=problem.settings.skin)
    estimates = [estimate_at(relaxation, position, selection) for position in iterates.position]
    settled, bound, estimate, implicit = (np.array(part) for part in zip(*estimates, strict=True))
    backbone, distance = relaxation.network.backbone, _distances(relaxation, iterates)
    kept = distance > ROUNDING
    if not (kept & settled).any():
        raise NumericalError(
            f"packing: none of the {len(steps)} iterates up to step {steps[-1]} has the contacts of the relaxed state "
            "without being relaxed already: choose another paper.last_step, or more paper.n_records."
        )
    columns = {
        "step": steps,
        "distance": distance,
        "implicit_error": _norms(implicit - exact, backbone),
        "unrolled_error": _norms(iterates.unrolled - exact, backbone),
        "bound": np.where(settled, bound, np.nan),
        "estimate": np.where(settled, estimate, np.nan),
        "settled": settled,
        "max_force": iterates.max_force,
    }
    error = np.linalg.norm(final - exact) / np.linalg.norm(exact)
    return {name: column[kept] for name, column in columns.items()} | {"solution_error": np.asarray(error)}


def estimate_at(
    relaxation: Relaxation, position: np.ndarray, selection: Selection
) -> tuple[bool, float, float, np.ndarray]:
    """Return whether an iterate is settled, the certificate's bound and error estimate, and dx/dp; NaN without any."""
    state = state_at(relaxation.state, position)
    settled = contact_network(state).same_as(relaxation.network)
    try:
        found = position_sensitivity(response_at(state), selection)
    except NumericalError:  # no backbone yet, or a Hessian that is singular by accident
        return settled, np.nan, np.nan, np.full(position.shape, np.nan)
    certificate = found.certificate
    return settled, float(certificate.bound[0]), float(certificate.error[0]), found.values[0]


def state_at(state: State, position: np.ndarray) -> State:
    """Return the state with other positions and the pairs that belong to them."""
    reach = max_reach(state.potential, state.configuration)
    where = jnp.asarray(position)
    capacity = state.pairs.mask.shape[0]  # one shape for all iterates that fit: compiled once
    return state.moved(where, neighbor_pairs(where, state.configuration.box, reach, capacity=capacity))


def _distances(relaxation: Relaxation, iterates: Iterates) -> np.ndarray:
    apart = jax.vmap(relaxation.state.configuration.box.displacement)(
        jnp.asarray(iterates.position) - relaxation.state.position
    )
    return _norms(np.asarray(apart), relaxation.network.backbone)


def _norms(fields: np.ndarray, backbone: np.ndarray) -> np.ndarray:
    """Return the 2-norm of fields of shape (t, n, d) over the backbone, its mean removed, shape (t,)."""
    held = fields[:, backbone]
    return np.asarray(np.linalg.norm((held - held.mean(axis=1, keepdims=True)).reshape(len(held), -1), axis=1))
