"""The configuration of the suite "large"."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field

from mdsens.config import OutputOptions, Section, distinct

PartName = Literal[
    "peer", "relaxation", "jacobian", "growth", "spheres", "batch", "pair_diameters", "minimisers", "startup"
]
Diameter = Annotated[float, Field(gt=0)]
Size = Annotated[int, Field(ge=10, le=10_000_000)]
Sizes = Annotated[tuple[Size, ...], Field(min_length=1), AfterValidator(distinct)]


class LargeOptions(Section):
    """The ``[benchmark]`` section."""

    suite: Literal["large"] = "large"
    parts: Annotated[tuple[PartName, ...], Field(min_length=1), AfterValidator(distinct)] = Field(
        get_args(PartName), description="what to measure, in this order"
    )
    n_starts: int = Field(5, ge=1, le=1000, description="random starts of every size; medians over them are judged")
    max_force: float = Field(1e-10, gt=0, le=1e-6, description="largest force of relaxed states, units of eps/sigma_A")
    time_limit: float = Field(7200, gt=0, description="most seconds of one measurement")


class RelaxationOptions(Section):
    """The ``[relaxation]`` section: bidisperse discs from random positions, and the response afterwards."""

    n_particles: Sizes = Field((1_000, 10_000, 50_000), description="sizes")
    diameters: tuple[Diameter, Diameter] = Field((1.0, 1.4), description="of species A and B")
    packing_fraction: float = Field(0.9, gt=0, le=5, description="fixes the box")
    n_further: int = Field(16, ge=1, le=1000, description="further parameters and observables in one block")


class JacobianOptions(Section):
    """The ``[jacobian]`` section: derivatives in every particle's diameter, beside conjugate gradients by column."""

    n_particles: Size = Field(1_000, description="size of one such packing")
    n_columns: int = Field(20, ge=1, description="columns that the peer solves; its time is extrapolated to all")


class GrowthOptions(Section):
    """The ``[growth]`` section: hexagonal lattices of discs that all differ in size."""

    n_particles: Sizes = Field((1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000), description="sizes, about")
    packing_fraction: float = Field(1.0, gt=0.95, le=5, description="above 0.9069, where a lattice has contacts")
    spread: float = Field(0.1, ge=0, lt=0.5, description="diameters are uniform within 1 +- spread")
    perturbation: float = Field(0.05, ge=0, lt=0.5, description="largest displacement along each axis, mean diameters")
    fit_from: Size = Field(10_000, description="the exponent is fitted from this size on")


class SpheresOptions(Section):
    """The ``[spheres]`` section: one response in three dimensions beside Jacobi-preconditioned conjugate gradients."""

    n_particles: Size = Field(10_000, description="size")
    packing_fraction: float = Field(0.7, gt=0, le=5, description="fixes the box")


class BatchOptions(Section):
    """The ``[batch]`` section: packings of the seed experiment, all at once."""

    n_members: int = Field(256, ge=2, le=100_000, description="number of packings")


class PairDiameterOptions(Section):
    """The ``[pair_diameters]`` section: ten species whose 55 pairs have diameters of their own."""

    n_particles: Annotated[tuple[Literal[15, 53, 249], ...], Field(min_length=1), AfterValidator(distinct)] = Field(
        (15, 53, 249), description="sizes for which times are published"
    )


class MinimiserOptions(Section):
    """The ``[minimisers]`` section: every minimiser from three kinds of starts."""

    n_particles: Size = Field(10_000, description="size")


class Config(Section):
    """The whole file."""

    benchmark: LargeOptions
    relaxation: RelaxationOptions = RelaxationOptions()
    jacobian: JacobianOptions = JacobianOptions()
    growth: GrowthOptions = GrowthOptions()
    spheres: SpheresOptions = SpheresOptions()
    batch: BatchOptions = BatchOptions()
    pair_diameters: PairDiameterOptions = PairDiameterOptions()
    minimisers: MinimiserOptions = MinimiserOptions()
    output: OutputOptions = OutputOptions(name="benchmark_large")
