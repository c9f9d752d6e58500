"""The response of positions and box together, at a pressure."""

from __future__ import annotations

import dataclasses

import numpy as np

from mdsens.energy import Barostat
from mdsens.errors import NumericalError
from mdsens.hessian.derivatives import border
from mdsens.response.border import Border
from mdsens.response.linear import LinearResponse, accepted, norms, refuse_loaded
from mdsens.rounding import UNIT


def bordered(response: LinearResponse, barostat: Barostat) -> LinearResponse:
    """Return the response of positions and strains together from that at fixed box; no sign is asked for.

    Raises:
        UserError: For a free system.
        NumericalError: When a solve misses a relative residual of 1e-6, or a strain loads a mode that counts as floppy.
    """
    state, strains = response.state.under(barostat), np.asarray(barostat.strains)
    coupling, curvature = (np.asarray(part) for part in border(state))
    if response.zero_modes.floppy:
        _refuse_loaded(response, coupling)
    moves, residual = response.solve(-coupling)
    accepted(residual)
    gain = coupling.reshape(len(strains), -1) @ moves.reshape(len(strains), -1).T
    found = Border(strains, moves, curvature, curvature + 0.5 * (gain + gain.T), residual)
    return dataclasses.replace(response, state=state, border=found)


def _refuse_loaded(response: LinearResponse, coupling: np.ndarray) -> None:
    position = np.asarray(response.state.position)
    reach, size = float(np.linalg.norm(position - position.mean(axis=0))), norms(coupling)
    unbalanced = response.max_force / (response.norm * reach / np.sqrt(len(position)))
    refuse_loaded(
        response.load(coupling), size, UNIT * response.norm * reach + unbalanced * size, "a strain of the box"
    )


def refuse_soft_box(response: LinearResponse) -> None:
    """Raise unless the enthalpy rises with every free strain.

    Raises:
        NumericalError: When it does not: the box is floppy, or the state a saddle of the enthalpy.
    """
    if response.border.is_soft:
        values = np.linalg.eigvalsh(response.border.stiffness)
        raise NumericalError(
            f"no sensitivity at constant pressure: the box has a stiffness of {values[0]:.2e} along a free strain (the "
            f"largest is {values[-1]:.2e}): it flows or is unstable. Fix the shear components, or relax further."
        )
