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
from mdsens.energy.strain import periodic_box
from mdsens.response import LinearResponse
from mdsens.sensitivity import forward, observable_sensitivity, position_sensitivity
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
    """Check the exact scale identities of a relaxed state: of positions and pressure, or of the volume at a pressure.

    Returns:
        The identities that apply: none for a potential whose lengths and energies are not all parameters.
    """
    if not response.state.potential.scales:
        return []
    return _at_fixed_box(response) if response.state.barostat is None else _at_pressure(response)


def _at_fixed_box(response: LinearResponse) -> list[ScaleIdentity]:
    r"""Check them on backbone rows.

    .. math:: \sum_k \sigma_k \frac{dx}{d\sigma_k} + L\frac{dx}{dL} = x - \bar x, \quad
              \sum_k \epsilon_k\frac{dx}{d\epsilon_k} = 0, \quad
              \sum_k \sigma_k \frac{dP}{d\sigma_k} + L\frac{dP}{dL} = -d P, \quad
              \sum_k \epsilon_k\frac{dP}{d\epsilon_k} = P

    :math:`x - \bar x` without its part along rotations and floppy modes, which dx/dp leaves out.

    A pressure that is zero within its error has none.
    """
    state = response.state
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


def _at_pressure(response: LinearResponse) -> list[ScaleIdentity]:
    r"""Check them of the volume.

    .. math:: \sum_k \sigma_k \frac{dV}{d\sigma_k} - d P \frac{dV}{dP} = d V, \quad
              \sum_k \epsilon_k\frac{dV}{d\epsilon_k} + P \frac{dV}{dP} = 0

    They apply where the box is free to change its size along every edge.
    """
    state, strains = response.state, response.border.strains
    assert state.barostat is not None
    d = state.configuration.dimension
    basis = strains.reshape(len(strains), -1)
    whole = basis.T @ np.linalg.lstsq(basis.T, np.eye(d).ravel(), rcond=None)[0]
    if not np.allclose(whole, np.eye(d).ravel()):
        return []
    # the box relaxes: it is no parameter
    held = jax.tree.map(jnp.zeros_like, state.configuration.box)
    both = [replaced(scaling_direction(state, unit), {"box": held}) for unit in ("length", "energy")]
    both.append(replaced(jax.tree.map(jnp.zeros_like, both[0]), {"pressure": jnp.ones(())}))
    directions = sp.csr_array(flattened(jax.tree.map(lambda *parts: jnp.stack(parts), *both)))
    names, units = ("lengths", "energies", "pressure"), ("length", "energy", "none")
    rates = position_sensitivity(response, Selection(names, np.ones(3), units, directions, state.parameters)).box
    assert rates is not None
    by_length, by_energy, by_pressure = map(float, rates.volumes)
    volume, push = float(periodic_box(state).volume), float(state.barostat.pressure) * by_pressure
    return [
        ScaleIdentity(
            "sum sigma dV/dsigma - d P dV/dP = d V", float(abs(by_length - d * push - d * volume) / (d * volume))
        ),
        ScaleIdentity("sum epsilon dV/depsilon + P dV/dP = 0", float(abs(by_energy + push) / volume)),
    ]
