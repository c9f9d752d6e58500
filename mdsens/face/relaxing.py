"""`md.relax`: one system or a list of them, at fixed box or at a pressure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

import numpy as np

from mdsens.energy import Potential
from mdsens.errors import UserError
from mdsens.face.many import Many, nearly_relaxed
from mdsens.face.relaxed import Relaxed
from mdsens.face.starts import configuration_of, law_for
from mdsens.given import is_number, shown
from mdsens.machine.progress import box_progress, relaxation_progress
from mdsens.pressure import relax_at_pressure
from mdsens.relaxation import PressureSettings, RelaxationSettings
from mdsens.relaxation import relax as relax_at_fixed_box
from mdsens.types import Configuration

Settings = RelaxationSettings | PressureSettings | None


@overload
def relax(
    atoms: list[Any] | tuple[Any, ...],
    law: Potential | Sequence[Potential],
    *,
    pressure: float | None = None,
    settings: Settings = None,
) -> Many: ...


@overload
def relax(atoms: Any, law: Potential, *, pressure: float | None = None, settings: Settings = None) -> Relaxed: ...


def relax(
    atoms: Any, law: Potential | Sequence[Potential], *, pressure: float | None = None, settings: Settings = None
) -> Relaxed | Many:
    """Return the energy minimum below a start, or those below many.

    Args:
        atoms: A ``Configuration``, the path of a file, ASE's ``Atoms``, or a system such as
            ``md.systems.bidisperse(n_particles=128)``; or a list of them.
        law: The potential; its values may be given by names of species, ``{"A": 0.6, "B": 1.0}``. For a list of
            systems one for all, or a list with one for each.
        pressure: Pressure at which the box is relaxed, too, units of energy per volume; None: the box stays.
        settings: How to relax: ``RelaxationSettings``, at constant pressure ``PressureSettings``.

    In a terminal or a notebook work of more than a second shows its progress.

    Returns:
        The state, whatever became of it: its ``verdict`` says so. What asks for derivatives of a state that is no
        minimum is refused with the reason. For a list, the states in its order.

    Raises:
        UserError: When an argument is of another kind, or the energy would be wrong in so small a cell; in a list, with
            the number of the system.

    Example:
        >>> import mdsens as md
        >>> law = md.potentials.SoftSphere({"A": 0.6, "B": 1.0})
        >>> found = md.relax(md.systems.bidisperse(n_particles=24, seed=1), law)
        >>> found.verdict.value, found.position.shape
        ('converged', (24, 2))
        >>> print(f"{md.relax(found.configuration, law, pressure=0.05).pressure:.6f}")
        0.050000
    """
    wanted = RelaxationSettings if pressure is None else PressureSettings
    if settings is not None and not isinstance(settings, wanted):
        raise UserError(f"settings are {shown(settings)}; they must be {wanted.__name__}(...).")
    if pressure is not None and not (is_number(pressure) and np.isfinite(pressure)):
        raise UserError(f"the pressure is {shown(pressure)}; it must be a finite number, units of energy per volume.")
    if not isinstance(atoms, list | tuple):
        start = configuration_of(atoms)
        return _one(law_for(law, start), start, pressure, settings)
    given = list(law) if isinstance(law, list | tuple) else [law] * len(atoms)
    if len(given) != len(atoms):
        raise UserError(f"{len(given)} laws are given for {len(atoms)} systems; give one for all, or one for each.")
    starts = _each(configuration_of, atoms)
    laws = _each(law_for, given, starts)
    if pressure is None:
        assert not isinstance(settings, PressureSettings)
        starts = nearly_relaxed(laws, starts, settings)
    return Many(_each(lambda one, start: _one(one, start, pressure, settings), laws, starts))


def _one(law: Potential, start: Configuration, pressure: float | None, settings: Settings) -> Relaxed:
    if pressure is None:
        assert not isinstance(settings, PressureSettings)
        with relaxation_progress() as report:
            return Relaxed(relax_at_fixed_box(law, start, settings, progress=report))
    assert not isinstance(settings, RelaxationSettings)
    with box_progress() as report:
        return Relaxed(relax_at_pressure(law, start, float(pressure), settings, progress=report))


def _each(make: Callable[..., Any], *columns: Sequence[Any]) -> list[Any]:
    """Return what is made of every system; where it is refused, say of which one."""
    made = []
    for k, row in enumerate(zip(*columns, strict=True)):
        try:
            made.append(make(*row))
        except UserError as error:
            raise UserError(f"system {k}: {error}") from None
    return made
