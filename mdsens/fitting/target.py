"""The structure that a fit must reproduce, and the ways to compare a set of parameters with it."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from mdsens.energy import Potential, State, max_reach
from mdsens.energy.parameters import Parameters
from mdsens.energy.paths import Selection, select
from mdsens.energy.stiffness import scales
from mdsens.errors import UserError
from mdsens.fitting.identify import Identified
from mdsens.hessian.derivatives import mixed, mixed_drift
from mdsens.neighbors import neighbor_pairs
from mdsens.relaxation import Relaxation, RelaxationSettings, relax
from mdsens.response import LinearResponse, linear_response
from mdsens.response.build import response_at
from mdsens.results import Verdict
from mdsens.sensitivity import forward, newton_step
from mdsens.types import Configuration, replaced

_OTHER_BASIN = 0.1  # of the length unit: within a basin, parameters a few per cent off move particles less


@dataclasses.dataclass(frozen=True)
class Target:
    """Relaxed positions whose parameters are sought; nothing else about them is known.

    Attributes:
        configuration: The target's positions, species and box.
        potential: The potential where the fit starts; entries that are not fitted keep these values.
        patterns: The entries to fit, by path; every one of the potential's by default.
        settings: How to relax.

    Raises:
        UserError: When a path is unknown or names the box, which is known, or a parameter is zero.
    """

    configuration: Configuration
    potential: Potential
    patterns: tuple[str, ...] | None = None
    settings: RelaxationSettings = RelaxationSettings()

    def __post_init__(self) -> None:
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
        """The fitted entries, with their starting values."""
        return select(self._start, self.patterns)

    @property
    def _start(self) -> State:
        return State.unlisted(self.configuration, self.potential)

    @property
    def position(self) -> np.ndarray:
        """Positions of the target, shape (n, d)."""
        return np.asarray(self.configuration.position)

    @property
    def length(self) -> float:
        """The unit of length at the start."""
        return float(scales(self.potential, self.configuration)[0])

    def values_at(self, logarithms: np.ndarray) -> np.ndarray:
        """Return the parameters, shape (k,), from the logarithms of their magnitudes; signs are those of the start."""
        return np.sign(self.selection.values) * np.exp(logarithms)

    def parameters_at(self, logarithms: np.ndarray | jax.Array) -> Parameters:
        """Return the parameters with the fitted entries replaced; differentiable in the logarithms."""
        change = np.sign(self.selection.values) * jnp.exp(jnp.asarray(logarithms)) - self.selection.values
        return jax.tree.map(
            lambda leaf, rate: leaf + jnp.tensordot(change, rate, axes=1),
            Parameters(self.potential, self.configuration.box, self.configuration.anchors),
            self.selection.tangents,
        )

    def displacement(self, position: np.ndarray, held: np.ndarray) -> np.ndarray:
        """Return nearest-image displacements of backbone particles, mean removed, zero for others, shape (n, d)."""
        found = np.array(self.configuration.box.displacement(jnp.asarray(position - self.position)))
        found[~held] = 0.0
        found[held] = self.configuration.without_mean(found[held])
        return found

    def listed(self, parameters: Parameters) -> State:
        """Return the state at the target's positions under other parameters."""
        box, reach = self.configuration.box, max_reach(parameters.potential, self.configuration)
        state = State.unlisted(self.configuration, parameters.potential)
        return state.with_pairs(neighbor_pairs(self.position, box, reach)) if np.isfinite(reach) else state


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A set of parameters, relaxed.

    Attributes:
        logarithms: Logarithms of the fitted parameters, shape (k,).
        relaxation: Their relaxed state.
        displacement: Displacements of the backbone from the target, shape (n, d), units of length.
        strayed: Whether a particle lies so far from its target that the state belongs to another basin.
    """

    logarithms: np.ndarray
    relaxation: Relaxation
    displacement: np.ndarray
    strayed: bool

    @property
    def relaxed(self) -> bool:
        """Whether the state is a rigid minimum, so that its positions are unique and have derivatives."""
        return self.relaxation.verdict is Verdict.CONVERGED

    @property
    def residual(self) -> float:
        """Norm of all displacements, units of length; infinite without a relaxed state."""
        return float(np.linalg.norm(self.displacement)) if self.relaxed else float("inf")

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


def relaxed_at(target: Target, logarithms: np.ndarray, position: np.ndarray) -> Candidate:
    """Relax the parameters from given positions and compare with the target."""
    parameters = target.parameters_at(logarithms)
    start = replaced(target.configuration, {"position": jnp.asarray(position)})
    relaxation = relax(parameters.potential, start, target.settings, refuse=False)
    held = relaxation.network.backbone
    if relaxation.verdict is not Verdict.CONVERGED:
        return Candidate(logarithms, relaxation, np.full(target.position.shape, np.nan), strayed=False)
    displacement = target.displacement(np.asarray(relaxation.state.position), held)
    strayed = float(np.linalg.norm(displacement, axis=1).max()) > _OTHER_BASIN * target.length
    return Candidate(logarithms, relaxation, displacement, strayed)


def linearised(target: Target, candidate: Candidate) -> Linearised:
    r"""Return displacement and Jacobian dx/dln p at a relaxed state."""
    response = linear_response(candidate.relaxation)
    jacobian = _jacobian(target, response, candidate.logarithms)
    return Linearised(candidate.displacement.ravel(), jacobian, jacobian)


def linearised_at_target(target: Target, logarithms: np.ndarray) -> Linearised:
    r"""Return displacement and Jacobian of the minimum near the target, to first order and without a relaxation.

    The target need not be stationary for these parameters: its minimum lies a Newton step :math:`r = -H^{+}\,\partial
    U/\partial x` away. The Jacobian :math:`-H^{+} U_{xp}` holds H, so that a step matches forces, weighed by the
    compliance of the target; the derivative of r itself, :math:`-H^{+}(U_{xp} + U_{xxp}\, r)`, tells which directions
    the positions do not determine: with H held, a smaller energy scale would seem to shrink r.
    """
    response = response_at(target.listed(target.parameters_at(logarithms)))
    tangents, step = target.selection.tangents, newton_step(response)[0]
    still = jnp.zeros((len(target.selection.paths), *step.shape))
    slopes, drift = mixed(response.state, tangents), mixed_drift(response.state, tangents, still, step)[1]
    held, moving = (response.solve(-np.asarray(rhs))[0] for rhs in (slopes, slopes + drift))
    return Linearised(
        np.asarray(step).ravel(),
        _by_logarithm(target, held, logarithms),
        _by_logarithm(target, moving, logarithms),
    )


def _jacobian(target: Target, response: LinearResponse, logarithms: np.ndarray) -> np.ndarray:
    return _by_logarithm(target, forward(response, target.selection.tangents), logarithms)


def _by_logarithm(target: Target, by_value: np.ndarray, logarithms: np.ndarray) -> np.ndarray:
    """Return the Jacobian in the logarithms, shape (n d, k), from that in the values, shape (k, n, d)."""
    return np.asarray(by_value.reshape(len(by_value), -1).T * target.values_at(logarithms))


def parameter_errors(found: np.ndarray, true: np.ndarray, identified: Identified) -> np.ndarray:
    """Return the relative error of every parameter once free directions (an energy scale) are fixed, shape (k,).

    Args:
        found: Fitted values, shape (k,).
        true: Values that made the target, shape (k,), of the same signs.
        identified: What the positions determine.
    """
    return np.abs(np.expm1(identified.determined(np.log(found / true))))
