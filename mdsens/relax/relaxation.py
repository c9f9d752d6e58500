"""From a configuration to a minimum of the energy, with a verdict and the history of the way."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from mdsens.backbone import Network, contact_network, with_contacts
from mdsens.energy import PairPotential, Potential, State, energy, forces, max_reach, pressure
from mdsens.errors import UserError
from mdsens.factor import Factor
from mdsens.hessian import LinearSolver, factorise
from mdsens.neighbors import SMALL, PairList, pair_distances, spatial_order
from mdsens.parameters import reordered
from mdsens.relax.conjugate_gradient import ConjugateGradient
from mdsens.relax.descent import SEGMENT, Reach, Segment, advance, find_pairs, fitting_grid, start
from mdsens.relax.fire import Fire
from mdsens.relax.minimizer import Minimizer, Point
from mdsens.relax.newton import polish
from mdsens.relax.scales import force_rounding, scales
from mdsens.results import Verdict
from mdsens.types import Configuration, PeriodicBox, Position, Scalar, replaced

_FAR = 100.0  # boxes from the origin: two digits are lost there
_UNJAMMED_PRESSURE = 1e-8  # epsilon/sigma^d
_PATH_NUMBERS = 5_000_000  # coordinates kept of a path, 40 MB
_FIRST_POLISH = 1e-4  # epsilon/sigma: the contact network has mostly settled there
_LARGE_POLISH = 1e-5  # the same for large systems, whose networks settle later and whose steps cost less than a factor


@dataclasses.dataclass(frozen=True)
class RelaxationSettings:
    """How to relax.

    Attributes:
        max_force: Largest force of the relaxed state, units of epsilon/sigma, > 0; where forces are not known that
            well, their rounding (``mdsens.relax.scales.force_rounding``).
        max_steps: Most steps of the minimiser, >= 1.
        skin: Extra reach of the neighbour list in units of the largest interaction range, > 0.
        minimizer: The rule that leads into a basin: ``Fire``, ``ConjugateGradient``, ``LBFGS`` or ``TruncatedNewton``;
            None for FIRE up to 300 particles and conjugate gradients beyond, where they take fewer forces.
        newton: Whether Newton steps finish the relaxation; off, the minimiser goes all the way.
        linear_solver: What solves with the Hessian, in Newton steps and in the response: "direct" (a factor), "krylov"
            (conjugate gradients), or "auto", a factor as far as memory goes (``mdsens.hessian.factorise``).

    Raises:
        UserError: When a value is out of its range.
    """

    max_force: float = 1e-12
    max_steps: int = 200_000
    skin: float = 0.4
    minimizer: Minimizer | None = None
    newton: bool = True
    linear_solver: LinearSolver = "auto"

    def rule(self, n_particles: int) -> Minimizer:
        """Return the minimiser for a system of this size."""
        return self.minimizer or (Fire() if n_particles <= SMALL else ConjugateGradient())

    def __post_init__(self) -> None:
        for name, low in (("max_force", 0.0), ("max_steps", 0), ("skin", 0.0)):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > low):
                raise UserError(f"relaxation.{name} is {value}; it must be finite and greater than {low}.")
        if self.linear_solver not in get_args(LinearSolver):
            known = ", ".join(get_args(LinearSolver))
            raise UserError(f"relaxation.linear_solver is {self.linear_solver!r}; it must be one of {known}.")


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
class Relaxation:
    """A relaxed state and how good it is.

    Attributes:
        state: The state, its pairs listed with a skin.
        verdict: What became of it.
        network: Its contacts, backbone and rattlers.
        energy: Potential energy, units of energy.
        max_force: Largest Euclidean norm of a particle's force, units of energy per length.
        pressure: Pressure, units of energy per volume; NaN for a free system.
        force_unit: The unit epsilon/sigma in which force tolerances are given.
        settings: What was asked for.
        history: The way there.
        seconds: Wall time.
        loaded: The same state, its pairs restricted to the backbone's contacts.
        factor: The factored Hessian of ``loaded`` by which the state was judged; None where nothing was judged (an
            unjammed or unconverged state). Linear response goes on from both.
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


