"""The experiment of Blondel et al.: many packings, and who gets their position sensitivity right.

Every member is one random start. Nothing here knows a potential by name; a member that cannot be answered (unjammed,
not converged) is recorded with its verdict and NaN, never dropped.

References:
    M. Blondel et al., Efficient and Modular Implicit Differentiation, NeurIPS 2022, arXiv:2105.15183, section 4.4.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from mdsens.energy import Potential, energy
from mdsens.energy.paths import Selection, select
from mdsens.observables import packing_fraction
from mdsens.relaxation import Relaxation, RelaxationSettings, relax
from mdsens.response import LinearResponse, linear_response
from mdsens.results import Verdict
from mdsens.sensitivity import PositionSensitivity, position_sensitivity
from mdsens.sensitivity.derivatives import observable_slopes
from mdsens.sensitivity.unrolled import differentiate_iterates
from mdsens.sweep.members import Record
from mdsens.types import Configuration
from mdsens.verification import compare_with_differences, dense_reference

_Entries = dict[str, np.ndarray | str]


def start_member(
    potential: Potential,
    configuration: Configuration,
    settings: RelaxationSettings,
    path: str,
    steps: Sequence[int],
) -> Record:
    """Compare the implicit, the unrolled and the re-relaxed derivative of one packing.

    Args:
        potential: The law.
        configuration: The random start.
        settings: How to relax.
        path: The parameter entry to differentiate in.
        steps: FIRE steps at which the unrolled derivative is looked at.

    Returns:
        Numbers of the relaxed state; relative errors against the dense pseudo-inverse (2-norm over all particles) of
        the implicit derivative, of re-relaxed differences (against the implicit derivative, over the backbone), and of
        the unrolled and implicit derivatives at every iterate; L1 norms of the latter two. NaN where the state was
        refused.
    """
    relaxation = relax(potential, configuration, settings)
    record = _unanswered(len(steps), relaxation.state.position.shape) | _summary(relaxation)
    if relaxation.verdict is not Verdict.CONVERGED:
        return record
    response, selection, sensitivity, reference = _differentiated(relaxation, path)
    difference = compare_with_differences(response, relaxation, sensitivity, selection)[0]
    iterates = differentiate_iterates(
        potential, configuration, selection.combined(np.ones(1)), steps, skin=settings.skin
    )
    return record | {
        **_derivative(sensitivity, reference),
        "implicit_final_error": np.array(_relative_error(sensitivity.values[0], reference)),
        "certified_error": np.array(sensitivity.certificate.relative_error[0]),
        "difference_error": np.array(difference.relative_difference if difference.same_network else np.nan),
        "difference_step": np.array(difference.step),
        "iterate_max_force": iterates.max_force,
        "unrolled_l1": np.abs(iterates.unrolled).sum(axis=(1, 2)),
        "implicit_l1": np.abs(iterates.implicit).sum(axis=(1, 2)),
        "unrolled_error": _relative_error(iterates.unrolled, reference),
        "implicit_error": _relative_error(iterates.implicit, reference),
    }


def start_state(relaxation: Relaxation, path: str) -> Record:
    """Return what ``start_member`` knows from the relaxed state alone: its numbers, dx/dp, and the reference's norm."""
    record = _summary(relaxation)
    if relaxation.verdict is not Verdict.CONVERGED:
        return record
    _, _, sensitivity, reference = _differentiated(relaxation, path)
    return record | _derivative(sensitivity, reference)


def _differentiated(
    relaxation: Relaxation, path: str
) -> tuple[LinearResponse, Selection, PositionSensitivity, np.ndarray]:
    """Return the response, the selected entry, dx/dp in it and the dense reference of the same."""
    response, selection = linear_response(relaxation), select(relaxation.state, [path])
    reference = dense_reference(response.state, response.network, selection.tangents)[0]
    return response, selection, position_sensitivity(response, selection), reference


def _derivative(sensitivity: PositionSensitivity, reference: np.ndarray) -> _Entries:
    return {"sensitivity": sensitivity.values[0], "reference_l1": np.array(np.abs(reference).sum())}


def sweep_member(potential: Potential, configuration: Configuration, settings: RelaxationSettings, path: str) -> Record:
    r"""Relax one packing and take the slopes of its energy and the size of its position sensitivity.

    At a minimum the energy's slope is the partial one. At constant packing fraction the box follows the parameter:

    .. math:: \left(\frac{dE}{d\theta}\right)_\phi = \left(\frac{\partial E}{\partial\theta}\right)_L
              + \frac{\partial E}{\partial L}\frac{dL}{d\theta},
              \quad \frac{dL}{d\theta} = -\frac{\partial\phi/\partial\theta}{\partial\phi/\partial L}

    Returns:
        Energy, slope at fixed box, slope at constant packing fraction, dL/dtheta, mean over particles of |dx_i/dtheta|
        and L1 norm of dx/dtheta at fixed box; NaN where the state was refused.
    """
    return sweep_state(relax(potential, configuration, settings), path)


def sweep_state(relaxation: Relaxation, path: str) -> Record:
    """Return what ``sweep_member`` finds at a relaxed state."""
    names = ("slope_fixed_box", "slope_total", "box_rate", "magnitude", "l1")
    record = _summary(relaxation) | {name: np.array(np.nan) for name in names}
    if relaxation.verdict is not Verdict.CONVERGED:
        return record
    selection = select(relaxation.state, [path, "box.length"])
    energy_slopes, fraction_slopes = (
        observable_slopes(observable, relaxation.state, jnp.zeros(0))[3] for observable in (energy, packing_fraction)
    )
    by_theta, by_length = selection.contract(energy_slopes)
    fraction_by_theta, fraction_by_length = selection.contract(fraction_slopes)
    box_rate = -fraction_by_theta / fraction_by_length
    values = position_sensitivity(linear_response(relaxation), select(relaxation.state, [path])).values[0]
    results = (
        by_theta,
        by_theta + by_length * box_rate,
        box_rate,
        np.linalg.norm(values, axis=1).mean(),
        np.abs(values).sum(),
    )
    return record | {name: np.array(value) for name, value in zip(names, results, strict=True)}


def _summary(relaxation: Relaxation) -> _Entries:
    return {
        "verdict": relaxation.verdict.value,
        "energy": np.array(relaxation.energy if relaxation.verdict is Verdict.CONVERGED else np.nan),
        "pressure": np.array(relaxation.pressure),
        "max_force": np.array(relaxation.max_force),
        "n_rattlers": np.array(relaxation.network.n_rattlers),
        "n_contacts": np.array(relaxation.network.n_contacts),
        "n_steps": np.array(len(relaxation.history.energy)),
        "seconds": np.array(relaxation.seconds),
        "position": np.asarray(relaxation.state.position),
    }


def _unanswered(n_steps: int, shape: tuple[int, ...]) -> _Entries:
    single = ("reference_l1", "implicit_final_error", "certified_error", "difference_error", "difference_step")
    series = ("iterate_max_force", "unrolled_l1", "implicit_l1", "unrolled_error", "implicit_error")
    nothing: _Entries = {"sensitivity": np.full(shape, np.nan)}
    nothing.update((name, np.array(np.nan)) for name in single)
    nothing.update((name, np.full(n_steps, np.nan)) for name in series)
    return nothing


def _relative_error(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    axes = (-2, -1)
    return np.asarray(np.linalg.norm(values - reference, axis=axes) / np.linalg.norm(reference, axis=axes))
