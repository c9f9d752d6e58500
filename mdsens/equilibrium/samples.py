"""What sampling is asked for and what comes back: settings, time series, averages with a verdict."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np

from mdsens.errors import NumericalError, UserError

Integrator = Literal["langevin", "nose_hoover"]
FEWEST_SAMPLES = 20  # per replica: with fewer no autocorrelation can be seen


@dataclasses.dataclass(frozen=True)
class ThermalSettings:
    """How states of the canonical ensemble are sampled; all masses are one.

    Attributes:
        temperature: k_B T, units of energy, > 0.
        timestep: Step of the integrator, units of length (mass/energy)^(1/2), > 0.
        n_samples: Samples per replica that count, >= 20.
        n_equilibration: Samples before them that are discarded, >= 0.
        sample_every: Steps between samples, >= 1.
        integrator: "langevin" (BAOAB) or "nose_hoover" (a chain of thermostats; periodic systems only).
        friction: Rate at which the Langevin thermostat forgets momenta, units of inverse time, > 0.
        thermostat_time: Period of the Nose-Hoover chain, units of time, > 0.
        skin: Extra reach of the pair list in units of the largest interaction range, > 0; made larger where a step
            could use it up.

    Raises:
        UserError: When a value is out of its range.
    """

    temperature: float
    timestep: float = 0.005
    n_samples: int = 1000
    n_equilibration: int = 100
    sample_every: int = 10
    integrator: Integrator = "langevin"
    friction: float = 1.0
    thermostat_time: float = 0.5
    skin: float = 0.1

    def __post_init__(self) -> None:
        for name in ("temperature", "timestep", "friction", "thermostat_time", "skin"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise UserError(f"thermal.{name} is {value}; it must be finite and greater than 0.")
        for name, least in (("n_samples", FEWEST_SAMPLES), ("n_equilibration", 0), ("sample_every", 1)):
            value = getattr(self, name)
            if value < least:
                raise UserError(f"thermal.{name} is {value}; it must be at least {least}.")
        if self.integrator not in get_args(Integrator):
            known = ", ".join(get_args(Integrator))
            raise UserError(f"thermal.integrator is {self.integrator!r}; it must be one of {known}.")

    @property
    def interval(self) -> float:
        """Time between samples."""
        return self.sample_every * self.timestep


@dataclasses.dataclass(frozen=True)
class Samples:
    """Time series of r replicas with s samples each, of o observables A and k parameter entries p.

    Attributes:
        observables: Name of every observable, length o.
        paths: Name of every parameter entry, length k.
        temperature: k_B T, units of energy.
        interval: Time between samples.
        values: A, shape (r, s, o).
        slopes: dA/dp, shape (r, s, o, k).
        energy_slopes: dU/dp, shape (r, s, k).
        log_weights: Logarithm of the weight with which a sample counts, shape (r, s): -(U - U_sampled)/k_B T for laws
            that jump at their cutoff (``sampled_energy``), zero for all others.
        kinetic_temperature: Twice the kinetic energy per degree of freedom, shape (r, s), units of energy.
    """

    observables: tuple[str, ...]
    paths: tuple[str, ...]
    temperature: float
    interval: float
    values: np.ndarray
    slopes: np.ndarray
    energy_slopes: np.ndarray
    log_weights: np.ndarray
    kinetic_temperature: np.ndarray

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The series by name: what a file of them holds."""
        return {name: getattr(self, name) for name in SERIES}

    @property
    def weights(self) -> np.ndarray:
        """Weight of every sample, shape (r, s), of mean one."""
        raw = np.exp(self.log_weights - self.log_weights.max())
        return np.asarray(raw / raw.mean())


SERIES = ("values", "slopes", "energy_slopes", "log_weights", "kinetic_temperature")