def relax(
    potential: Potential,
    configuration: Configuration,
    settings: RelaxationSettings | None = None,
    *,
    progress: Callable[[int, float], Any] | None = None,
) -> Relaxation:
    """Relax a configuration to a minimum of the energy at fixed box.

    The minimiser runs in compiled segments; whenever a particle has moved half a skin the pairs are listed anew, and
    particles that are neighbours in space are neighbours in memory. Below a largest force of 1e-4 epsilon/sigma (1e-5
    for more than 300 particles) Newton steps try to finish from there. Unless the backbone stays
    as it is, the Hessian is positive and they converge, the attempt is forgotten and the minimiser goes on, as if
    nothing had happened, to a third of the force (a tenth for small systems, in which a step is cheaper than an
    attempt). Where a particle starts a hundred boxes away or farther, all are replaced by their images inside the box:
    out there the digits of a coordinate do not suffice for a small force.

    Args:
        potential: The law.
        configuration: Where to start; no two particles at the same place.
        settings: How to relax; the defaults reach a max force of 1e-12 epsilon/sigma.
        progress: Called with (steps so far, largest force) after every segment.

    Returns:
        The relaxed state with its verdict; look at it (or call ``mdsens.results.check``) before using the numbers.

    Raises:
        UserError: When particles coincide or the energy would be wrong in so small a cell.
    """
    begun = time.perf_counter()
    settings = settings or RelaxationSettings()
    length, unit = (float(scale) for scale in scales(potential))
    configuration = _near_the_box(configuration)
    longest = _checked_reach(potential, configuration)
    order = _memory_order(potential, configuration, longest)
    back = np.argsort(order)
    recorder = _Recorder(progress, back)
    given = State.unlisted(configuration, potential)
    state = _taken_in_order(given, order)
    skin = settings.skin * longest
    reach = Reach(longest, skin, fitting_grid(state, state.position, longest, skin))
    pairs, reach = find_pairs(state, state.position, reach, 0)
    state = state.with_pairs(pairs)
    _refuse_coincident(state, longest, order)
    recorder.keep(state.position)
    target = settings.max_force * unit / length
    known = target  # forces are not known better than to their rounding
    first = _FIRST_POLISH if configuration.n_particles <= SMALL else _LARGE_POLISH
    threshold = max(target, first * unit / length) if settings.newton else target
    rule = settings.rule(configuration.n_particles)
    point = start(rule, state)
    network, factor = None, None
    while True:
        point, pairs, reach, verdict = _descend(rule, point, state, pairs, reach, threshold, settings, recorder)
        position = jnp.asarray(np.asarray(point.position)[back])
        listed, _ = find_pairs(given, position, reach, len(pairs.mask))
        final = given.moved(position, listed)
        if verdict is not Verdict.CONVERGED or recorder.largest <= known:
            break
        known = max(target, float(force_rounding(final)))
        longest = 0.04 * min(settings.skin * length, skin)
        polished = polish(final, tolerance=target, longest_step=longest, solver=settings.linear_solver)
        if polished.settled and polished.max_force[-1] <= known:
            # pivots on the way may have been those of rattlers: the backbone at the final state decides
            loaded = with_contacts(polished.state, polished.network)
            factor = _backbone_factor(loaded, polished.network, settings)
            if factor is not None and not factor.n_negative:
                final, network = polished.state, polished.network
                recorder.add(polished.energy[1:], polished.max_force[1:], newton=True)
                break
            factor = None
        # not settled yet: forget the attempt and let the minimiser go on, so that the minimum reached is its own
        threshold = max(known, threshold / (10 if configuration.n_particles <= SMALL else 3))
    recorder.finish(final.position)
    way = _Way(recorder.history(), recorder.largest, begun)
    return _judged(final, verdict, settings, way, network or contact_network(final), factor)


