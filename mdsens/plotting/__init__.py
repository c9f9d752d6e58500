"""Figures for a two-column journal, all drawn from results files; the only room that imports matplotlib."""

from mdsens.plotting.benchmark import Benchmark, draw_benchmark
from mdsens.plotting.files import figures_for
from mdsens.plotting.fit import FitHistories, FittedStructure, draw_fit_loss, draw_fit_parameters, draw_fit_structure
from mdsens.plotting.history import draw_history
from mdsens.plotting.iterates import Iterates, draw_iterates
from mdsens.plotting.observables import draw_observables
from mdsens.plotting.packing import draw_packing
from mdsens.plotting.scaling import RelaxationTimes, ResponseCosts, draw_relaxation_times, draw_response_costs
from mdsens.plotting.slab import draw_slab
from mdsens.plotting.spectrum import draw_spectrum
from mdsens.plotting.state import Arrows, Packing
from mdsens.plotting.style import save
from mdsens.plotting.sweep import Sweep, draw_sweep

__all__ = [
    "Arrows",
    "Benchmark",
    "FitHistories",
    "FittedStructure",
    "Iterates",
    "Packing",
    "RelaxationTimes",
    "ResponseCosts",
    "Sweep",
    "draw_benchmark",
    "draw_fit_loss",
    "draw_fit_parameters",
    "draw_fit_structure",
    "draw_history",
    "draw_iterates",
    "draw_observables",
    "draw_packing",
    "draw_relaxation_times",
    "draw_response_costs",
    "draw_slab",
    "draw_spectrum",
    "draw_sweep",
    "figures_for",
    "save",
]
