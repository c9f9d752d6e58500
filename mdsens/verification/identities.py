"""Scale identities, exact for every law whose lengths and energies are parameters."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

from mdsens.energy import has_pressure, pressure
from mdsens.energy.parameters import flattened
from mdsens.energy.paths import Selection, scaling_direction
from mdsens.pressure import (
    PressureRelaxation,
    joint_sensitivity,
    pressure_response,
)
from mdsens.response import LinearResponse
from mdsens.sensitivity import forward
from mdsens.sensitivity.core import observable_sensitivity
from mdsens.types import replaced


@dataclasses.dataclass(frozen=True)
class ScaleIdentity:
    """An exact relation of a relaxed state, and how well it holds.

    Attributes:
        statement: The identity in words.
        violation: Relative violation.
    """

    statement: str
    violation: float


def scale_identities(response: LinearResponse) -> list[ScaleIdentity]:
    r"""Check the exact scale identities of a state relaxed at fixed box, on backbone rows.

    .. math:: \sum_k \sigma_k \frac{dx}{d\sigma_k} + L\frac{dx}{dL} = x - \bar x, \quad
              \sum_k \epsilon_k\frac{dx}{d\epsilon_k} = 0, \quad
              \sum_k \sigma_k \frac{dP}{d\sigma_k} + L\frac{dP}{dL} = -d P, \quad
              \sum_k \epsilon_k\frac{dP}{d\epsilon_k} = P

    :math:`x - \bar x` without its part along rotations and floppy modes, which dx/dp leaves out.

    Returns:
        The identities that apply: none for a potential whose lengths and energies are not all parameters, none of a
        pressure that is zero within its error.
    """
    state = response.state
    if not state.potential.scales:
        return []
    held = response.network.backbone
    by_length, by_energy = (scaling_direction(state, unit) for unit in ("length", "energy"))
    stacked = jax.tree.map(lambda a, b: jnp.stack([a, b]), by_length, by_energy)
    along_length, along_energy = forward(response, stacked)
    position = response.without_zero_modes(np.asarray(state.position))[held]
    size = np.linalg.norm(position)
    identities = [
        ScaleIdentity("sum sigma dx/dsigma + L dx/dL = x", float(np.linalg.norm(along_length[held] - position) / size)),
        ScaleIdentity("sum epsilon dx/depsilon = 0", float(np.linalg.norm(along_energy[held]) / size)),
    ]
    if has_pressure(state):
        both = sp.csr_array(flattened(stacked))
        selection = Selection(("lengths", "energies"), np.ones(2), ("length", "energy"), both, state.parameters)
        found = observable_sensitivity(response, pressure, selection, name="pressure")
        d, value = state.configuration.dimension, found.value
        if not abs(value) > found.certificate.error.max():  # nothing says that nothing scales
            return identities
        identities += [
            ScaleIdentity(
                "sum sigma dP/dsigma + L dP/dL = -d P", float(abs(found.values[0] + d * value) / abs(d * value))
            ),
            ScaleIdentity("sum epsilon dP/depsilon = P", float(abs(found.values[1] - value) / abs(value))),
        ]
    return identities


def scale_identities_at_pressure(found: PressureRelaxation) -> list[ScaleIdentity]:
    r"""Check the exact scale identities of the volume at constant pressure.

    .. math:: \sum_k \sigma_k \frac{dV}{d\sigma_k} - d P \frac{dV}{dP} = d V, \quad
              \sum_k \epsilon_k\frac{dV}{d\epsilon_k} + P \frac{dV}{dP} = 0

    Returns:
        The identities that apply: none for a potential whose lengths and energies are not all parameters, or where the
        box is not free to change its size along every edge.
    """
    state = found.relaxation.state
    d = state.configuration.dimension
    basis = found.strains.reshape(len(found.strains), -1)
    whole = basis.T @ np.linalg.lstsq(basis.T, np.eye(d).ravel(), rcond=None)[0]
    if not state.potential.scales or not np.allclose(whole, np.eye(d).ravel()):
        return []
    # the box relaxes: it is no parameter
    held = jax.tree.map(jnp.zeros_like, state.configuration.box)
    both = [replaced(scaling_direction(state, unit), {"box": held}) for unit in ("length", "energy")]
    stacked = jax.tree.map(lambda a, b: jnp.stack([a, b]), *both)
    directions = sp.csr_array(flattened(stacked))
    selection = Selection(("lengths", "energies"), np.ones(2), ("length", "energy"), directions, state.parameters)
    rates = joint_sensitivity(pressure_response(found), selection).volumes
    by_length, by_energy, by_pressure = map(float, rates)
    volume, push = float(found.volumes[-1]), found.pressure * by_pressure
    return [
        ScaleIdentity(
            "sum sigma dV/dsigma - d P dV/dP = d V", float(abs(by_length - d * push - d * volume) / (d * volume))
        ),
        ScaleIdentity("sum epsilon dV/depsilon + P dV/dP = 0", float(abs(by_energy + push) / volume)),
    ]
