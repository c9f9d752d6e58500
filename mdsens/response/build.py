"""Which response a state gets, and whether it gets one at all."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from mdsens.contacts import Network, changes_within, contact_network, is_kinked, with_contacts
from mdsens.energy import PairPotential, State, free_forces, max_force
from mdsens.energy.inner import continued_pair
from mdsens.errors import NumericalError
from mdsens.hessian import LinearSolver, factorise
from mdsens.hessian.any_energy import unknowns_of
from mdsens.linear import Factor
from mdsens.relaxation import Relaxation
from mdsens.response.border import Border
from mdsens.response.bordered import bordered, refuse_soft_box
from mdsens.response.linear import LinearResponse
from mdsens.response.null_space import ZeroModes, known_zero_modes, project_out, spectrum_edge
from mdsens.results import Verdict, check
from mdsens.types import FreeBox, PeriodicBox

STATIONARITY = 1e-6  # epsilon/sigma: the largest force that still counts as a relaxed state
_ALONE = "No particle feels another, so that nothing holds their positions: bring them within the range of the law."
_ROUGH = 1e-3  # relative residual that is enough for the remaining step
_forces = jax.jit(free_forces)
_VANISHING = 1e-8  # of their length: what is left of motions that what is held forbids
_SYMMETRIC = 1e-6  # of the matrix norm: a motion that changes the gradient by less is a symmetry


def linear_response(
    relaxation: Relaxation, *, stationarity: float = STATIONARITY, at_any_point: bool = False
) -> LinearResponse:
    """Return the response of a relaxed state, from the factor by which it was judged a minimum.

    A state relaxed at constant pressure responds with its box; ``fixed`` of the response is that of its particles.

    Args:
        relaxation: The relaxed state with its verdict.
        stationarity: Largest force that still counts as relaxed, units of epsilon/sigma.
        at_any_point: Take the state as it is, stationary or not; results are labelled so and are no derivatives of a
            relaxed state. Meant for figures of optimiser iterates.

    Returns:
        The response.

    Raises:
        NumericalError: When the state did not relax, is a saddle, or is unjammed: the verdict's sentence; when the box
            is floppy along a free strain; when two particles are closer than their law is meant for (``inner``).
    """
    barostat = relaxation.state.barostat
    if not at_any_point:
        if barostat is not None:
            check(relaxation.verdict, what="no sensitivity at constant pressure")
        _refuse(relaxation, stationarity)
    response = _response(
        relaxation.loaded,
        relaxation.network,
        relaxation.factor,
        relaxation.max_force,
        at_any_point=at_any_point,
        solver=relaxation.settings.linear_solver,
    )
    if not at_any_point:
        response = _flagged(response, relaxation.state)
    if barostat is not None:
        response = bordered(response, barostat)
        refuse_soft_box(response)
    return response


def _flagged(response: LinearResponse, listed: State) -> LinearResponse:
    """Return the response, called one-sided where the remaining step may change a contact."""
    network = response.network
    if network.one_sided or not is_kinked(listed):
        return response
    step = response.solve(np.asarray(_forces(response.state))[None], _ROUGH)[0][0]
    changed = dataclasses.replace(network, one_sided=changes_within(listed, network, step))
    return dataclasses.replace(response, network=changed)


def response_at(state: State) -> LinearResponse:
    """Factor the Hessian at any state, stationary or not, labelled ``at_any_point``; pairs must hold all in range.

    The box of a state with a barostat responds, too.
    """
    network = contact_network(state)
    largest = float(max_force(_forces(state)))
    response = _response(with_contacts(state, network), network, None, largest, at_any_point=True)
    return response if state.barostat is None else bordered(response, state.barostat)


def _refuse(relaxation: Relaxation, stationarity: float) -> None:
    if relaxation.verdict in (Verdict.UNJAMMED, Verdict.SADDLE, Verdict.NONFINITE, Verdict.OVERFLOW):
        raise NumericalError(f"no sensitivity: {relaxation.verdict.sentence} {relaxation.reason}".rstrip())
    inside = continued_pair(relaxation.state)
    if inside:
        raise NumericalError(f"no sensitivity: {inside}")
    unit = relaxation.force_unit
    if not relaxation.max_force <= stationarity * unit:
        raise NumericalError(
            f"no sensitivity: the largest force {relaxation.max_force:.2e} exceeds the stationarity threshold "
            f"{stationarity * unit:.2e}: relax further (lower max_force or raise max_steps)."
        )


def _response(
    loaded: State,
    network: Network,
    factor: Factor | None,
    largest: float,
    *,
    at_any_point: bool,
    solver: LinearSolver = "auto",
) -> LinearResponse:
    if not len(unknowns_of(loaded, network.backbone)):
        contact = isinstance(loaded.potential, PairPotential) and loaded.potential.contact
        raise NumericalError(f"no sensitivity: {Verdict.UNJAMMED.sentence if contact else _ALONE}")
    factor = factor or factorise(loaded, network.backbone, solver=solver)
    if factor.n_negative and not at_any_point:
        raise NumericalError(f"no sensitivity: {Verdict.SADDLE.sentence}")
    known, n_translations, n_rotations = _symmetries(loaded, network, factor)
    smallest, floppy = spectrum_edge(factor, known)
    rotations, floppy = _turning(loaded, network, factor, floppy)
    return LinearResponse(
        state=loaded,
        network=network,
        max_force=largest,
        zero_modes=ZeroModes(n_translations, n_rotations + rotations.shape[1], network.n_rattlers, floppy.shape[1]),
        smallest_eigenvalue=smallest,
        at_any_point=at_any_point,
        factor=factor,
        unknowns=unknowns_of(loaded, network.backbone)[factor.order],
        modes=np.hstack([known, rotations, floppy]),
        border=Border.none(*loaded.position.shape),
    )


def _turning(state: State, network: Network, factor: Factor, floppy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tell rotations of a cluster in a periodic box from other floppy modes; both as orthonormal columns."""
    box, position = state.configuration.box, np.asarray(state.position)[network.backbone]
    if not (floppy.size and isinstance(box, PeriodicBox)) or state.configuration.held is not None:
        return floppy[:, :0], floppy
    whole = position[0] + np.asarray(
        box.displacement(jnp.asarray(position - position[0]))
    )  # a cluster that is cut by a face
    rigid, n_translations, _ = known_zero_modes(whole, FreeBox(box.dimension))
    rotations = rigid[factor.order, n_translations:]
    left, cosines, _ = np.linalg.svd(floppy.T @ rotations, full_matrices=True)
    count = int(np.sum(cosines > 1 - _SYMMETRIC))
    return floppy @ left[:, :count], floppy @ left[:, count:]


