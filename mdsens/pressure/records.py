"""What a derivative at constant pressure is: numbers together with how good they are."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from mdsens.energy.parameters import Parameters
from mdsens.energy.paths import Selection
from mdsens.sensitivity.records import Certificate, PositionSensitivity
from mdsens.types import PeriodicBox, replaced


@dataclasses.dataclass(frozen=True)
class JointSensitivity:
    """d(x, box)/dp of a state at constant pressure for k parameter entries.

    Attributes:
        paths: Name of every parameter entry; the last one is ``pressure``.
        parameter_values: Their values, shape (k,).
        units: Their units.
        displacements: What particles move beyond following the box, shape (k, n, d): mean over the backbone zero,
            rattlers zero.
        components: Components of the free strains, shape (k, s).
        strains: Strain of the box, shape (k, d, d): dB = strain B, besides what the parameter itself does to the box.
        positions: Derivative of the real positions about the origin, displacement + strain x, shape (k, n, d).
        volumes: dV/dp, shape (k,).
        certificate: How good it is, per entry; errors are of ``positions``.
    """

    paths: tuple[str, ...]
    parameter_values: np.ndarray
    units: tuple[str, ...]
    displacements: np.ndarray
    components: np.ndarray
    strains: np.ndarray
    positions: np.ndarray
    volumes: np.ndarray
    certificate: Certificate

    @property
    def shape_strains(self) -> np.ndarray:
        """The strains without their change of volume, shape (k, d, d)."""
        d = self.strains.shape[-1]
        return np.asarray(self.strains - np.trace(self.strains, axis1=1, axis2=2)[:, None, None] * np.eye(d) / d)

    @property
    def mean_displacements(self) -> np.ndarray:
        """Mean length of the displacements beyond following the box, shape (k,)."""
        return np.asarray(np.linalg.norm(self.displacements, axis=-1).mean(axis=1))

    @property
    def as_positions(self) -> PositionSensitivity:
        """The derivatives of the real positions alone."""
        return PositionSensitivity(self.paths, self.parameter_values, self.units, self.positions, self.certificate)


def joint_tangents(joint: JointSensitivity, selection: Selection) -> Parameters:
    """Return what parameters and box do along every entry, the response of the box included, leading axis k.

    Args:
        joint: The joint sensitivity.
        selection: The entries it was computed for; the pressure comes after them.
    """
    whole = jax.tree.map(lambda leaf: jnp.concatenate([leaf, jnp.zeros((1, *leaf.shape[1:]))]), selection.tangents)
    return replaced(whole, {"box": replaced(whole.box, {"matrix": jnp.asarray(box_rates(joint, selection))})})


def box_rates(joint: JointSensitivity, selection: Selection) -> np.ndarray:
    """Return the derivative of the box matrix along every entry, its response included, shape (k, d, d)."""
    box, given = selection.parameters.box, selection.tangents.box
    assert isinstance(box, PeriodicBox)
    assert isinstance(given, PeriodicBox)
    rates = joint.strains @ np.asarray(box.matrix)
    rates[:-1] += np.asarray(given.matrix)
    return np.asarray(rates)
