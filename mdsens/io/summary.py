"""What a results file says, for a person to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from mdsens.io.hdf5 import kind_of
from mdsens.io.pressure import StoredPressure
from mdsens.io.provenance import Provenance
from mdsens.io.reading import fitting_together
from mdsens.io.run import KIND
from mdsens.io.stored import StoredRun, read_run
from mdsens.io.tables import Tables, read_tables
from mdsens.sensitivity.certified import Certificate, ObservableSensitivity

_MOST_ROWS = 24
_LONGEST_ARRAY = 8


def summary(path: Path) -> str:
    """Return a readable summary of a results file of any kind.

    Args:
        path: The file.

    Returns:
        Several lines: what it holds, verdict, certificate in words, parameters and norms, provenance.

    Raises:
        UserError: When it is not a readable file of ours.
    """
    path = Path(path)
    with fitting_together(path):
        if kind_of(path) == KIND:
            stored = read_run(path)
            lines = [*_run_lines(stored), "", *_provenance_lines(stored.provenance)]
        else:
            tables = read_tables(path)
            lines = [*_tables_lines(tables), "", *_provenance_lines(tables.provenance)]
    return "\n".join([str(path), "", *lines])


def _run_lines(stored: StoredRun) -> Iterator[str]:
    yield from _state_lines(stored)
    if stored.positions.paths:
        yield from ("", "Sensitivity of the positions dx/dp", *_position_table(stored), "")
        yield from _certificate_lines(stored.positions.certificate)
        if stored.constant_pressure is not None:
            yield from ("", "Response of the box", *_box_table(stored, stored.constant_pressure))
    for observable in stored.observables.values():
        yield from ("", f"Sensitivity of {observable.name} = {observable.value:.12g} ({observable.way})")
        yield from _observable_table(observable)
        yield from _certificate_lines(observable.certificate)
    yield from _group_lines(stored.analyses)


def _group_lines(groups: Mapping[str, Mapping[str, np.ndarray | str]]) -> Iterator[str]:
    for group, table in groups.items():
        yield from ("", group)
        rows = [(name, _shape(value), _words(value)) for name, value in table.items()]
        yield from _table(("name", "shape", "content"), rows)


def _state_lines(stored: StoredRun) -> Iterator[str]:
    n, d = stored.position.shape
    counts = np.bincount(stored.species, minlength=len(stored.species_names))
    made_of = ", ".join(f"{count} {name}" for count, name in zip(counts, stored.species_names, strict=True))
    history = stored.history
    newton = int(history.newton.sum())
    yield f"System        {n} particles in {d}D ({made_of}), {_box_words(stored)}"
    for k, term in enumerate(stored.terms):
        fields = ", ".join(f"{name} = {value}" for name, value in term.fields.items())
        law = term.law if term.name == term.law else f"{term.name}: {term.law}"
        yield ("Potential     " if k == 0 else "            + ") + law + (f" ({fields})" if fields else "")
    yield f"Verdict       {stored.verdict.value}: {stored.verdict.sentence}"
    descent = f"{len(history.newton) - newton} {stored.settings['minimizer']} steps"
    yield f"Relaxation    {descent} and {newton} Newton steps in {stored.seconds:.2f} s"
    yield (
        f"Max force     {stored.max_force:.3g} = {stored.max_force / stored.force_unit:.3g} epsilon/sigma "
        f"(asked for: {stored.settings['max_force']:g})"
    )
    yield f"Energy        {stored.energy:.12g}"
    if np.isfinite(stored.pressure):
        yield f"Pressure      {stored.pressure:.12g}"
    if held := stored.constant_pressure:
        volumes = f"volume {held.volumes[0]:.6g} -> {held.volumes[-1]:.6g} in {len(held.volumes) - 1} steps of the box"
        yield f"Held at       pressure {held.value:.12g}, stress error {held.stress_error:.1e}, {volumes}"
        yield f"Enthalpy      {held.enthalpy:.12g}"
    rattlers = int((~stored.backbone).sum())
    yield f"Backbone      {n - rattlers} particles, {len(stored.contacts)} contacts; {_counted(rattlers, 'rattler')}"


def _box_words(stored: StoredRun) -> str:
    matrix = stored.box_matrix
    if matrix is None:
        return "free"
    lengths = " x ".join(f"{length:.6g}" for length in np.linalg.norm(matrix, axis=0))
    kind = "box" if np.array_equal(matrix, np.diag(np.diag(matrix))) else "tilted box"
    along = "" if all(stored.periodic) else f", periodic along {np.flatnonzero(stored.periodic).tolist()} only"
    return f"periodic {kind} {lengths}{along}"


def _position_table(stored: StoredRun) -> list[str]:
    found = stored.positions
    rows = [
        (
            path,
            f"{value:.9g}",
            unit,
            _rated(float(np.linalg.norm(vectors)), error, 6),
            f"{_mean(vectors, stored.backbone):.6g}",
            f"{error:.1e}",
        )
        for path, value, unit, vectors, error in zip(
            found.paths, found.parameter_values, found.units, found.values, found.certificate.error, strict=True
        )
    ]
    return _table(("parameter", "value", "unit", "|dx/dp|", "mean |dx_i/dp|", "error"), rows)


def _box_table(stored: StoredRun, held: StoredPressure) -> list[str]:
    d = held.strains.shape[-1]
    places = [(i, j) for i in range(d) for j in range(i, d)]
    rows = [
        (path, f"{rate:.9g}", *(f"{strain[i, j]:.6g}" for i, j in places), f"{mean:.6g}")
        for path, rate, strain, mean in zip(
            stored.positions.paths,
            held.volume_rates,
            held.strain_rates,
            np.linalg.norm(held.displacements, axis=-1).mean(axis=1),
            strict=True,
        )
    ]
    strains = [f"de_{'xyz'[i]}{'xyz'[j]}/dp" for i, j in places]
    return _table(("parameter", "dV/dp", *strains, "mean displacement"), rows)


def _mean(vectors: np.ndarray, backbone: np.ndarray) -> float:
    """Return the mean length over the backbone of vectors of shape (n, d); zero without one."""
    return float(np.linalg.norm(vectors[backbone], axis=1).sum() / max(backbone.sum(), 1))


def _observable_table(found: ObservableSensitivity) -> list[str]:
    rows = [
        (path, f"{value:.9g}", unit, _rated(derivative, error, 12), f"{error:.1e}")
        for path, value, unit, derivative, error in zip(
            found.paths, found.parameter_values, found.units, found.values, found.certificate.error, strict=True
        )
    ]
    return _table(("parameter", "value", "unit", "derivative", "error"), rows)


def _rated(value: float, error: float, digits: int) -> str:
    """Return a number in words; that it is zero within its error where it is."""
    return f"0 within {error:.0e}" if abs(value) <= error else f"{value:.{digits}g}"


def _certificate_lines(certificate: Certificate) -> Iterator[str]:
    if certificate.at_any_point:
        yield "  CAUTION: taken at a state that need not be relaxed; not a derivative of a relaxed state."
    if certificate.one_sided:
        yield (
            "  One-sided: a backbone contact is within 1e-9 of touching, or within the remaining step to the minimum; "
            "the numbers hold for the present contacts."
        )
    yield f"  Solved by {certificate.method}; left out: {certificate.zero_modes}."
    yield (
        f"  Backbone Hessian: smallest non-zero eigenvalue {certificate.smallest_eigenvalue:.4g}, "
        f"none above {certificate.largest_eigenvalue:.4g}."
    )
    if np.isfinite(certificate.smallest_stiffness):
        yield f"  Box: smallest stiffness {certificate.smallest_stiffness:.4g} (per volume)."
    if len(certificate.error):
        known = certificate.relative_error[np.isfinite(certificate.relative_error)]
        relative = f"estimated relative error {known.max():.1e}" if known.size else "all zero within their errors"
        bound = float(np.max(certificate.bound))
        theorem = f", theorem's bound {bound:.1e} (absolute)" if np.isfinite(bound) else ""
        yield f"  At worst: relative residual {np.max(certificate.residual):.1e}, {relative}{theorem}."


def _tables_lines(tables: Tables) -> Iterator[str]:
    yield f"Kind          {tables.kind}"
    for name, value in tables.attributes.items():
        yield f"{name:<13} {_words(value)}"
    yield from _group_lines(tables.groups)


def _shape(value: np.ndarray | str) -> str:
    return " x ".join(map(str, np.shape(value))) or "-"


def _words(value: object) -> str:
    """Return a short content: the values of a short array, the range of a long one, the first line of a text."""
    if isinstance(value, str):
        lines = value.splitlines() or [""]
        return lines[0] + (" ..." if len(lines) > 1 else "")
    array = np.asarray(value)
    if array.dtype.kind not in "fiub" or array.size <= _LONGEST_ARRAY:
        texts = [f"{entry:.6g}" if isinstance(entry, float) else str(entry) for entry in array.ravel().tolist()]
        return ", ".join(texts[:_LONGEST_ARRAY]) + (", ..." if len(texts) > _LONGEST_ARRAY else "")
    if array.dtype.kind == "b":
        return f"{int(array.sum())} of {array.size} true"
    finite = array[np.isfinite(array)]
    missing = f", {array.size - finite.size} not finite" if finite.size < array.size else ""
    return (
        f"{finite.min():.6g} to {finite.max():.6g}, mean {finite.mean():.6g}{missing}" if finite.size else "none finite"
    )


def _provenance_lines(provenance: Provenance) -> Iterator[str]:
    changed = {"yes": ", with changes since", "no": ""}.get(provenance.dirty, "")
    yield "Provenance"
    yield f"  made        {provenance.created} with seed {provenance.seed}"
    yield f"  mdsens      {provenance.versions.get('mdsens', 'unknown')}, commit {provenance.commit}{changed}"
    yield "  packages    " + ", ".join(
        f"{name} {text}" for name, text in provenance.versions.items() if name != "mdsens"
    )
    yield f"  device      {provenance.device}, {'float64' if provenance.x64 else 'float32'}"
    if provenance.seconds:
        yield "  wall time   " + ", ".join(f"{name} {value:.2f} s" for name, value in provenance.seconds.items())
    if provenance.results:
        yield "  outcome     " + ", ".join(f"{name}: {code}" for name, code in provenance.results.items())
    if provenance.resolved:
        yield from ("", "Configuration as resolved", *(f"  {line}" for line in provenance.resolved.splitlines()))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return aligned lines under a head; at most 24 of them."""
    shown = [head, *rows[:_MOST_ROWS]]
    widths = [max(len(row[column]) for row in shown) for column in range(len(head))]
    lines = [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown
    ]
    return lines + ([f"  ... and {len(rows) - _MOST_ROWS} more"] if len(rows) > _MOST_ROWS else [])


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count or 'no'} {noun}s"