def _symmetries(state: State, network: Network, factor: Factor) -> tuple[np.ndarray, int, int]:
    """Return the rigid motions that cost no energy, and how many of them are translations and rotations."""
    position = np.asarray(state.position)[network.backbone]
    known, n_translations, n_rotations = known_zero_modes(position, state.configuration.box)
    if state.configuration.held is None:
        known = known[factor.order]
        if isinstance(state.potential, PairPotential):
            return known, n_translations, n_rotations
        # an external field breaks symmetries; what it leaves must still annihilate the Hessian
        free = np.linalg.norm(factor.product(known), axis=0) <= _SYMMETRIC * factor.norm
        return known[:, free], int(free[:n_translations].sum()), int(free[n_translations:].sum())
    # so does what is held: a turn about a particle may be left of all translations and rotations
    unheld = ~np.asarray(state.configuration.held)[network.backbone].ravel()
    known = known[unheld][factor.order]
    translations = _annihilated(factor, known[:, :n_translations])
    rotations = _basis(project_out(translations, _annihilated(factor, known)))
    return np.hstack([translations, rotations]), translations.shape[1], rotations.shape[1]


def _annihilated(factor: Factor, columns: np.ndarray) -> np.ndarray:
    """Return the combinations of columns that the matrix annihilates, orthonormal."""
    basis = _basis(columns)
    if not basis.size:
        return basis
    _, sizes, combinations = np.linalg.svd(factor.product(basis), full_matrices=False)
    return np.asarray(basis @ combinations[sizes <= _SYMMETRIC * factor.norm].T)


def _basis(columns: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of columns that are about one long, or vanish."""
    left, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, sizes > _VANISHING])
