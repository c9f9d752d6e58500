"""Many-body laws, bonded laws and sums of laws from a TOML file to verified results."""

import equinox as eqx
import numpy as np
import pytest

from mdsens.config import load, load_text
from mdsens.energy import Sum
from mdsens.io import read_run
from mdsens.parameters import PerKind, PerSpecies
from potentials.fene_bond import FENEBond
from potentials.harmonic_angle import HarmonicAngle
from potentials.wca import WCA
from workflows.problem import build_problem
from workflows.sensitivity import Config

CHAIN = """
[system]
kind = "file"
path = "chain.npz"

[[potential]]
kind = "wca"
name = "beads"
sigma = [1.0]

[[potential]]
kind = "fene_bond"
k = [30.0, 40.0]

[[potential]]
kind = "harmonic_angle"
name = "bending"
angle = 2.0
"""
ASKED = """
[sensitivity]
parameters = ["beads.sigma", "fene_bond.k", "bending.angle"]
observables = ["energy"]

[output]
formats = ["svg"]
"""
SILICON = """
[system]
kind = "file"
path = "silicon.npz"

[potential]
kind = "stillinger_weber"
sigma = 2.0951
epsilon = 2.1683
"""


def save_chain(path):
    """Write a chain of five beads in the plane, its bonds of two kinds and its angles."""
    k = np.arange(5)
    position = np.stack([0.9 * k, 0.3 * (k % 2)], axis=1)
    groups = {"bonds.index": np.stack([k[:-1], k[1:]], axis=1), "bonds.kind": k[:-1] % 2}
    groups["angles.index"] = np.stack([k[1:-1], k[:-2], k[2:]], axis=1)
    np.savez(path, position=position, **{f"topology.{name}": array for name, array in groups.items()})


def save_silicon(path):
    """Write the eight atoms of a cell of diamond, one of them moved."""
    face = 0.5 * np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]])
    position = 5.431 * np.vstack([face, face + 0.25])
    position[0] += 0.1
    np.savez(path, position=position, box=np.full(3, 5.431), species_names=["Si"])


@pytest.fixture(scope="module")
def chain(command, tmp_path_factory):
    """What ``sensitivity`` says of the chain, and its folder."""
    folder = tmp_path_factory.mktemp("chain")
    save_chain(folder / "chain.npz")
    (folder / "chain.toml").write_text(CHAIN.replace("chain.npz", str(folder / "chain.npz")) + ASKED)
    return command("sensitivity", folder / "chain.toml", "-o", folder), folder


def test_a_sum_of_pair_and_bonded_laws_is_answered(chain):
    outcome, folder = chain
    assert (outcome.code, outcome.err) == (0, "")
    stored = read_run(folder / "sensitivity.h5")
    assert stored.positions.paths == ("beads.sigma[A]", "fene_bond.k[0]", "fene_bond.k[1]", "bending.angle")
    assert {name: term.law for name, term in zip(("beads", "fene_bond", "bending"), stored.terms, strict=True)} == {
        "beads": "wca",
        "fene_bond": "fene_bond",
        "bending": "harmonic_angle",
    }
    assert (folder / "sensitivity_packing_bending_angle.svg").exists()


def test_it_is_the_sum_that_python_makes(chain):
    problem = build_problem(load(chain[1] / "chain.toml", schema=Config).config)
    both = Sum(
        {
            "beads": WCA(PerSpecies([1.0])),
            "fene_bond": FENEBond(PerKind([30.0, 40.0])),
            "bending": HarmonicAngle(angle=2.0),
        }
    )
    assert eqx.tree_equal(problem.potential, both)


def test_floppy_results_verify(command, chain):
    outcome = command("verify", chain[1] / "sensitivity.h5")
    assert outcome.code == 0, outcome.out + outcome.err
    assert "d x/d bending.angle against re-relaxed differences" in outcome.out


def test_a_results_file_is_a_start_with_its_groups(chain, tmp_path):
    folder, again = chain[1], tmp_path / "again.toml"
    again.write_text(CHAIN.replace("chain.npz", str(folder / "sensitivity.h5")) + ASKED)
    configuration = build_problem(load(again, schema=Config).config).configuration
    assert eqx.tree_equal(configuration, read_run(folder / "sensitivity.h5").configuration)
    assert list(configuration.topology) == ["angles", "bonds"]


def test_what_is_resolved_loads_again(chain):
    loaded = load(chain[1] / "chain.toml", schema=Config)
    assert load_text(loaded.resolved, schema=Config) == loaded.config


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["--potential.fene_bond.topology", "angle"], "the groups of the start are 'bonds', 'angles'"),
        (["--potential.fene_bond.topology", "angles"], "potential.fene_bond.k has 2 entries; give one number, 1 "),
        (["--potential.fene_bond.k", "[1, 2, 3]"], "potential.fene_bond.k has 3 entries; give one number, 2 "),
        (["--potential.beads.sigma", "[1.0, 2.0]"], "beads.sigma (PerParticle) has entries of shape (2,)"),
        (["--potential.beads.name", "fene_bond"], 'two of [[potential]] are named "fene_bond"'),
        (["--potential.k", "3"], 'named "beads", "fene_bond", "bending"; write --potential.NAME.KEY'),
    ],
)
def test_what_does_not_fit_is_one_sentence(mdsens, chain, overrides, words):
    outcome = mdsens("sensitivity", chain[1] / "chain.toml", *overrides)
    assert outcome.code == 2
    assert words in outcome.sentence


def test_silicon_is_relaxed_drawn_and_verified(mdsens, tmp_path):
    save_silicon(tmp_path / "silicon.npz")
    (tmp_path / "silicon.toml").write_text(SILICON)
    outcome = mdsens("relax", "silicon.toml", "--output.formats", '["svg"]', "-o", "out")
    assert (outcome.code, outcome.err) == (0, "")
    stored = read_run(tmp_path / "out" / "relax.h5")
    assert stored.energy / (8 * 2.1683) == pytest.approx(-2.0, abs=1e-6)  # four bonds of depth epsilon an atom
    assert "phi" not in (tmp_path / "out" / "relax_packing.svg").read_text()  # no diameters, no packing fraction
    assert mdsens("verify", tmp_path / "out" / "relax.h5").code == 0
