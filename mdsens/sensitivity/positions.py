r"""Derivatives of relaxed states and of observables in the parameters, each with its certificate.

With q = (positions, free strains of the box, if any) and W = U, or the enthalpy U + P V where the box relaxes,
:math:`W_q = 0` in a relaxed state for every p, so

.. math:: K\,\frac{dq}{dp} = -W_{qp}\ \text{(forward)}, \qquad
          K\lambda = O_q,\quad \frac{dO}{dp} = O_p - \lambda\cdot W_{qp}\ \text{(adjoint)}.

Forward costs one solve per parameter, adjoint one per observable; one factor serves both. At constant pressure the
pressure is a parameter like any other; so are those components of the box that are not free.

References:
    M. Blondel et al., Efficient and Modular Implicit Differentiation, NeurIPS 2022, arXiv:2105.15183.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mdsens.energy import State
from mdsens.energy.parameters import Parameters
from mdsens.energy.paths import Selection
from mdsens.energy.strain import enthalpy_gradient, periodic_box, stress_deviation
from mdsens.errors import NumericalError, UserError
from mdsens.hessian.derivatives import carried, mixed, mixed_slopes, nearby
from mdsens.response import Forward, LinearResponse, forward_response
from mdsens.response.forward import chunks
from mdsens.response.linear import accepted, norms, refuse_loaded
from mdsens.rounding import UNIT
from mdsens.sensitivity.certified import BoxResponse, Certificate, PositionSensitivity, relative
from mdsens.sensitivity.derivatives import volume_slopes
from mdsens.types import PeriodicBox

Step = tuple[Array, Array]  # of positions, shape (n, d), and of the free strains, shape (s,)


def position_sensitivity(response: LinearResponse, selection: Selection) -> PositionSensitivity:
    """Return dx/dp for every selected entry, from one factor.

    Args:
        response: The factored Hessian of the relaxed state.
        selection: Parameter entries, from ``mdsens.energy.paths.select``.

    Returns:
        dx/dp in the gauge of minimum norm (backbone mean zero unless particles are held, rattlers zero) with its
        certificate, whose errors are relative to what free particles do.

    Raises:
        UserError: When the selection was made for a box that does something else.
        NumericalError: When a linear solve misses a relative residual of 1e-6.
    """
    check_selection(response, selection)
    found = forward_response(response, selection)
    refuse_loaded(found.load, found.slope, found.slope_drift, f"one of {', '.join(selection.paths[:3])}")
    residual = accepted(found.residual)
    if not np.isfinite(found.change).all():
        raise NumericalError(
            "the error of dx/dp cannot be estimated: second derivatives of the energy are not finite near this state."
        )
    followed = response.border.followed(found.values, found.components, np.asarray(response.state.position))
    size = norms(followed)
    certificate = certificate_of(response, residual, found.change + UNIT * size, found.bound, size)
    values, box = followed + carried_along(response.state, selection), _box_response(response, selection, found)
    return PositionSensitivity(selection.paths, selection.values, selection.units, values, certificate, box)


def _box_response(response: LinearResponse, selection: Selection, found: Forward) -> BoxResponse | None:
    if response.state.barostat is None:
        return None
    box, given = periodic_box(response.state), selection.tangents.box
    assert isinstance(given, PeriodicBox)
    strains = response.border.strain(found.components)
    own, volume = np.asarray(volume_slopes(response.state, selection.tangents)), float(box.volume)
    return BoxResponse(
        displacements=found.values,
        components=found.components,
        strains=strains,
        rates=strains @ np.asarray(box.matrix) + np.asarray(given.matrix),
        volumes=volume * np.trace(strains, axis1=1, axis2=2) + own,
    )


def carried_along(state: State, selection: Selection) -> np.ndarray | float:
    """Return how held particles move along every entry, shape (k, n, d); 0 where none is held."""
    if state.configuration.held is None:
        return 0.0
    parts = [np.asarray(carried(state, selection.part(rows).tangents)) for rows in chunks(len(selection.paths))]
    return np.concatenate(parts)


def forward(response: LinearResponse, tangents: Parameters) -> np.ndarray:
    """Return dx/dp along directions dp (leading axis of every leaf), shape (k, n, d), without a certificate.

    Raises:
        NumericalError: When a linear solve misses a relative residual of 1e-6, or a direction loads a soft mode that
            counts as floppy.
    """
    moved, components = responses(response, tangents)
    found = response.border.followed(moved, components, np.asarray(response.state.position))
    return found if response.state.configuration.held is None else found + np.asarray(carried(response.state, tangents))


def responses(response: LinearResponse, tangents: Parameters) -> tuple[np.ndarray, np.ndarray]:
    """Return what particles do beyond following the box along directions dp, shape (k, n, d), and strains, (k, s).

    Raises:
        NumericalError: As ``forward``.
    """
    refuse_loaded_directions(response, [(tangents, "one of the directions")])
    slopes, loads = (-np.asarray(part) for part in mixed_slopes(response.state, tangents))
    moved, components, _ = solved(response, slopes, loads)
    return moved, components


def newton_step(response: LinearResponse) -> Step:
    r"""Return the step :math:`-K^{+} W_q` that is left to the minimum: positions, (n, d), and free strains, (s,)."""
    force, push = (-np.asarray(part)[None] for part in enthalpy_gradient(response.state))
    moved, components, _ = response.solve_joint(force, push)
    return jnp.asarray(moved[0]), jnp.asarray(components[0])


def check_selection(response: LinearResponse, selection: Selection) -> None:
    """Refuse entries that were chosen where the box may do something else.

    Raises:
        UserError: With how to choose them.
    """
    if (selection.parameters.pressure is None) is not (response.state.barostat is None):
        kinds = ["fixed box", "constant pressure"]
        made, now = kinds if selection.parameters.pressure is None else kinds[::-1]
        raise UserError(
            f"the parameters were chosen at {made}, and the response is one at {now}: select(response.state, names)."
        )


def directions_of(selection: Selection) -> Iterator[tuple[Parameters, str]]:
    """Yield the directions of a selection a few at a time, with what to call them."""
    for rows in chunks(len(selection.paths)):
        yield selection.part(rows).tangents, f"one of {', '.join(selection.paths[rows][:3])}"


def refuse_loaded_directions(response: LinearResponse, directions: Iterable[tuple[Parameters, str]]) -> None:
    """Refuse directions that load a mode which was taken for a floppy one: a solve does not see them.

    Raises:
        NumericalError: When there is one.
    """
    if not response.zero_modes.floppy:
        return
    there, fraction = nearby(response.state, newton_step(response)[0])
    for tangents, what in directions:
        slopes, moved = (np.asarray(mixed(state, tangents)) for state in (response.state, there))
        refuse_loaded(response.load(slopes), norms(slopes), norms(moved - slopes) / fraction, what)


def solved(response: LinearResponse, fields: np.ndarray, loads: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return ``solve_joint`` of a response.

    Raises:
        NumericalError: When a solve misses a relative residual of 1e-6.
    """
    *solution, residual = response.solve_joint(fields, loads)
    return *solution, accepted(residual)


def certificate_of(
    response: LinearResponse, residual: np.ndarray, error: np.ndarray, bound: np.ndarray, size: np.ndarray
) -> Certificate:
    """Return the certificate of answers of these sizes, with what their response says of the state."""
    return Certificate(
        max_force=response.max_force,
        residual=residual,
        error=error,
        relative_error=relative(error, size),
        bound=bound,
        smallest_eigenvalue=response.smallest_eigenvalue,
        largest_eigenvalue=response.norm,
        zero_modes=response.zero_modes,
        one_sided=response.network.one_sided,
        at_any_point=response.at_any_point,
        method=response.method,
        **_of_box(response),
    )


def _of_box(response: LinearResponse) -> dict[str, float]:
    """Return what a certificate says of a box that relaxes."""
    if response.state.barostat is None:
        return {}
    stiffness = response.border.softest / float(periodic_box(response.state).volume)
    return {"stress_error": stress_deviation(response.state), "smallest_stiffness": stiffness}
