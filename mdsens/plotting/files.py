"""From a results file to its figures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mdsens.errors import UserError
from mdsens.io import StoredRun, Tables, fitting_together, kind_of, read_run, read_tables
from mdsens.plotting import geometry, labels
from mdsens.plotting.benchmark import draw_benchmark
from mdsens.plotting.data import (
    Arrows,
    Benchmark,
    Distillation,
    FitHistories,
    FittedStructure,
    Iterates,
    Packing,
    Precision,
    RelaxationTimes,
    ResponseCosts,
    Selection,
    Sweep,
)
from mdsens.plotting.fit import draw_fit_loss, draw_fit_parameters, draw_fit_structure
from mdsens.plotting.history import draw_box_history, draw_history
from mdsens.plotting.independence import IndependentResponses, draw_independence
from mdsens.plotting.iterates import draw_iterates
from mdsens.plotting.jamming import Compression, Exponents, draw_compression
from mdsens.plotting.observables import draw_observables
from mdsens.plotting.packing import draw_packing
from mdsens.plotting.paper import draw_distillation, draw_packing_precision, draw_ridge, draw_selection
from mdsens.plotting.scaling import draw_relaxation_times, draw_response_costs
from mdsens.plotting.slab import draw_slab
from mdsens.plotting.spectrum import draw_spectrum
from mdsens.plotting.style import FORMATS, save
from mdsens.plotting.sweep import draw_sweep
from mdsens.plotting.thermal import Convergence, draw_convergence
from mdsens.plotting.validity import Validity, draw_validity
from mdsens.plotting.vibrations import draw_vibrations
from mdsens.results import Verdict

_MOST_PACKINGS = 4  # pictures of dx/dp drawn for one file
_MANY_PARAMETERS = 8  # from which singular values say more than arrows
_DOT = 0.15  # diameter of particles without one, in mean spacings

Named = Iterator[tuple[str, Figure]]


def figures_for(path: Path, output_folder: Path, format: str = "png") -> list[Path]:
    """Draw every figure of a results file, from the file alone.

    A run gives its packing with the arrows of dx/dp (of the four parameters with the largest response), its history,
    the table of its observables' derivatives and, from eight parameters on, singular values; an ensemble its iterates
    and its sweep; a fit its losses, its parameters' errors and its structures; a benchmark its bars and how times and
    memory grow with size; the paper's claims one figure per problem.

    Args:
        path: The results file.
        output_folder: Where the figures go; it must exist.
        format: "png", "pdf" or "svg".

    Returns:
        The figures written, named ``<file>_<figure>.<format>``.

    Raises:
        UserError: When the file cannot be read, holds nothing that can be drawn, or the figures cannot be written.
    """
    path = Path(path)
    if format not in FORMATS:
        raise UserError(f"{format} is not a format of figures; choose one of {', '.join(FORMATS)}.")
    with fitting_together(path):
        named = run_figures(read_run(path)) if kind_of(path) == "run" else table_figures(read_tables(path))
        written = [save(figure, Path(output_folder) / f"{path.stem}_{name}.{format}") for name, figure in named]
    if not written:
        raise UserError(f"{path} holds {kind_of(path)!r} results without anything to draw: give a run or a study.")
    return written


def run_figures(run: StoredRun) -> Named:
    """Yield name and figure for everything that one relaxed state has to show."""
    packing = packing_of(run)
    draw = draw_packing if packing.dimension == 2 else draw_slab
    remarks = () if run.verdict is Verdict.CONVERGED else (f"verdict: {run.verdict.value}",)
    sensitivity = run.positions
    if len(sensitivity.paths):
        sizes = np.linalg.norm(sensitivity.values.reshape(len(sensitivity.paths), -1), axis=1)
        for k in np.sort(np.argsort(-sizes, kind="stable")[:_MOST_PACKINGS]):
            yield f"packing_{_slug(sensitivity.paths[k])}", draw(packing, arrows_of(run, int(k)), remarks=remarks)
    else:
        yield "packing", draw(packing, remarks=remarks)
    history = run.history
    tolerance = float(run.settings.get("max_force", 0.0)) * run.force_unit
    minimizer = run.settings["minimizer"]
    if run.constant_pressure is not None:
        yield "box", draw_box_history(run.constant_pressure.volumes, run.constant_pressure.stress_errors)
    elif len(history.energy):
        yield (
            "history",
            draw_history(history.energy, history.max_force, history.newton, minimizer=minimizer, tolerance=tolerance),
        )
    if run.observables:
        yield "observables", _observables(run)
    if len(sensitivity.paths) >= _MANY_PARAMETERS:
        yield "singular_values", _singular_values(run)
    yield from _analysis_figures(run)


def _analysis_figures(run: StoredRun) -> Named:
    """Yield name and figure for every known analysis of a relaxed state."""
    found = run.analyses
    if "independence" in found:
        table = _complete("independence", found["independence"], IndependentResponses)
        if len(table["observables"]) > 1:
            yield "independence", draw_independence(IndependentResponses(**{**table, "noise": float(table["noise"])}))
    if "validity" in found:
        table = _complete("validity", found["validity"], Validity)
        numbers = {name: float(table[name]) for name in ("energy", "slope")}
        yield "validity", draw_validity(Validity(**{**table, **numbers}), "E" if run.constant_pressure is None else "H")
    if "spectrum" in found:
        modes = found["spectrum"]
        frequencies, ratios = (np.asarray(modes[name]) for name in ("frequencies", "participation_ratios"))
        yield "density_of_states", draw_vibrations(frequencies, ratios, complete=bool(modes["complete"]))
        yield "softest_mode", _softest_mode(run, np.asarray(modes["softest_mode"]), float(frequencies[0]))


def _softest_mode(run: StoredRun, mode: np.ndarray, frequency: float) -> Figure:
    """Draw the softest mode on the packing."""
    packing = packing_of(run)
    nothing = np.zeros((packing.dimension, packing.dimension))
    note = rf"$\omega$ = {frequency:.4g} $\sqrt{{\epsilon/m\sigma^2}}$"
    arrows = Arrows("", "none", mode, 0.0, nothing, note, quantity="softest mode, of norm 1")
    return (draw_packing if packing.dimension == 2 else draw_slab)(packing, arrows)


def table_figures(tables: Tables) -> Named:
    """Yield name and figure for every known group of an ensemble, a fit or a benchmark; the others are left out.

    The attribute ``parameter``, when there is one, names the parameter theta on the axes.

    Raises:
        UserError: When a known group lacks an array.
    """
    groups, name = tables.groups, str(tables.attributes.get("parameter", ""))
    if "iterates" in groups:
        table = _complete("iterates", groups["iterates"], Iterates)
        yield "iterates", draw_iterates(Iterates(**{**table, "n_refused": int(table["n_refused"])}), parameter=name)
    if "sweep" in groups:
        yield "sweep", draw_sweep(Sweep(**_complete("sweep", groups["sweep"], Sweep)), parameter=name)
    if "gauss_newton" in groups:
        yield from _fit_figures(tables)
    if "benchmark" in groups:
        table = _complete("benchmark", groups["benchmark"], Benchmark)
        words = {name: tuple(map(str, table[name])) for name in ("names", "sense")}
        yield "benchmark", draw_benchmark(Benchmark(**{**table, **words}))
    if "relaxation_times" in groups:
        table = _complete("relaxation_times", groups["relaxation_times"], RelaxationTimes)
        yield "relaxation", draw_relaxation_times(RelaxationTimes(**table))
    if "response_costs" in groups:
        table = _complete("response_costs", groups["response_costs"], ResponseCosts)
        scalars = {"exponent": float(table["exponent"]), "fit_from": int(table["fit_from"])}
        yield "response", draw_response_costs(ResponseCosts(**{**table, **scalars}))
    if "convergence" in groups:
        table = _complete("convergence", groups["convergence"], Convergence)
        yield "convergence", draw_convergence(Convergence(**table))
    if "compression" in groups and "exponents" in groups:
        yield "exponents", _exponents(tables)
    yield from paper_figures(groups, name)


def paper_figures(groups: Mapping[str, Mapping[str, Any]], parameter: str) -> Named:
    """Yield name and figure for every problem on which the paper's claims were measured.

    Raises:
        UserError: When a known group lacks an array.
    """
    if "ridge_shared" in groups and "ridge_separate" in groups:
        shared, separate = (_complete(name, groups[name], Precision) for name in ("ridge_shared", "ridge_separate"))
        yield "ridge", draw_ridge(Precision(**shared), Precision(**separate))
    if "packing" in groups:
        table = _complete("packing", groups["packing"], Precision)
        yield "packing", draw_packing_precision(Precision(**table), parameter=parameter)
    if "selection" in groups:
        table = _complete("selection", groups["selection"], Selection)
        yield "selection", draw_selection(Selection(**{**table, "reference": float(table["reference"])}))
    if "distillation" in groups:
        table = _complete("distillation", groups["distillation"], Distillation)
        yield "distillation", draw_distillation(Distillation(**table))


def _exponents(tables: Tables) -> Figure:
    """Draw what packings do near jamming, and name the ensemble."""
    points = Compression(**_complete("compression", tables.groups["compression"], Compression))
    laws = Exponents(**_complete("exponents", tables.groups["exponents"], Exponents))
    size, count = (int(tables.attributes[name]) for name in ("n_particles", "n_packings"))
    return draw_compression(points, laws, ensemble=f"{count} packings, $N = {size}$")


def _fit_figures(tables: Tables) -> Named:
    """Yield losses, errors of the parameters and, in two dimensions, target over fitted structure."""
    groups = tables.groups
    found = FitHistories(**_complete("gauss_newton", groups["gauss_newton"], FitHistories))
    descent = None
    if "descent" in groups:
        descent = FitHistories(**_complete("descent", groups["descent"], FitHistories))
    yield "loss", draw_fit_loss(found, descent, residual=float(tables.attributes["residual"]))
    yield "parameters", draw_fit_parameters(found, paths=str(tables.attributes["parameters"]).split(", "))
    if "structure" in groups:
        table = _complete("structure", groups["structure"], FittedStructure)
        table["species_names"] = tuple(map(str, table["species_names"]))
        if table["target"].shape[1] == 2:
            yield "structure", draw_fit_structure(FittedStructure(**{**table, "seed": int(table["seed"])}))


def packing_of(run: StoredRun) -> Packing:
    """Return what a picture of a run needs."""
    dimension = run.position.shape[1]
    repeats = _repeats(run)
    box = np.zeros((dimension, 0)) if run.box_matrix is None else run.box_matrix[:, repeats]
    held = np.zeros(run.position.shape, bool) if run.held is None else run.held
    immobile: np.ndarray = np.all(held, axis=1)
    shown = ~immobile[run.contacts.reshape(-1, 2)].all(axis=1)
    contacts = run.contacts.reshape(-1, 2)[shown]
    i, j = contacts.T
    images = run.contact_images[shown][:, repeats] @ box.T
    bonds = run.position[j] + images - run.position[i]
    sized = np.isfinite(run.diameters)
    return Packing(
        position=run.position,
        diameter=np.where(sized, run.diameters, _DOT * geometry.mean_spacing(run.position)),
        species=run.species,
        species_names=run.species_names,
        box=box,
        contacts=contacts,
        bonds=bonds,
        overlap=1.0 - np.linalg.norm(bonds, axis=1) / _contact_lengths(run, i, j),
        rattlers=~run.backbone,
        held=np.asarray(held.any(axis=1)),
        dots=not sized.all(),
    )


def _repeats(run: StoredRun) -> np.ndarray:
    """Return the numbers of the axes along which the box repeats."""
    return np.flatnonzero(run.periodic) if run.box_matrix is not None else np.zeros(0, int)


def arrows_of(run: StoredRun, k: int) -> Arrows:
    """Return dx/dp of the k-th parameter of a run."""
    sensitivity, certificate = run.positions, run.positions.certificate
    note = "one-sided: a contact is about to open" if certificate.one_sided else ""
    return Arrows(
        parameter=sensitivity.paths[k],
        unit=sensitivity.units[k],
        values=sensitivity.values[k],
        relative_error=float(certificate.relative_error[k]),
        box_rate=_box_rate(run, k)[:, _repeats(run)],
        note="not a relaxed state" if certificate.at_any_point else note,
    )


def _box_rate(run: StoredRun, k: int) -> np.ndarray:
    """Return the derivative of the box matrix in the k-th parameter: what it does itself, and how the box responds."""
    dimension, path, matrix = run.position.shape[1], run.positions.paths[k], run.box_matrix
    rate = np.zeros((dimension, dimension))
    if matrix is None:
        return rate
    entry = re.fullmatch(r"box\.(matrix|strain)\[(\d),(\d)\]", path)
    if entry:
        rate[int(entry[2]), int(entry[3])] = 1.0
        if entry[1] == "strain":
            rate = 0.5 * (rate + rate.T) @ matrix
    elif path == "box.length":
        rate = matrix / abs(np.linalg.det(matrix)) ** (1 / dimension)
    held = run.constant_pressure
    return rate if held is None or k >= len(held.strain_rates) else rate + held.strain_rates[k] @ matrix


def _contact_lengths(run: StoredRun, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Return sigma of every contact, shape (c,): an entry of its own for independent pairs, else the mean diameter."""
    lengths = 0.5 * (run.diameters[i] + run.diameters[j])
    values = dict(zip(run.parameter_paths, run.parameter_values, strict=True))
    names, term = run.species_names, run.terms[0].name
    for a, first in enumerate(names):
        for b, second in enumerate(names):
            value = values.get(f"{term}.sigma[{first},{second}]", np.nan)
            pairs = ((run.species[i] == a) & (run.species[j] == b)) | ((run.species[i] == b) & (run.species[j] == a))
            lengths = np.where(pairs & np.isfinite(value), value, lengths)
    return np.asarray(lengths)


