"""The figures of tables: ensembles, fits, benchmarks, studies of jamming and the paper's problems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from matplotlib.figure import Figure

from mdsens.io import Tables
from mdsens.plotting.benchmark import Benchmark, draw_benchmark
from mdsens.plotting.fit import FitHistories, FittedStructure, draw_fit_loss, draw_fit_parameters, draw_fit_structure
from mdsens.plotting.iterates import Iterates, draw_iterates
from mdsens.plotting.jamming import Compression, Exponents, draw_compression
from mdsens.plotting.paper import (
    Distillation,
    Precision,
    Selection,
    draw_distillation,
    draw_packing_precision,
    draw_ridge,
    draw_selection,
)
from mdsens.plotting.records import record_of
from mdsens.plotting.scaling import RelaxationTimes, ResponseCosts, draw_relaxation_times, draw_response_costs
from mdsens.plotting.sweep import Sweep, draw_sweep
from mdsens.plotting.thermal import Convergence, draw_convergence

Named = Iterator[tuple[str, Figure]]


def table_figures(tables: Tables) -> Named:
    """Yield name and figure for every known group of an ensemble, a fit or a benchmark; the others are left out.

    The attribute ``parameter``, when there is one, names the parameter theta on the axes.

    Raises:
        UserError: When a known group lacks an array.
    """
    groups, name = tables.groups, str(tables.attributes.get("parameter", ""))
    if "iterates" in groups:
        yield "iterates", draw_iterates(record_of(Iterates, groups, "iterates"), parameter=name)
    if "sweep" in groups:
        yield "sweep", draw_sweep(record_of(Sweep, groups, "sweep"), parameter=name)
    if "gauss_newton" in groups:
        yield from _fit_figures(tables)
    if "benchmark" in groups:
        yield "benchmark", draw_benchmark(record_of(Benchmark, groups, "benchmark"))
    if "relaxation_times" in groups:
        yield "relaxation", draw_relaxation_times(record_of(RelaxationTimes, groups, "relaxation_times"))
    if "response_costs" in groups:
        yield "response", draw_response_costs(record_of(ResponseCosts, groups, "response_costs"))
    if "convergence" in groups:
        yield "convergence", draw_convergence(record_of(Convergence, groups, "convergence"))
    if "compression" in groups and "exponents" in groups:
        yield "exponents", _exponents(tables)
    yield from paper_figures(groups, name)


def paper_figures(groups: Mapping[str, Mapping[str, Any]], parameter: str) -> Named:
    """Yield name and figure for every problem on which the paper's claims were measured.

    Raises:
        UserError: When a known group lacks an array.
    """
    if "ridge_shared" in groups and "ridge_separate" in groups:
        yield "ridge", draw_ridge(*(record_of(Precision, groups, name) for name in ("ridge_shared", "ridge_separate")))
    if "packing" in groups:
        yield "packing", draw_packing_precision(record_of(Precision, groups, "packing"), parameter=parameter)
    if "selection" in groups:
        yield "selection", draw_selection(record_of(Selection, groups, "selection"))
    if "distillation" in groups:
        yield "distillation", draw_distillation(record_of(Distillation, groups, "distillation"))


def _exponents(tables: Tables) -> Figure:
    """Draw what packings do near jamming, and name the ensemble."""
    points = record_of(Compression, tables.groups, "compression")
    laws = record_of(Exponents, tables.groups, "exponents")
    size, count = (int(tables.attributes[name]) for name in ("n_particles", "n_packings"))
    return draw_compression(points, laws, ensemble=f"{count} packings, $N = {size}$")


def _fit_figures(tables: Tables) -> Named:
    """Yield losses, errors of the parameters and, in two dimensions, target over fitted structure."""
    groups = tables.groups
    found = record_of(FitHistories, groups, "gauss_newton")
    descent = record_of(FitHistories, groups, "descent") if "descent" in groups else None
    yield "loss", draw_fit_loss(found, descent, residual=float(tables.attributes["residual"]))
    yield "parameters", draw_fit_parameters(found, paths=str(tables.attributes["parameters"]).split(", "))
    if "structure" in groups:
        structure = record_of(FittedStructure, groups, "structure")
        if structure.target.shape[1] == 2:
            yield "structure", draw_fit_structure(structure)