def restored(
    arrays: Mapping[str, np.ndarray | str], observables: Sequence[str], paths: Sequence[str], settings: ThermalSettings
) -> Samples:
    """Return the samples whose ``arrays`` these are, of observables and entries of these names."""
    series = {name: np.asarray(arrays[name]) for name in SERIES}
    return Samples(tuple(observables), tuple(paths), settings.temperature, settings.interval, **series)


def joined(parts: Sequence[Samples]) -> Samples:
    """Return the series of several groups of replicas as one, in order."""
    first = parts[0]
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in SERIES}
    return Samples(first.observables, first.paths, first.temperature, first.interval, **arrays)


class Equilibration(enum.Enum):
    """Whether the sampled states are those of equilibrium; the value is stored in files, ``sentence`` explains it."""

    EQUILIBRATED = "equilibrated"
    TOO_SHORT = "too_short"
    DRIFTING = "drifting"
    DISAGREEING = "disagreeing"
    UNEQUAL = "unequal"

    @property
    def sentence(self) -> str:
        """One sentence saying what was seen and what to do about it."""
        return _SENTENCES[self]


_SENTENCES = {
    Equilibration.EQUILIBRATED: (
        "The halves of the run agree, the replicas agree, and each lasts many autocorrelation times."
    ),
    Equilibration.TOO_SHORT: (
        "A replica lasts fewer than 50 autocorrelation times of an average, so that its error bar cannot be trusted: "
        "raise thermal.n_samples or thermal.sample_every."
    ),
    Equilibration.DRIFTING: (
        "The first half of the run differs from the second by more than their errors allow: raise "
        "thermal.n_equilibration."
    ),
    Equilibration.DISAGREEING: (
        "The replicas differ from each other by more than their errors allow, as if each were caught in a state of its "
        "own: raise thermal.n_equilibration and thermal.n_samples."
    ),
    Equilibration.UNEQUAL: (
        "The jump of the law at its cutoff makes a few samples outweigh all others: shift the law or switch it off "
        "smoothly (potential.truncation), or take fewer particles."
    ),
}


def check_equilibration(verdict: Equilibration, *, what: str = "sampling") -> None:
    """Raise unless the verdict is ``EQUILIBRATED``.

    Raises:
        NumericalError: With the verdict's sentence.
    """
    if verdict is not Equilibration.EQUILIBRATED:
        raise NumericalError(f"{what}: {verdict.sentence}")


@dataclasses.dataclass(frozen=True)
class Averages:
    """Averages over the canonical ensemble and their derivatives, each with the standard error of its mean.

    Attributes:
        observables: Name of every observable, length o.
        paths: Name of every parameter entry, length k.
        mean: <A>, shape (o,).
        error: Standard errors, shape (o,).
        tau: Integrated autocorrelation times, units of time, shape (o,).
        n_effective: Numbers of independent samples that would give the same errors, shape (o,).
        slope: d<A>/dp, shape (o, k).
        slope_error: Standard errors, shape (o, k).
        slope_tau: Integrated autocorrelation times of the influence series, units of time, shape (o, k).
        slope_n_effective: As above, for the derivatives, shape (o, k).
        explicit: The part <dA/dp> of the derivatives, shape (o, k).
        halves: First half less second half over the standard error of that difference, shape (o,).
        replicas: Probability that equal replicas differ as much as these, shape (o,); one for a single replica.
        kinetic_temperature: Mean kinetic temperature and its standard error, shape (2,), units of energy.
        verdict: Whether this is equilibrium.
    """

    observables: tuple[str, ...]
    paths: tuple[str, ...]
    mean: np.ndarray
    error: np.ndarray
    tau: np.ndarray
    n_effective: np.ndarray
    slope: np.ndarray
    slope_error: np.ndarray
    slope_tau: np.ndarray
    slope_n_effective: np.ndarray
    explicit: np.ndarray
    halves: np.ndarray
    replicas: np.ndarray
    kinetic_temperature: np.ndarray
    verdict: Equilibration
