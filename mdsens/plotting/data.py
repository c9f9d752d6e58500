"""What the figures are made of: plain arrays, as they come out of a results file."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Packing:
    """One relaxed state.

    Attributes:
        position: Real coordinates, shape (n, d), units of length.
        diameter: Diameter of every particle, shape (n,), units of length.
        species: Species index of every particle, shape (n,).
        species_names: One name per species.
        box: Lattice vectors along which it repeats as columns, shape (d, p); shape (d, 0) for a free system.
        contacts: Backbone contacts (i, j), shape (c, 2), but for those between held particles.
        bonds: Vector of every contact from i to the image of j that it touches, shape (c, d).
        overlap: Relative overlap 1 - r/sigma of every contact, shape (c,); may be negative for laws that attract.
        rattlers: True for particles that nothing holds in place, shape (n,).
        held: True for particles of which a component is held by decree, shape (n,).
        dots: Whether particles have no diameters, and those given are of the dots that mark them.
    """

    position: np.ndarray
    diameter: np.ndarray
    species: np.ndarray
    species_names: tuple[str, ...]
    box: np.ndarray
    contacts: np.ndarray
    bonds: np.ndarray
    overlap: np.ndarray
    rattlers: np.ndarray
    held: np.ndarray
    dots: bool = False

    @property
    def n_particles(self) -> int:
        """Number of particles n."""
        return len(self.position)

    @property
    def dimension(self) -> int:
        """Spatial dimension d."""
        return self.position.shape[1]

    @property
    def packing_fraction(self) -> float:
        """Volume of the particles over that of the box, overlaps counted twice; NaN for an open box and for dots."""
        if self.dots or self.box.shape[1] < self.dimension:
            return float("nan")
        unit_ball = np.pi / 4 if self.dimension == 2 else np.pi / 6
        return float(unit_ball * np.sum(self.diameter**self.dimension) / abs(np.linalg.det(self.box)))


@dataclasses.dataclass(frozen=True)
class Arrows:
    """The derivative of the positions in one parameter.

    Attributes:
        parameter: Name of the parameter, such as ``soft_sphere.sigma[A]``.
        unit: The parameter's unit in words, such as "length", "energy/length^2" or "none".
        values: dx/dp, shape (n, d).
        relative_error: The certificate's estimate of the relative error; NaN for zero within its error.
        box_rate: Derivative of the lattice vectors in the parameter at fixed positions, shape (d, p); zero unless the
            parameter is one of the box.
        note: A remark for the figure, such as "one-sided"; may be empty.
        quantity: What the arrows are, where they are no derivatives; then only the note is written beside.
    """

    parameter: str
    unit: str
    values: np.ndarray
    relative_error: float
    box_rate: np.ndarray
    note: str = ""
    quantity: str = ""

    @property
    def magnitude(self) -> np.ndarray:
        """Length |dx_i/dp| for every particle, shape (n,)."""
        return np.asarray(np.linalg.norm(self.values, axis=1))

    @property
    def significant(self) -> bool:
        """Whether the derivative exceeds its own error estimate tenfold; else its direction is rounding."""
        return self.relative_error < 0.1 and bool(np.any(self.values))


@dataclasses.dataclass(frozen=True)
class Iterates:
    """Position sensitivities along the way of the minimiser, unrolled and implicit, NaN where undefined.

    Attributes:
        step: Steps at which both were taken, shape (s,), ascending.
        unrolled_l1: L1 norm of the derivative of the unrolled minimiser, shape (n_starts, s).
        implicit_l1: L1 norm of the implicit derivative at the same iterates, shape (n_starts, s).
        reference_l1: L1 norm of the reference answer, shape (n_starts,).
        unrolled_error: Relative error of the unrolled derivative against the reference, shape (n_starts, s).
        implicit_error: Relative error of the implicit one, shape (n_starts, s).
        n_refused: Number of starts without a reference answer (unjammed or not converged).
    """

    step: np.ndarray
    unrolled_l1: np.ndarray
    implicit_l1: np.ndarray
    reference_l1: np.ndarray
    unrolled_error: np.ndarray
    implicit_error: np.ndarray
    n_refused: int


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Ensemble averages over a parameter at constant packing fraction; every array has shape (t,).

    Attributes:
        theta: Values of the parameter.
        energy_mean: Mean energy per packing, units of energy.
        energy_sem: Its standard error.
        slope_total_mean: Mean of dE/dtheta at constant packing fraction, (dE/dtheta)_L + (dE/dL) dL/dtheta.
        slope_total_sem: Its standard error.
        slope_fixed_box_mean: Mean of (dE/dtheta)_L.
        slope_fixed_box_sem: Its standard error.
        magnitude_mean: Mean over particles and packings of |dx_i/dtheta| at fixed box.
        magnitude_sem: Its standard error over packings.
        n_used: Packings averaged.
        n_refused: Packings refused (unjammed or not converged).
    """

    theta: np.ndarray
    energy_mean: np.ndarray
    energy_sem: np.ndarray
    slope_total_mean: np.ndarray
    slope_total_sem: np.ndarray
    slope_fixed_box_mean: np.ndarray
    slope_fixed_box_sem: np.ndarray
    magnitude_mean: np.ndarray
    magnitude_sem: np.ndarray
    n_used: np.ndarray
    n_refused: np.ndarray


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Measured numbers beside their targets.

    Attributes:
        names: What was measured, length k.
        measured: The numbers, shape (k,).
        target: What they must reach, shape (k,).
        sense: "at least" or "at most" for every row.
    """

    names: tuple[str, ...]
    measured: np.ndarray
    target: np.ndarray
    sense: tuple[str, ...]

    @property
    def passed(self) -> np.ndarray:
        """Whether every row reaches its target, shape (k,); NaN does not."""
        at_least = np.array([sense == "at least" for sense in self.sense], dtype=bool)
        return np.where(at_least, self.measured >= self.target, self.measured <= self.target)


@dataclasses.dataclass(frozen=True)
class RelaxationTimes:
    """Wall times of relaxations over sizes, in seconds, NaN where nothing was measured.

    Attributes:
        n_particles: Sizes, shape (s,), ascending.
        ours: Warm, shape (s, k) for k starts.
        first_call: Compilation included, shape (s, k).
        lammps_one: LAMMPS's better minimiser on one core, shape (s, k).
        lammps_two: The same on two cores, shape (s, k).
    """

    n_particles: np.ndarray
    ours: np.ndarray
    first_call: np.ndarray
    lammps_one: np.ndarray
    lammps_two: np.ndarray


@dataclasses.dataclass(frozen=True)
class ResponseCosts:
    """What a response costs over sizes; every array has shape (s,).

    Attributes:
        n_particles: Sizes, ascending.
        assembly: Wall time of the Hessian's assembly, seconds.
        factor: That of its factor.
        solve: That of one forward and one adjoint derivative.
        certificate: That of smallest eigenvalues and error estimates, apart.
        relaxation_memory: Peak memory after the relaxation, GiB.
        memory: Peak memory at the end, GiB.
        exponent: Exponent of N fitted to the sum of the first three, NaN without a fit.
        fit_from: Size from which it was fitted.
    """

    n_particles: np.ndarray
    assembly: np.ndarray
    factor: np.ndarray
    solve: np.ndarray
    certificate: np.ndarray
    relaxation_memory: np.ndarray
    memory: np.ndarray
    exponent: float
    fit_from: int

    @property
    def total(self) -> np.ndarray:
        """Wall time of the response without its certificate, shape (s,), seconds."""
        return self.assembly + self.factor + self.solve


@dataclasses.dataclass(frozen=True)
class Precision:
    """Errors of two derivatives of a solution along an iteration; every array has shape (t,).

    Attributes:
        step: Steps of the iteration.
        distance: Distance of the iterate from the solution.
        implicit_error: Error of the implicit derivative at the iterate; NaN where there is none.
        unrolled_error: Error of the derivative through the iterations.
        bound: The precision theorem's bound of the implicit error; NaN where it does not apply.
        estimate: The certificate's estimate of the implicit error; NaN where there is none.
        settled: Whether the theorem applies.
    """

    step: np.ndarray
    distance: np.ndarray
    implicit_error: np.ndarray
    unrolled_error: np.ndarray
    bound: np.ndarray
    estimate: np.ndarray
    settled: np.ndarray


@dataclasses.dataclass(frozen=True)
class Selection:
    """An outer loss over one hyper-parameter theta, its derivative, and the way of an outer optimiser.

    Attributes:
        log_theta: Grid, shape (g,).
        loss: Outer loss, shape (g,).
        gradient: Its implicit derivative in log(theta), shape (g,).
        difference: Central differences of re-solved problems, shape (g,).
        path: log(theta) along the descent, shape (k,).
        path_loss: The outer loss there, shape (k,).
        reference: The optimum found without gradients.
    """

    log_theta: np.ndarray
    loss: np.ndarray
    gradient: np.ndarray
    difference: np.ndarray
    path: np.ndarray
    path_loss: np.ndarray
    reference: float


@dataclasses.dataclass(frozen=True)
class Distillation:
    """Images that train a model, beside others.

    Attributes:
        images: Distilled images, one per class, shape (k, height, width), in units of a real pixel's range.
        means: Class means of the real images, shape (k, height, width).
        loss: Outer loss along the descent, shape (s,).
        names: Models compared, length m; the first is trained on the distilled images.
        training_loss: Their loss on the real training images, shape (m,).
        inner_steps: Steps of inner training, shape (t,).
        implicit_error: Relative error of the implicit gradient after so many steps, shape (t,).
        unrolled_error: That of the unrolled one, shape (t,).
    """

    images: np.ndarray
    means: np.ndarray
    loss: np.ndarray
    names: np.ndarray
    training_loss: np.ndarray
    inner_steps: np.ndarray
    implicit_error: np.ndarray
    unrolled_error: np.ndarray


@dataclasses.dataclass(frozen=True)
class FitHistories:
    """Iterations of several fits side by side, NaN where a fit had ended.

    Attributes:
        loss: Half the squared norm of the displacements from the target, shape (n_cases, s), units of length squared.
        error: Relative error of every parameter, energy scale fixed, shape (n_cases, s, k).
        accepted: 1 for iterates from which the fit went on, shape (n_cases, s).
        strayed: 1 for iterates in another basin, shape (n_cases, s).
    """

    loss: np.ndarray
    error: np.ndarray
    accepted: np.ndarray
    strayed: np.ndarray


@dataclasses.dataclass(frozen=True)
class FittedStructure:
    """A target and the structures before and after the fit.

    Attributes:
        target: Positions of the target, shape (n, d), units of length.
        start: Relaxed positions under the starting parameters, shape (n, d).
        fitted: Relaxed positions under the fitted parameters, shape (n, d).
        backbone: True for particles that are held in place, shape (n,); the others do not count.
        species: Species index of every particle, shape (n,).
        species_names: One name per species.
        box: Lattice vectors as columns, shape (d, d); shape (d, 0) for a free system.
        seed: Seed of the case.
    """

    target: np.ndarray
    start: np.ndarray
    fitted: np.ndarray
    backbone: np.ndarray
    species: np.ndarray
    species_names: tuple[str, ...]
    box: np.ndarray
    seed: int
