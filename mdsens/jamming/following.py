"""One packing followed from pressure to pressure: its contacts and its moduli on the way."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from mdsens.energy import Barostat, PairPotential, Potential
from mdsens.energy.strain import periodic_box
from mdsens.errors import NumericalError, UserError
from mdsens.observables import elastic_tensor, packing_fraction
from mdsens.pressure import relax_at_pressure, taken_as_relaxed_at_pressure
from mdsens.relaxation import PressureSettings, Relaxation, RelaxationSettings, free_strains, taken_as_relaxed
from mdsens.response import linear_response
from mdsens.results import Verdict
from mdsens.sweep import Record
from mdsens.types import Configuration, PeriodicBox

SINGULAR = "singular"  # a minimum whose response missed its residual: no moduli, hence no numbers at all
_NUMBERS = ("packing_fraction", "n_contacts", "n_backbone", "bulk_modulus", "shear_modulus")


def followed(
    potential: Potential,
    configuration: Configuration,
    pressures: Sequence[float],
    settings: RelaxationSettings | None = None,
) -> Record:
    """Relax positions and the size of the box at one pressure after the other, each from the state before.

    Decreasing pressures follow a packing from above towards jamming; increasing ones from jamming upwards, and the
    start may then be unjammed: its box shrinks until the first pressure holds it. The shape of the box stays.

    Args:
        potential: A purely repulsive law of finite range.
        configuration: The start, in a periodic box, jammed or not.
        pressures: The way, k different pressures > 0, k >= 2, rising or falling; units of energy per volume.
        settings: How positions are relaxed in every box.

    Returns:
        Arrays of shape (k,), in the order of the way:

        - ``pressure``;
        - ``verdict``: what became of the state, as ``Verdict`` names it, or "singular" where the Hessian could not be
          solved with;
        - ``packing_fraction``: overlaps counted twice;
        - ``n_contacts``, ``n_backbone``: contacts of the backbone, and its particles; rattlers and their contacts are
          in neither;
        - ``bulk_modulus``: -V dP/dV; ``shear_modulus``: averaged over all orientations; non-affine motion included,
          units of energy per volume;
        - ``position``, shape (k, n, d), and ``box``, shape (k, d, d): the states themselves;
        - ``seconds``: wall time.

        Where a state did not converge its numbers are NaN, and the next pressure starts from the last one that did.

    Raises:
        UserError: For a law without contacts, a free system, or pressures that are no such way.
    """
    check_way(potential, configuration, pressures)
    states = PressureSettings(box="isotropic", relaxation=settings or RelaxationSettings())
    here, rows, verdicts, seconds, places, boxes = configuration, [], [], [], [], []
    for pressure in pressures:
        found = relax_at_pressure(potential, here, pressure, states)
        verdict, numbers = _answer(found)
        rows.append(numbers)
        verdicts.append(verdict)
        seconds.append(found.seconds)
        places.append(found.state.configuration)
        boxes.append(periodic_box(found.state))
        if found.verdict is Verdict.CONVERGED:
            here = found.state.configuration
    columns = dict(zip(_NUMBERS, np.array(rows).T, strict=True))
    way = {"pressure": np.array(pressures, dtype=float), "verdict": np.array(verdicts)}
    structures = {
        "position": np.stack([np.asarray(place.position) for place in places]),
        "box": np.stack([np.asarray(box.matrix) for box in boxes]),
    }
    return way | columns | structures | {"seconds": np.array(seconds)}


def followed_again(
    potential: Potential, configuration: Configuration, record: Record, settings: RelaxationSettings
) -> Record:
    """Return the numbers of ``followed`` from the states that it stored; nothing is relaxed.

    Args:
        potential: The law.
        configuration: The species; the positions and the box do not matter.
        record: From ``followed``.
        settings: How positions were relaxed.
    """
    rows, verdicts = [], []
    for k, pressure in enumerate(np.asarray(record["pressure"])):
        position, box = jnp.asarray(record["position"][k]), PeriodicBox(np.asarray(record["box"][k]))
        place = Configuration(position, configuration.species, box, configuration.species_names)
        state = taken_as_relaxed(potential, place, settings)
        barostat = Barostat(float(pressure), free_strains(place.dimension, "isotropic"))
        settled = PressureSettings(relaxation=settings, stress_error=2e-12)
        verdict, numbers = _answer(taken_as_relaxed_at_pressure(state, barostat, settled))
        stopped = verdict != Verdict.CONVERGED.value and str(record["verdict"][k]) != Verdict.CONVERGED.value
        verdicts.append(str(record["verdict"][k]) if stopped else verdict)  # why it stopped, only the way says
        rows.append(numbers)
    return dict(record) | {"verdict": np.array(verdicts)} | dict(zip(_NUMBERS, np.array(rows).T, strict=True))


def check_way(potential: Potential, configuration: Configuration, pressures: Sequence[float]) -> None:
    """Refuse what cannot jam, and pressures that are no way: at least two, finite, positive, all rising or all falling.

    Raises:
        UserError: With the first mistake found.
    """
    if not (isinstance(potential, PairPotential) and potential.contact):
        raise UserError(
            f"{potential.name} has no contacts to count: packings jam under a purely repulsive law of finite range, "
            "such as soft spheres."
        )
    if not (isinstance(configuration.box, PeriodicBox) and configuration.box.is_periodic):
        raise UserError(
            "a system that is free along an axis has no pressure: put the particles into a box that is periodic along "
            "every axis."
        )
    if configuration.held is not None:
        raise UserError("particles are held: a packing on its way to jamming has all of them free (system.frozen).")
    if len(pressures) < 2:
        raise UserError(f"pressures has {len(pressures)} entries; give at least 2, such as 1e-2 and 1e-3.")
    for pressure in pressures:
        if not (np.isfinite(pressure) and pressure > 0):
            raise UserError(f"pressures holds {pressure}; every pressure must be finite and greater than 0.")
    steps = np.sign(np.diff(pressures))
    if not (np.all(steps > 0) or np.all(steps < 0)):
        raise UserError("pressures must rise or fall from each entry to the next: sort them.")


def _answer(found: Relaxation) -> tuple[str, list[float]]:
    """Return what became of a state and its numbers, NaN where it has none."""
    nothing = [np.nan] * len(_NUMBERS)
    if found.verdict is not Verdict.CONVERGED:
        return found.verdict.value, nothing
    try:
        moduli = elastic_tensor(linear_response(found.fixed))
    except NumericalError:
        return SINGULAR, nothing
    fraction, network = float(packing_fraction(found.state)), found.network
    return found.verdict.value, [
        fraction,
        float(network.n_contacts),
        float(network.n_backbone),
        moduli.bulk_modulus,
        moduli.mean_shear_modulus,
    ]
