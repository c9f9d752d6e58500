"""What a relaxation returns: the way, and the relaxed state with its verdict."""

from __future__ import annotations

import dataclasses

import numpy as np

from mdsens.contacts import Network
from mdsens.energy import State
from mdsens.linear import Factor
from mdsens.relaxation.settings import PressureSettings, RelaxationSettings
from mdsens.results import Verdict


@dataclasses.dataclass(frozen=True)
class History:
    """The way of a relaxation, one entry per step (the minimiser's first, then Newton steps, in order).

    Attributes:
        energy: Energy after every step, shape (k,), units of energy.
        max_force: Largest force after every step, shape (k,), units of energy per length.
        newton: True for Newton steps, shape (k,).
        path_step: Step counts at which positions were kept, shape (f,).
        path: Those positions, shape (f, n, d), first and last included; fewer frames the more particles there are.
    """

    energy: np.ndarray
    max_force: np.ndarray
    newton: np.ndarray
    path_step: np.ndarray
    path: np.ndarray


@dataclasses.dataclass(frozen=True)
class BoxRelaxation:
    """How the box of a state at constant pressure came about, and how good it is.

    Attributes:
        stress_error: Largest deviation of the stress from the pressure along a free strain, units of energy per volume.
        enthalpy: U + P V, units of energy.
        volumes: Volume after every step of the box, the start first, shape (k,).
        stress_errors: ``stress_error`` at the same states, shape (k,).
        settings: What was asked for.
    """

    stress_error: float
    enthalpy: float
    volumes: np.ndarray
    stress_errors: np.ndarray
    settings: PressureSettings


@dataclasses.dataclass(frozen=True)
class Relaxation:
    """A relaxed state and how good it is.

    Attributes:
        state: The state, its pairs listed with a skin; its barostat says at which pressure the box was relaxed.
        verdict: What became of it.
        network: Its contacts, backbone and rattlers.
        energy: Potential energy, units of energy.
        max_force: Largest Euclidean norm of a particle's force, units of energy per length.
        pressure: Pressure, units of energy per volume; NaN for a free system.
        force_unit: The unit epsilon/sigma in which force tolerances are given.
        settings: What was asked for.
        history: The way there, in all boxes.
        seconds: Wall time.
        loaded: The same state, its pairs restricted to the backbone's contacts.
        factor: The factored Hessian of ``loaded`` by which the state was judged; None where nothing was judged (an
            unjammed or unconverged state). Linear response goes on from both, at fixed box.
        reason: Where the forces do not vanish, which particle feels the largest one and what is about it; else empty.
        box: How the box was relaxed; None at fixed box.
    """

    state: State
    verdict: Verdict
    network: Network
    energy: float
    max_force: float
    pressure: float
    force_unit: float
    settings: RelaxationSettings
    history: History
    seconds: float
    loaded: State
    factor: Factor | None
    reason: str = ""
    box: BoxRelaxation | None = None

    @property
    def fixed(self) -> Relaxation:
        """The same relaxed state in a box that is held."""
        return dataclasses.replace(self, state=self.state.under(None), box=None)
