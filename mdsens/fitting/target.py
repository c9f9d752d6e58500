"""The structure that a fit must reproduce, and the ways to compare a set of parameters with it."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from mdsens.energy import Barostat, Potential, State, max_reach
from mdsens.energy.parameters import Parameters
from mdsens.energy.paths import PRESSURE, Selection, select
from mdsens.energy.stiffness import scales
from mdsens.energy.strain import periodic_box
from mdsens.errors import UserError
from mdsens.fitting.deviation import Deviation, pushed
from mdsens.fitting.identify import Identified, identify
from mdsens.hessian.derivatives import drifts, mixed_slopes
from mdsens.neighbors import neighbor_pairs
from mdsens.pressure.relaxation import relax_under, taken_as_relaxed_at_pressure
from mdsens.relaxation import PressureSettings, Relaxation, RelaxationSettings, free_strains, relax, taken_as_relaxed
from mdsens.response import LinearResponse, linear_response
from mdsens.response.build import response_at
from mdsens.results import Verdict
from mdsens.sensitivity import newton_step, responses
from mdsens.types import Configuration, replaced

_OTHER_BASIN = 0.1  # of the length unit: within a basin, parameters a few per cent off move particles less


@dataclasses.dataclass(frozen=True)
class Target:
    """Relaxed positions whose parameters are sought; nothing else about them is known.

    Attributes:
        configuration: The target's positions, species and box.
        potential: The potential where the fit starts; entries that are not fitted keep these values.
        patterns: The entries to fit, by path; every one of the potential's by default.
        settings: How to relax; ``PressureSettings`` say that the target's box is relaxed, too, and how.
        pressure: The pressure at which it is, units of energy per volume; None at fixed box.

    Raises:
        UserError: When a path is unknown or names the box, which is known, a parameter is zero, or settings and
            pressure contradict each other.
    """

    configuration: Configuration
    potential: Potential
    patterns: tuple[str, ...] | None = None
    settings: RelaxationSettings | PressureSettings = RelaxationSettings()
    pressure: float | None = None

    def __post_init__(self) -> None:
        if (self.pressure is None) is isinstance(self.settings, PressureSettings):
            raise UserError("a box that relaxes has a pressure: give both pressure and PressureSettings, or neither.")
        for path, value in zip(self.selection.paths, self.selection.values, strict=True):
            if path.startswith("box."):
                raise UserError(f"{path} cannot be fitted: the target's box is known; name entries of the potential.")
            if value == 0:
                raise UserError(f"{path} starts at 0, which has no relative scale: start from another value.")

    def at(self, position: np.ndarray | jax.Array) -> Target:
        """Return the target with other positions, shape (n, d).

        Raises:
            UserError: When they are not those of as many particles.
        """
        if np.shape(position) != self.position.shape:
            raise UserError(
                f"the target's positions have shape {np.shape(position)}; those of this system have shape "
                f"{self.position.shape}: give one row per particle."
            )
        return dataclasses.replace(
            self, configuration=replaced(self.configuration, {"position": jnp.asarray(position)})
        )

    @functools.cached_property
    def selection(self) -> Selection:
        """The fitted entries, with their starting values; the pressure is one where it is named."""
        found = select(self._start, self.patterns)
        known = self.barostat is not None and PRESSURE not in (self.patterns or ())
        return found.part(slice(len(found.paths) - 1)) if known else found

    @functools.cached_property
    def barostat(self) -> Barostat | None:
        """What the box does, and the pressure at the start; None at fixed box."""
        if self.pressure is None or not isinstance(self.settings, PressureSettings):
            return None
        strains = free_strains(self.configuration.dimension, self.settings.box, self.settings.fixed)
        return Barostat(self.pressure, strains)

    @property
    def parameters(self) -> Parameters:
        """The parameters at the start."""
        return self._start.parameters

    @property
    def _start(self) -> State:
        return State.unlisted(self.configuration, self.potential).under(self.barostat)

    @property
    def position(self) -> np.ndarray:
        """Positions of the target, shape (n, d)."""
        return np.asarray(self.configuration.position)

    @property
    def length(self) -> float:
        """The unit of length at the start."""
        return float(scales(self.potential, self.configuration)[0])

    @property
    def edge(self) -> float:
        """The length of an edge of the target's box, by which strains count: the root of its volume."""
        return float(periodic_box(self._start).volume) ** (1 / self.configuration.dimension)

    @property
    def n_rows(self) -> int:
        """Number of displacements that are compared: of particles, and of the box's edges where it relaxes."""
        return self.position.size + (0 if self.barostat is None else self.configuration.dimension**2)

    def values_at(self, logarithms: np.ndarray) -> np.ndarray:
        """Return the parameters, shape (k,), from the logarithms of their magnitudes; signs are those of the start."""
        return np.sign(self.selection.values) * np.exp(logarithms)

    def parameters_at(self, logarithms: np.ndarray | jax.Array) -> Parameters:
        """Return the parameters with the fitted entries replaced; differentiable in the logarithms."""
        change = np.sign(self.selection.values) * jnp.exp(jnp.asarray(logarithms)) - self.selection.values
        return jax.tree.map(
            lambda leaf, rate: leaf + jnp.tensordot(change, rate, axes=1),
            self.parameters,
            self.selection.tangents,
        )

    def listed(self, parameters: Parameters) -> State:
        """Return the state at the target's positions, in its box, under other parameters."""
        box, reach = self.configuration.box, max_reach(parameters.potential, self.configuration)
        state = State.unlisted(self.configuration, parameters.potential).under(self._barostat_at(parameters))
        return state.with_pairs(neighbor_pairs(self.position, box, reach)) if np.isfinite(reach) else state

    def relaxed(self, parameters: Parameters, start: Configuration) -> Relaxation:
        """Relax other parameters from somewhere, without refusing a start."""
        barostat, settings = self._barostat_at(parameters), self.settings
        if barostat is not None and isinstance(settings, PressureSettings):
            return relax_under(barostat, parameters.potential, start, settings, refuse=False)
        assert isinstance(settings, RelaxationSettings)
        return relax(parameters.potential, start, settings, refuse=False)

    def identified(self, slope: np.ndarray, rank: float) -> Identified:
        """Return what a Jacobian in the logarithms, shape (m, k), says of the parameters that the target determines.

        Singular values below ``rank`` of the largest count as zero, and those below that part of the length unit: a
        parameter that is doubled then moves nothing.
        """
        return identify(slope, self.selection.paths, rank=rank, floor=rank * self.length)

    def judged(self, parameters: Parameters, there: Configuration) -> Relaxation:
        """Judge other parameters somewhere as they are, rounding of forces allowed for: nothing moves."""
        barostat, settings, law = self._barostat_at(parameters), self.settings, parameters.potential
        if barostat is None or not isinstance(settings, PressureSettings):
            assert isinstance(settings, RelaxationSettings)
            return taken_as_relaxed(law, there, settings.allowing_rounding(law))
        found = taken_as_relaxed(law, there, settings.relaxation.allowing_rounding(law))
        return taken_as_relaxed_at_pressure(found, barostat, settings, 2.0 * max(settings.stress_error, 1e-12))

    def _barostat_at(self, parameters: Parameters) -> Barostat | None:
        if self.barostat is None or parameters.pressure is None:
            return None
        return Barostat(parameters.pressure, self.barostat.strains)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A set of parameters, relaxed.

    Attributes:
        logarithms: Logarithms of the fitted parameters, shape (k,).
        relaxation: Their relaxed state.
        displacement: Displacements of the backbone from the target, shape (n, d), units of length.
        edges: Displacements of the box's edges, shape (d, d), units of length; without entries at fixed box.
        strayed: Whether a particle lies so far from its target that the state belongs to another basin.
    """

    logarithms: np.ndarray
    relaxation: Relaxation
    displacement: np.ndarray
    edges: np.ndarray
    strayed: bool

    @property
    def deviation(self) -> np.ndarray:
        """All displacements, shape (m,), units of length."""
        return np.concatenate([self.displacement.ravel(), self.edges.ravel()])

    @property
    def relaxed(self) -> bool:
        """Whether the state is a rigid minimum, so that its positions are unique and have derivatives."""
        return self.relaxation.verdict is Verdict.CONVERGED

    @property
    def residual(self) -> float:
        """Norm of all displacements, units of length; infinite without a relaxed state."""
        return float(np.linalg.norm(self.deviation)) if self.relaxed else float("inf")

    @property
    def farthest(self) -> float:
        """Largest displacement of a particle, units of length."""
        return float(np.linalg.norm(self.displacement, axis=1).max())


@dataclasses.dataclass(frozen=True)
class Linearised:
    """Displacements from the target to first order in the parameters' logarithms.

    Attributes:
        displacement: Where the positions are, shape (m,), units of length.
        jacobian: The matrix that a step is made with, shape (m, k), units of length.
        slope: The derivative of the displacement, same shape; the Jacobian itself at a relaxed state.
    """

    displacement: np.ndarray
    jacobian: np.ndarray
    slope: np.ndarray


def relaxed_at(target: Target, logarithms: np.ndarray, start: Configuration) -> Candidate:
    """Relax the parameters from a configuration and compare with the target."""
    return compared(target, logarithms, target.relaxed(target.parameters_at(logarithms), start))


def compared(target: Target, logarithms: np.ndarray, relaxation: Relaxation) -> Candidate:
    """Compare the relaxed state of some parameters with the target."""
    deviation, d = Deviation(target.configuration, relaxation.network.backbone), target.configuration.dimension
    if relaxation.verdict is not Verdict.CONVERGED:
        nowhere = np.full(target.position.shape, np.nan)
        return Candidate(logarithms, relaxation, nowhere, np.zeros((0, d)), strayed=False)
    displacement, edges = (np.asarray(part) for part in _parts(deviation, relaxation.state))
    strayed = float(np.linalg.norm(displacement, axis=1).max()) > _OTHER_BASIN * target.length
    return Candidate(logarithms, relaxation, displacement, edges, strayed)


@jax.jit
def _parts(deviation: Deviation, state: State) -> tuple[jax.Array, jax.Array]:
    return deviation.displacement(state), deviation.edges(state)


def linearised(target: Target, candidate: Candidate) -> Linearised:
    r"""Return displacement and Jacobian dx/dln p at a relaxed state."""
    response = linear_response(candidate.relaxation)
    moved, components = responses(response, target.selection.tangents)
    jacobian = _by_logarithm(target, response, (moved, components), candidate.logarithms)
    return Linearised(candidate.deviation, jacobian, jacobian)


def linearised_at_target(target: Target, logarithms: np.ndarray) -> Linearised:
    r"""Return displacement and Jacobian of the minimum near the target, to first order and without a relaxation.

    The target need not be stationary for these parameters: its minimum lies a Newton step :math:`r = -K^{+}\,W_q`
    away. The Jacobian :math:`-K^{+} W_{qp}` holds K, so that a step matches forces (and stresses where the box
    relaxes), weighed by the compliance of the target; the derivative of r itself, :math:`-K^{+}(W_{qp} + W_{qqp}\, r)`,
    tells which directions the structure does not determine: with K held, a smaller energy scale would seem to shrink r.
    """
    response = response_at(target.listed(target.parameters_at(logarithms)))
    tangents, (step, strain) = target.selection.tangents, newton_step(response)
    slopes, loads = (np.asarray(part) for part in mixed_slopes(response.state, tangents))
    still = np.zeros(slopes.shape), np.zeros(loads.shape)
    drift = drifts(response.state, tangents, *still, step, strain)[2:4]
    held, moving = (
        response.solve_joint(-(slopes + part * np.asarray(drift[0])), -(loads + part * np.asarray(drift[1])))[:2]
        for part in (0.0, 1.0)
    )
    deviation = Deviation(target.configuration, response.network.backbone)
    return Linearised(
        np.asarray(pushed(deviation, response.state, step[None], strain[None]))[0],
        _by_logarithm(target, response, held, logarithms),
        _by_logarithm(target, response, moving, logarithms),
    )


def _by_logarithm(
    target: Target, response: LinearResponse, by_value: tuple[np.ndarray, np.ndarray], logarithms: np.ndarray
) -> np.ndarray:
    """Return the Jacobian in the logarithms, shape (m, k), from responses to the values: fields and strains."""
    deviation = Deviation(target.configuration, response.network.backbone)
    rows = np.asarray(pushed(deviation, response.state, *map(jnp.asarray, by_value)))
    return np.asarray(rows.T * target.values_at(logarithms))


def parameter_errors(found: np.ndarray, true: np.ndarray, identified: Identified) -> np.ndarray:
    """Return the relative error of every parameter once free directions (an energy scale) are fixed, shape (k,).

    Args:
        found: Fitted values, shape (k,).
        true: Values that made the target, shape (k,), of the same signs.
        identified: What the positions determine.
    """
    return np.abs(np.expm1(identified.determined(np.log(found / true))))
