"""What single laws promise beyond conformance: closed forms, guards, knots, sets, files, and relaxed derivatives."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import CubicSpline

import mdsens as md
import potentials
from mdsens.energy.mixing import NonAdditive
from mdsens.energy.parameters import PerParticle, PerSpecies, at_pairs
from mdsens.energy.paths import select
from mdsens.errors import NumericalError, UserError
from mdsens.relaxation import relax
from mdsens.response import linear_response
from mdsens.results import Verdict
from mdsens.sensitivity import position_sensitivity
from mdsens.verification import compare_with_differences, scale_identities
from potentials import Buckingham, HarmonicMorse, InversePower, LennardJones, Mie, Spline, Table, Yukawa
from potentials.rows import read_rows
from systems import bidisperse

SIGMA = {"A": 0.8, "B": 1.0}
TABLE = Path(__file__).parent / "table.txt"
TWO = {"n_particles": 36, "diameters": (0.8, 1.0)}


def derivatives(law, distance, count=3):
    one = jnp.zeros(1, int)
    functions = [lambda r: jnp.sum(at_pairs(law, one, one, one).pair_energy(r))]
    for _ in range(count - 1):
        functions.append(jax.grad(functions[-1]))
    return np.array([float(function(jnp.asarray(distance))) for function in functions])


LAWS = {
    "contact": (InversePower(PerParticle(np.random.default_rng(0).uniform(0.8, 1.2, 36), NonAdditive(0.2))), 1.1, None),
    "cohesive": (HarmonicMorse(SIGMA, {"A,A": 0.1, "A,B": 0.2, "B,B": 0.15}, alpha=10.0), 0.9, None),
    "dispersion": (Buckingham({"A": 1000.0, "B": 1500.0}, 0.12, {"A": 0.3, "B": 0.4}, range=2.0), 0.75, None),
    "knots": (Spline([3.0, 0.8, -0.4, -0.6, -0.3, -0.1], SIGMA, start=0.7, cutoff=2.0), 0.9, "spline.u"),
}


@pytest.mark.parametrize("name", LAWS)
def test_derivatives_of_a_relaxed_structure_are_differences_of_re_relaxed_ones(name):
    law, packing_fraction, paths = LAWS[name]
    start = bidisperse.build(bidisperse.Options(packing_fraction=packing_fraction, seed=1, **TWO))
    found = relax(law.for_species(("A", "B")), start.configuration)
    response = linear_response(found)
    selection = select(found.state, [paths] if paths else [f"{law.name}.{field}" for field in fields_of(law)])
    derivative = position_sensitivity(response, selection)
    compared = compare_with_differences(response, found, derivative, selection)
    assert compared
    assert all(one.agrees(1e-6) for one in compared)
    if law.scales:
        assert all(identity.violation < 1e-9 for identity in scale_identities(response))


def fields_of(law):
    return ["sigma[3]", "sigma[7]"] if isinstance(law, InversePower) else [n.path.split(".")[1] for n in law.nodes()]


def test_twelve_six_of_mie_is_lennard_jones():
    for distance in (0.9, 1.3, 2.2):
        np.testing.assert_allclose(
            derivatives(Mie(1.0, 1.7), distance), derivatives(LennardJones(1.0, 1.7), distance), rtol=1e-12
        )


@pytest.mark.parametrize("truncation", ["smooth", "cut", "shifted", "force_shifted", "force_switched"])
def test_a_truncation_is_as_continuous_as_it_says(truncation):
    law = LennardJones(1.0, onset=1.8, cutoff=2.2, truncation=truncation)
    ends = np.abs(derivatives(law, 2.2 * (1 - 1e-12)))
    assert (ends[: law.smoothness + (truncation != "cut")] < 1e-9).all()
    below, above = (derivatives(law, 1.8 * (1 + gap)) for gap in (-1e-10, 1e-10))
    np.testing.assert_allclose(above, below, rtol=1e-6)


def test_the_polynomial_of_the_swap_glass_is_the_published_one():
    x = 1.1
    published = x**-12 - 28 / 1.25**12 + 48 / 1.25**14 * x**2 - 21 / 1.25**16 * x**4
    assert derivatives(InversePower(1.0), x)[0] == pytest.approx(published, rel=1e-13)
    pair = float(NonAdditive(0.2)(jnp.asarray(1.0), jnp.asarray(1.5)))
    assert pair == pytest.approx(1.25 * (1 - 0.2 * 0.5), rel=1e-15)


def test_harmonic_morse_has_its_kink_at_the_minimum():
    law = HarmonicMorse(1.0, 0.1, 5.0, 20.0)
    assert law.kinks == (1.0,)
    below, above = (derivatives(law, 1 + gap) for gap in (-1e-12, 1e-12))
    np.testing.assert_allclose([below[0], above[0], below[2], above[2]], [-0.1, -0.1, 5.0, 2 * 0.1 * 400], rtol=1e-9)


def test_within_its_wall_buckingham_repels_with_one_force():
    law = Buckingham(1388.773, 0.3623, 175.0, range=10.0)  # of two oxygens in BKS silica, without charges
    wall = float(at_pairs(law, *[jnp.zeros(1, int)] * 3).inner)
    at = derivatives(law, wall * (1 + 1e-9))
    assert abs(at[2]) < 1e-5 * abs(at[1])
    assert at[1] < 0
    for distance in (0.01, 0.5 * wall):
        value, slope, curvature = derivatives(law, distance)
        assert slope == pytest.approx(at[1], rel=1e-9)
        assert curvature == 0.0
        assert value == pytest.approx(at[0] + at[1] * (distance - wall), rel=1e-8)


def test_a_state_within_the_wall_has_no_derivative():
    law = Buckingham({"A": 100.0, "B": 120.0}, 0.2, {"A": 0.3, "B": 0.5}, range=2.5)  # a barrier of next to nothing
    start = bidisperse.build(bidisperse.Options(packing_fraction=0.8, **TWO)).configuration
    found = relax(law.for_species(("A", "B")), start)
    assert found.verdict is Verdict.CONVERGED
    with pytest.raises(NumericalError, match=r"particles \d+ and \d+ are .* apart, where buckingham is only continued"):
        linear_response(found)


@pytest.mark.parametrize(
    ("law", "words"),
    [
        (
            Buckingham({"A": 1.0, "B": 1e3}, 0.3, {"A": 1.0, "B": 0.0}, range=5.0),
            "buckingham for the pair A,A: its",
        ),
        (Mie(1.0, n={"A": 12.0, "B": 5.0}, m=6.0), "mie for the pair B,B: n is"),
        (Yukawa(1.0, {"A": 1.0, "B": -1.0}), "yukawa for the pair A,B: energies of either sign"),
        (Spline(np.ones(3), sigma={"A": 1.0}), "lacks B"),
        (LennardJones({"A,A": 1.0, "A,B": 1.0}), "lacks B,B"),
    ],
    ids=["a pole", "exponents", "signs", "a species", "a pair"],
)
def test_what_does_not_go_together_is_refused_with_the_pair(law, words):
    start = bidisperse.build(bidisperse.Options(**TWO)).configuration
    with pytest.raises(ValueError, match=words):
        md.relax(start, law)


def test_a_spline_has_two_derivatives_everywhere_and_passes_its_knots():
    values = np.array([2.0, -0.5, 0.3, -0.1])
    law = Spline(values, 1.0, start=0.7, cutoff=2.2)
    knots = 0.7 + law.step * np.arange(6)
    np.testing.assert_allclose([derivatives(law, x)[0] for x in knots[:4]], values, atol=1e-13)
    for x in knots:
        below, above = (derivatives(law, x * (1 + gap)) for gap in (-1e-10, 1e-10))
        np.testing.assert_allclose(above, below, atol=1e-6)
    np.testing.assert_allclose(derivatives(law, knots[-1] * (1 - 1e-12)), 0.0, atol=1e-9)


def test_a_table_is_scipys_spline_with_derivatives_in_every_row():
    rng = np.random.default_rng(3)
    r, u = np.sort(rng.uniform(0.8, 3.0, 9)), rng.uniform(-1, 1, 9)
    middle, h = 0.5 * (r[4] + r[5]), 1e-6
    law, peer = Table(r, u, truncation="cut"), CubicSpline(r, u)
    np.testing.assert_allclose(derivatives(law, middle), [peer(middle, k) for k in range(3)], rtol=1e-11)
    one = jnp.zeros(1, int)
    slope = jax.grad(lambda table: jnp.sum(at_pairs(table, one, one, one).pair_energy(jnp.asarray(middle))))(law)
    for k, found in enumerate(slope.r.values):
        ends = [CubicSpline(r + s * h * (np.arange(9) == k), u)(middle) for s in (1, -1)]
        assert float(found) == pytest.approx((ends[0] - ends[1]) / (2 * h), abs=1e-7)


GOOD = [f"{r:.2f} {1 / r:.6f} {1 / r**2:.6f}" for r in np.arange(0.5, 1.5, 0.1)]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([*GOOD[:4], *GOOD[5:]], "has a gap between lines 4 and 5"),
        ([*GOOD[:4], "0.9 1.1", *GOOD[5:]], "line 5 has 2 columns; it must have 3, as line 1"),
        ([*GOOD[:4], GOOD[2], *GOOD[5:]], r"line 5: the distance is 0.7 after 0.8; distances must increase"),
        ([*GOOD[:4], "0.9 x 1", *GOOD[5:]], "line 5 is '0.9 x 1'; it must be of numbers"),
        ([*GOOD[:4], "0.9 nan 1", *GOOD[5:]], "line 5 is '0.9 nan 1'; every number must be finite"),
        ([line.replace(" ", ", ") + "  # a row" for line in GOOD[:9]], None),
        ([f"{r} {u} -{f}" for r, u, f in map(str.split, GOOD)], "the third column is .* it must be the force"),
        (["# r u", *GOOD[:3]], "has 3 rows of numbers; a table must have at least 4"),
        (["1"], "line 1 has 1 columns; it must have two or three"),
    ],
)
def test_a_table_that_is_wrong_is_refused_with_its_line(tmp_path, lines, words):
    path = tmp_path / "table.txt"
    path.write_text("\n".join(lines))
    if words is None:
        assert len(read_rows(path)["r"]) == 9
        return
    with pytest.raises(UserError, match=words) as refused:
        read_rows(path)
    assert str(path) in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be read as a table: No such file"):
        read_rows(tmp_path / "none.txt")


@pytest.mark.parametrize("name", potentials.SOURCES)
def test_a_published_set_makes_its_law(name):
    law = potentials.published(name, np.linspace(0.8, 1.2, 5))
    about, source = potentials.SOURCES[name]
    assert "doi:10." in source
    assert about
    assert law.name in potentials.LAWS


def test_a_set_is_a_start_that_keys_beside_it_change():
    options = potentials.lennard_jones.Options(set="kob_andersen", truncation="smooth")
    law = potentials.lennard_jones.build(options, jnp.ones(2), 2)
    np.testing.assert_array_equal(law.epsilon.values, [1.0, 1.5, 0.5])
    np.testing.assert_array_equal(law.sigma.values, [1.0, 0.8, 0.88])
    assert law.truncation == "smooth"
    with pytest.raises(ValueError, match="there is no set 'helium'"):
        potentials.published("helium")


def test_results_of_knots_and_unlike_sizes_verify(tmp_path):
    start = bidisperse.build(bidisperse.Options(packing_fraction=1.0, seed=1, **TWO)).configuration
    sizes = PerSpecies([0.8, 1.0], NonAdditive(0.2))
    for law in (InversePower(sizes), LAWS["knots"][0], Table(**read_rows(TABLE))):
        found = md.relax(start, law)
        found.sensitivity(law.nodes()[0].path)
        found.save(tmp_path / "run.h5", overwrite=True)
        assert md.verify(tmp_path / "run.h5")
