"""The figures of one relaxed state: its packing, its history, its observables and what was analysed."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from mdsens.io import StoredRun
from mdsens.plotting import labels
from mdsens.plotting.history import draw_box_history, draw_history
from mdsens.plotting.independence import IndependentResponses, draw_independence
from mdsens.plotting.observables import draw_observables
from mdsens.plotting.packing import draw_packing
from mdsens.plotting.records import record_of
from mdsens.plotting.slab import draw_slab
from mdsens.plotting.spectrum import draw_spectrum
from mdsens.plotting.state import Arrows
from mdsens.plotting.stored import arrows_of, packing_of
from mdsens.plotting.validity import Validity, draw_validity
from mdsens.plotting.vibrations import draw_vibrations
from mdsens.results import Verdict

_MOST_PACKINGS = 4  # pictures of dx/dp drawn for one file
_MANY_PARAMETERS = 8  # from which singular values say more than arrows

Named = Iterator[tuple[str, Figure]]


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
        responses = record_of(IndependentResponses, found, "independence")
        if len(responses.observables) > 1:
            yield "independence", draw_independence(responses)
    if "validity" in found:
        validity = record_of(Validity, found, "validity")
        yield "validity", draw_validity(validity, "E" if run.constant_pressure is None else "H")
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


def _slug(path: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", path).strip("_")