def taken_as_relaxed(
    potential: Potential,
    configuration: Configuration,
    settings: RelaxationSettings | None = None,
    *,
    history: History | None = None,
) -> Relaxation:
    """Judge a state that was relaxed earlier or elsewhere as it is: no particle moves.

    Args:
        potential: The law.
        configuration: The state; no two particles at the same place.
        settings: The tolerance ``max_force`` by which it counts as relaxed, and how pairs are listed and solved with.
        history: The way there, where it is known.

    Returns:
        The state with its verdict, as ``relax`` returns it: ``MAX_STEPS`` where a force exceeds the tolerance.

    Raises:
        UserError: When particles coincide or the energy would be wrong in so small a cell.
    """
    begun = time.perf_counter()
    settings = settings or RelaxationSettings()
    longest = _checked_reach(potential, configuration)
    given, skin = State.unlisted(configuration, potential), settings.skin * longest
    reach = Reach(longest, skin, fitting_grid(given, given.position, longest, skin))
    state = given.with_pairs(find_pairs(given, given.position, reach, 0)[0])
    _refuse_coincident(state, longest, np.arange(configuration.n_particles))
    largest = float(np.linalg.norm(np.asarray(_forces(state)), axis=1).max())
    length, unit = (float(scale) for scale in scales(potential))
    relaxed = largest <= max(settings.max_force * unit / length, float(force_rounding(state)))
    stopped = Verdict.MAX_STEPS if np.isfinite(largest) else Verdict.NONFINITE
    if history is None:
        nothing, here = np.zeros(0), np.asarray(state.position)[None]
        history = History(nothing, nothing, nothing.astype(bool), np.zeros(1, dtype=int), here)
    way = _Way(history, largest, begun)
    return _judged(state, Verdict.CONVERGED if relaxed else stopped, settings, way, contact_network(state), None)


class _Way(NamedTuple):
    """How a state came about: its history, the largest force left, and when the work began."""

    history: History
    largest: float
    begun: float


