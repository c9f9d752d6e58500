"""Many-body laws, bonded laws and sums of laws from a TOML file to verified results."""

import equinox as eqx
import numpy as np
import pytest

from mdsens.config import load, load_text
from mdsens.energy import Sum
from mdsens.energy.group_parameters import PerKind
from mdsens.energy.parameters import PerSpecies
from mdsens.io import read_run
from potentials.fene_bond import FENEBond
from potentials.stillinger_weber import StillingerWeber
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
"""
ASKED = """
[sensitivity]
parameters = ["beads.sigma", "fene_bond.k"]
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

[sensitivity]
parameters = ["stillinger_weber"]
"""


def save_chain(path):
    """Write a chain of four beads in the plane, which is floppy, with bonds of two kinds and with angles."""
    k = np.arange(4)
    position = np.stack([0.9 * k, 0.3 * (k % 2)], axis=1)
    groups = {"bonds.index": np.stack([k[:-1], k[1:]], axis=1), "bonds.kind": k[:-1] % 2}
    groups["angles.index"] = np.stack([k[1:-1], k[:-2], k[2:]], axis=1)
    np.savez(path, position=position, **{f"topology.{name}": array for name, array in groups.items()})


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
    assert stored.positions.paths == ("beads.sigma[A]", "fene_bond.k[0]", "fene_bond.k[1]")
    assert [(term.name, term.law) for term in stored.terms] == [("beads", "wca"), ("fene_bond", "fene_bond")]
    assert stored.positions.certificate.zero_modes.floppy == 2
    picture = (folder / "sensitivity_packing_fene_bond_k_0.svg").read_text()
    assert r"\sigma^{3}/\epsilon" in picture  # the unit of dx/dk


def test_it_is_the_sum_that_python_makes(chain):
    problem = build_problem(load(chain[1] / "chain.toml", schema=Config).config)
    expected = Sum({"beads": WCA(PerSpecies([1.0])), "fene_bond": FENEBond(PerKind([30.0, 40.0]))})
    assert eqx.tree_equal(problem.potential, expected)


def test_floppy_results_verify(command, chain):
    outcome = command("verify", chain[1] / "sensitivity.h5")
    assert outcome.code == 0, outcome.out + outcome.err
    assert "d x/d fene_bond.k[1] against re-relaxed differences" in outcome.out


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
        (["--potential.fene_bond.topology", "angles"], "the groups of topology 'angles' have 3 members"),
        (["--potential.fene_bond.k", "[1, 2, 3, 4]"], "potential.fene_bond.k has 4 entries; give one number, 2 "),
        (["--potential.beads.name", "fene_bond"], 'two of [[potential]] are named "fene_bond"'),
        (["--potential.k", "3"], 'named "beads", "fene_bond"; write --potential.NAME.KEY'),
    ],
)
def test_what_does_not_fit_is_one_sentence(mdsens, chain, overrides, words):
    outcome = mdsens("sensitivity", chain[1] / "chain.toml", *overrides)
    assert outcome.code == 2
    assert words in outcome.sentence


def test_silicon_is_the_published_law(tmp_path):
    np.savez(tmp_path / "silicon.npz", position=np.zeros((1, 3)), box=np.full(3, 5.431), species_names=["Si"])
    path = tmp_path / "silicon.toml"
    path.write_text(SILICON.replace("silicon.npz", str(tmp_path / "silicon.npz")))
    problem = build_problem(load(path, schema=Config).config)
    assert eqx.tree_equal(problem.potential, StillingerWeber.silicon())
    assert problem.configuration.species_names == ("Si",)
