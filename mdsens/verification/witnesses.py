"""Derivatives beside what does not come from the implicit function theorem: re-relaxed states, and exact identities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mdsens.energy.paths import select
from mdsens.relaxation import Relaxation
from mdsens.response import linear_response
from mdsens.sensitivity import ObservableSensitivity, PositionSensitivity
from mdsens.verification.checks import Check
from mdsens.verification.differences import Difference, compare_with_differences
from mdsens.verification.identities import scale_identities

DIFFERENCE_TOLERANCE = 1e-5
IDENTITY_TOLERANCE = 1e-9


def witnesses(
    found: Relaxation, positions: PositionSensitivity, observables: Sequence[ObservableSensitivity]
) -> Iterator[Check]:
    """Yield the checks of derivatives against differences of re-relaxed states, and of scale identities.

    Args:
        found: The relaxed state.
        positions: dx/dp of the entries that are compared, each by two relaxations.
        observables: Energy and pressure are compared besides, where they are among them.

    Raises:
        NumericalError: When the state has no linear response.
    """
    response = linear_response(found)
    selection = select(response.state, positions.paths)
    slopes = {record.name: dict(zip(record.paths, record.values, strict=True)) for record in observables}
    for difference in compare_with_differences(response, found, positions, selection):
        yield from _difference_checks(difference, slopes)
    for identity in scale_identities(response):
        yield Check(identity.statement, identity.violation, IDENTITY_TOLERANCE)


def _difference_checks(difference: Difference, slopes: Mapping[str, Mapping[str, float]]) -> Iterator[Check]:
    path, against = difference.path, f"against re-relaxed differences, h = {difference.step:.1e}"
    yield Check(f"d x/d {path} {against}", difference.relative_difference, DIFFERENCE_TOLERANCE)
    if not difference.same_network:
        yield Check(f"d x/d {path}: the backbone network changes within h", float("inf"), 0.0)
        return
    for name, quotient in difference.slopes.items():
        if path in slopes.get(name, {}):
            value = float(slopes[name][path])
            allowed = DIFFERENCE_TOLERANCE * abs(value) + difference.slope_errors[name]
            yield Check(f"d {name}/d {path} {against} (absolute)", abs(quotient - value), allowed)
