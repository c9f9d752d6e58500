"""A packing followed through pressures: where it jams, what its moduli are, and what is refused."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from mdsens.errors import UserError
from mdsens.jamming import compression_tables, followed, jamming_fractions
from mdsens.relaxation import RelaxationSettings
from mdsens.types import Configuration, FreeBox
from potentials import lennard_jones, soft_sphere
from systems import bidisperse

N, DIMENSION = 24, 2
# From 1e-3 down this packing does not rearrange, whatever the steps.
COARSE = (1e-3, 1e-4, 1e-5)
FINE = (1e-3, 5e-4, 2e-4, 1e-4, 1e-5, 1e-6)


@functools.cache
def soft(packing_fraction=0.9, seed=0):
    options = bidisperse.Options(n_particles=N, diameters=(1.0, 1.4), packing_fraction=packing_fraction, seed=seed)
    start = bidisperse.build(options)
    law = soft_sphere.build(soft_sphere.Options(), start.diameters, 2)
    return law, start.configuration


@functools.cache
def record(pressures):
    return followed(*soft(), pressures)


def at_jamming(found):
    """Return phi_J of a packing and its error."""
    numbers = (found[name][None] for name in ("packing_fraction", "bulk_modulus"))
    fraction, error = jamming_fractions(found["pressure"], *numbers)
    return fraction[0], error[0]


def test_two_ladders_find_the_same_jamming_fraction():
    assert set(record(COARSE)["verdict"]) | set(record(FINE)["verdict"]) == {"converged"}
    (coarse, error), (fine, fine_error) = at_jamming(record(COARSE)), at_jamming(record(FINE))
    assert abs(coarse - fine) <= error
    assert fine_error < error < 2e-5
    assert abs(coarse - record(COARSE)["packing_fraction"][-1]) > 3 * error  # it was worth extrapolating


def test_close_to_jamming_one_contact_more_than_isostatic_is_left():
    found = record(FINE)
    assert found["n_contacts"][-1] == DIMENSION * (found["n_backbone"][-1] - 1) + 1
    assert np.all(np.diff(found["packing_fraction"]) < 0)


def test_the_bulk_modulus_is_the_slope_of_the_pressure():
    # 1e-4 relative: contacts do not change, and the central difference is right to its square
    low, middle, high = (1e-3 * (1 - 1e-4), 1e-3, 1e-3 * (1 + 1e-4))
    found = followed(*soft(), (low, middle, high))
    fraction = found["packing_fraction"]
    slope = fraction[1] * (high - low) / (fraction[2] - fraction[0])
    assert found["bulk_modulus"][1] == pytest.approx(slope, rel=1e-6)


@pytest.mark.slow
def test_a_rising_way_begins_below_jamming():
    found = followed(*soft(packing_fraction=0.7), (1e-4, 1e-3, 1e-2))
    assert list(found["verdict"]) == ["converged"] * 3
    assert np.all(np.diff(found["packing_fraction"]) > 0)
    assert 0.75 < at_jamming(found)[0] < found["packing_fraction"][0]


def test_a_state_that_does_not_converge_is_recorded_and_counted():
    settings = RelaxationSettings(max_steps=3, newton=False)
    lost = followed(*soft(), COARSE, settings)
    assert set(lost["verdict"]) == {"max_steps"}
    assert np.isnan(lost["packing_fraction"]).all()
    records = [record(COARSE), followed(*soft(seed=1), COARSE), followed(*soft(seed=2), COARSE)]
    tables = compression_tables([*records, lost], dimension=DIMENSION, fit_range=(1e-5, 1e-3), n_resamples=20)
    np.testing.assert_array_equal(tables["compression"]["n_used"], 3)
    np.testing.assert_array_equal(tables["compression"]["n_refused"], 1)
    assert np.isnan(tables["packings"]["jamming_fraction"][3])
    assert np.isfinite(tables["exponents"]["exponent_error"][[0, 2]]).all()  # of contacts and pressure
    nothing = compression_tables([lost] * 3, dimension=DIMENSION, fit_range=(1e-5, 1e-2))["exponents"]
    assert np.isnan(nothing["exponent"]).all()
    assert set(nothing["remark"]) == {"no power law: at some point fewer than two packings gave an answer."}


@pytest.mark.parametrize(
    ("pressures", "words"),
    [
        ((1e-3,), "at least 2"),
        ((1e-3, 0.0), "holds 0.0"),
        ((1e-3, -1e-4), "holds -0.0001"),
        ((1e-3, float("nan")), "holds nan"),
        ((1e-2, 1e-4, 1e-3), "rise or fall"),
        ((1e-2, 1e-2), "rise or fall"),
    ],
)
def test_pressures_that_are_no_way_are_refused(pressures, words):
    with pytest.raises(UserError, match=words):
        followed(*soft(), pressures)


def test_a_law_without_contacts_is_refused():
    start = bidisperse.build(bidisperse.Options(n_particles=N))
    law = lennard_jones.build(lennard_jones.Options(), start.diameters, 2)
    with pytest.raises(UserError, match="lennard_jones has no contacts to count"):
        followed(law, start.configuration, COARSE)


def test_a_free_system_is_refused():
    law, start = soft()
    free = Configuration(jnp.asarray(start.position), start.species, FreeBox(2), start.species_names)
    with pytest.raises(UserError, match="free along an axis has no pressure"):
        followed(law, free, COARSE)


def test_records_of_different_ways_are_not_averaged():
    other = dict(record(COARSE)) | {"pressure": 2 * record(COARSE)["pressure"]}
    with pytest.raises(UserError, match="same pressures"):
        compression_tables([record(COARSE), other], dimension=DIMENSION, fit_range=(1e-5, 1e-2))


def test_too_few_points_in_the_range_are_refused():
    with pytest.raises(UserError, match="2 of the pressures"):
        compression_tables([record(COARSE)] * 3, dimension=DIMENSION, fit_range=(1e-4, 1e-3))