class _Recorder:
    """Collects the history of a relaxation and reports progress; particles come in memory order and leave in theirs."""

    def __init__(self, progress: Callable[[int, float], Any] | None, back: np.ndarray) -> None:
        self._back = back
        self.chunks: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.path: list[tuple[int, np.ndarray]] = []
        self.n_descent = 0
        self.n_total = 0
        self.largest = float("inf")
        self._progress = progress

    def add(self, energies: np.ndarray, largest: np.ndarray, *, newton: bool) -> None:
        self.chunks.append((energies, largest, np.full(len(energies), newton)))
        self.n_total += len(energies)
        self.n_descent += 0 if newton else len(energies)
        if len(largest):
            self.largest = float(largest[-1])
        if self._progress is not None:
            self._progress(self.n_descent, self.largest)

    def add_segment(self, segment: Segment) -> None:
        steps = int(segment.steps)
        self.add(np.asarray(segment.energy)[:steps], np.asarray(segment.max_force)[:steps], newton=False)
        self.largest = float(segment.largest)

    def keep(self, position: Position) -> None:
        """Keep a frame of the path, and of the earlier ones every other one when they have become too many."""
        if self.path and self.path[-1][0] == self.n_total:
            return
        self.path.append((self.n_total, np.asarray(position)[self._back]))
        if len(self.path) > max(3, _PATH_NUMBERS // position.size):
            self.path = [self.path[0], *self.path[2:-1:2], self.path[-1]]

    def finish(self, position: Position) -> None:
        """Keep the final state, which comes in the particles' own order."""
        kept = [frame for frame in self.path if frame[0] < self.n_total]
        self.path = [*kept, (self.n_total, np.asarray(position))]

    def history(self) -> History:
        energies, largest, newton = (np.concatenate(parts) for parts in zip(*self.chunks, strict=True))
        steps, frames = zip(*self.path, strict=True)
        return History(energies, largest, newton, np.array(steps), np.stack(frames))


def _descend(
    rule: Minimizer,
    point: Point,
    state: State,
    pairs: PairList,
    reach: Reach,
    threshold: float,
    settings: RelaxationSettings,
    recorder: _Recorder,
) -> tuple[Point, PairList, Reach, Verdict]:
    """Run the minimiser down to the threshold, with more room for pairs where needed; return where it then is."""
    reference = state.position if point.position is state.position else point.position
    pairs, reach = find_pairs(state, reference, reach, len(pairs.mask))
    verdict = None
    while verdict is None:
        n_steps = min(SEGMENT, settings.max_steps - recorder.n_descent)
        # in a large system rattlers fly on for thousands of steps, and it is the Newton steps that judge the state
        large = state.configuration.n_particles > SMALL
        momentum = np.inf if settings.newton and large else threshold
        segment = advance(rule, point, state, pairs, reference, threshold, reach, n_steps, momentum)
        point, pairs, reference = segment.point, segment.pairs, segment.reference
        recorder.add_segment(segment)
        if not np.isfinite(recorder.largest):
            verdict = Verdict.NONFINITE
        elif bool(segment.resting):
            verdict = Verdict.CONVERGED
        elif recorder.n_descent >= settings.max_steps:
            verdict = Verdict.MAX_STEPS
        else:
            recorder.keep(point.position)
            if bool(segment.stale):
                pairs, reach = find_pairs(state, point.position, reach, len(pairs.mask))
                reference = point.position
    return point, pairs, reach, verdict


def _judged(
    state: State,
    verdict: Verdict,
    settings: RelaxationSettings,
    way: _Way,
    network: Network,
    factor: Factor | None,
) -> Relaxation:
    loaded = with_contacts(state, network)
    length, unit = (float(scale) for scale in scales(state.potential))
    height, value = (float(part) for part in _energy_and_pressure(state))
    if verdict is Verdict.CONVERGED:
        if _is_unjammed(state, network, value * length**state.configuration.dimension / unit):
            verdict, factor = Verdict.UNJAMMED, None
        else:
            factor = factor or _backbone_factor(loaded, network, settings)
            verdict = Verdict.SADDLE if factor is not None and factor.n_negative else Verdict.CONVERGED
    return Relaxation(
        state=state,
        verdict=verdict,
        network=network,
        energy=height,
        max_force=way.largest,
        pressure=value,
        force_unit=unit / length,
        settings=settings,
        history=way.history,
        seconds=time.perf_counter() - way.begun,
        loaded=loaded,
        factor=factor,
    )


def _is_unjammed(state: State, network: Network, reduced_pressure: float) -> bool:
    """Return whether a packing has no rigid backbone or carries no pressure (in units of epsilon/sigma^d)."""
    if not (isinstance(state.potential, PairPotential) and state.potential.contact):
        return False
    return not network.backbone.any() or not reduced_pressure >= _UNJAMMED_PRESSURE


def _backbone_factor(loaded: State, network: Network, settings: RelaxationSettings) -> Factor | None:
    """Factor the Hessian of the backbone; None when there is no backbone."""
    return factorise(loaded, network.backbone, solver=settings.linear_solver) if network.backbone.any() else None


def _checked_reach(potential: Potential, configuration: Configuration) -> float:
    """Return the interaction range after refusing cells for which the energy would be wrong."""
    potential.check_cell(configuration)
    return max_reach(potential, configuration)


def _near_the_box(configuration: Configuration) -> Configuration:
    """Return the configuration with images inside the box if a particle lies so far off that its digits are lost."""
    box = configuration.box
    if not isinstance(box, PeriodicBox):
        return configuration
    fractional = np.asarray(configuration.position) @ np.linalg.inv(np.asarray(box.matrix)).T
    if np.abs(fractional[:, list(box.periodic)]).max() < _FAR or configuration.topology:
        return configuration
    return replaced(configuration, {"position": box.wrap(configuration.position)})


def _memory_order(potential: Potential, configuration: Configuration, longest: float) -> np.ndarray:
    """Return the order in which pair laws are evaluated: neighbours in space lie together in memory."""
    if isinstance(potential, PairPotential):
        return spatial_order(configuration.position, configuration.box, longest)
    return np.arange(configuration.n_particles)


def _taken_in_order(state: State, order: np.ndarray) -> State:
    """Return the state with its particles in another order; the pair list is not translated."""
    configuration = state.configuration
    # on the host: JAX's indexing outside compiled code takes a millisecond
    changes = {name: jnp.asarray(np.asarray(getattr(configuration, name))[order]) for name in ("position", "species")}
    return replaced(
        state, {"configuration": replaced(configuration, changes), "potential": reordered(state.potential, order)}
    )


def _refuse_coincident(state: State, reach: float, order: np.ndarray) -> None:
    distances = np.asarray(_distances(state.configuration, state.pairs))
    closest = int(np.argmin(distances))
    if bool(state.pairs.mask[closest]) and distances[closest] < 1e-9 * reach:
        i, j = sorted(int(order[index[closest]]) for index in (state.pairs.i, state.pairs.j))
        raise UserError(
            f"particles {i} and {j} lie at the same place (closer than {1e-9 * reach:.1e}); the force between them "
            "has no direction: move one of them."
        )


_distances = jax.jit(pair_distances)
_forces = jax.jit(forces)


@jax.jit
def _energy_and_pressure(state: State) -> tuple[Scalar, Scalar]:
    """Return the energy and the pressure, which is NaN for a free system and where the energy does not follow it."""
    box = state.configuration.box
    has_pressure = (
        isinstance(box, PeriodicBox)
        and box.is_periodic
        and state.potential.follows_box(state.configuration, state.pairs)
    )
    return energy(state), pressure(state) if has_pressure else jnp.full((), jnp.nan)