def _observables(run: StoredRun) -> Figure:
    found = list(run.observables.values())
    shared = [record for record in found if record.paths == found[0].paths]
    return draw_observables(
        observables=tuple(record.name for record in shared),
        values=np.array([record.value for record in shared]),
        parameters=shared[0].paths,
        parameter_values=shared[0].parameter_values,
        jacobian=np.stack([record.values for record in shared]),
        error=np.stack([record.certificate.error for record in shared]),
    )


def _singular_values(run: StoredRun) -> Figure:
    """Draw the spectrum of dx/dp or, when parameters differ in kind, of the derivative in their logarithms."""
    sensitivity = run.positions
    common = {path.split("[")[0] for path in sensitivity.paths}
    if len(common) == 1:
        unit = labels.derivative_unit(sensitivity.units[0])
        return draw_spectrum(sensitivity.values, parameter=common.pop(), unit=unit)
    scaled = sensitivity.values * sensitivity.parameter_values[:, None, None]
    return draw_spectrum(scaled, parameter=f"ln({', '.join(sorted(common))})", unit=r"$\sigma$")


def _complete(name: str, table: Mapping[str, Any], record: type) -> dict[str, Any]:
    """Return the arrays that a record needs."""
    missing = [field for field in record.__dataclass_fields__ if field not in table]  # type: ignore[attr-defined]
    if missing:
        raise UserError(f"the table {name!r} of the file lacks {', '.join(missing)}: make the file again.")
    return {field: table[field] for field in record.__dataclass_fields__}  # type: ignore[attr-defined]


def _slug(path: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", path).strip("_")
