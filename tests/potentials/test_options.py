"""Sections of laws: every declared field is a key, and what is given becomes entries of the right kind."""

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import potentials
from mdsens.energy import declared_fields
from mdsens.energy.group_parameters import PerBond, PerKind
from mdsens.energy.parameters import PerParticle, PerSpecies, Uniform
from mdsens.types import Groups
from potentials import fene_bond, harmonic_angle, lennard_jones, stillinger_weber, sutton_chen
from potentials.rows import read_rows

TABLE = str(Path(__file__).parent / "table.txt")
NEEDED = {
    "buckingham": {"A": 1000.0, "rho": 0.3, "range": 10.0},
    "born_mayer": {"A": 0.3, "rho": 0.3, "range": 10.0},
    "zbl": {"Z": 14.0, "a": 0.2, "range": 3.0},
    "spline": {"u": (1.0, -0.5)},
    "table": {"path": TABLE},
    "stillinger_weber": {"sigma": 2.0951, "epsilon": 2.1683},
    "sutton_chen": {"a": 3.61, "epsilon": 1.0, "c": 39.0},
}
CHAIN = Groups([[0, 1], [1, 2], [2, 3]], np.zeros((3, 1, 3), int), [0, 1, 0])
CORNERS = Groups([[1, 0, 2], [2, 1, 3]], np.zeros((2, 2, 3), int))
TOPOLOGY = {"bonds": CHAIN, "angles": CORNERS}


@pytest.mark.parametrize("kind", potentials.REGISTRY)
def test_the_section_of_a_law_has_its_fields_and_defaults(kind):
    module = potentials.REGISTRY[kind]
    section = module.Options(kind=kind, **NEEDED.get(kind, {}))
    names = {name for name, _ in declared_fields(module.Law)} if kind != "table" else {"path", "onset", "truncation"}
    common = {"mixing", "non_additivity", "set"} & set(type(section).model_fields)
    assert set(type(section).model_fields) == {"kind", *names, *common}
    assert all(field.description for name, field in type(section).model_fields.items() if name != "kind")
    law = module.build(section, jnp.ones(1), 1, TOPOLOGY)
    assert (type(law), law.name) == (module.Law, kind)
    required = {"sigma": PerSpecies([1.0])} if "mixing" in common else NEEDED.get(kind, {})
    required = read_rows(TABLE) if kind == "table" else required
    expected = module.Law(**required)
    for field in dataclasses.fields(law):
        held, other = getattr(law, field.name), getattr(expected, field.name)
        assert held == other if field.metadata.get("static") else np.array_equal(held.values, other.values)


def test_many_body_laws_take_one_number():
    law = stillinger_weber.build(stillinger_weber.Options(sigma=2.0, epsilon=1, lam=0), jnp.zeros(0), 1)
    assert isinstance(law.lam, Uniform)
    assert float(law.lam.values) == 0.0
    with pytest.raises(ValueError, match="lam"):
        stillinger_weber.Options(sigma=2.0, epsilon=1.0, lam=(1.0, 2.0))
    with pytest.raises(ValueError, match="greater than"):
        sutton_chen.Options(a=0.0, epsilon=1.0, c=1.0)


@pytest.mark.parametrize(
    ("given", "kind"), [(30.0, Uniform), ((30.0, 40.0), PerKind), ((30.0, 40.0, 50.0), PerBond)], ids=str
)
def test_bonded_laws_take_one_number_or_one_per_kind_or_one_per_group(given, kind):
    law = fene_bond.build(fene_bond.Options(k=given), jnp.zeros(0), 1, TOPOLOGY)
    assert type(law.k) is kind
    np.testing.assert_array_equal(law.k.values, given)
    assert (law.topology, law.members) == ("bonds", 2)


def test_a_bonded_law_sums_over_the_groups_it_names():
    law = fene_bond.build(fene_bond.Options(topology="links"), jnp.zeros(0), 1, {"links": CHAIN})
    assert law.topology == "links"
    assert harmonic_angle.build(harmonic_angle.Options(), jnp.zeros(0), 1, TOPOLOGY).topology == "angles"


@pytest.mark.parametrize(
    ("given", "topology", "words"),
    [
        ({}, {}, r"potential\.topology is 'bonds', and the start has no groups: .*topology\.bonds\.index"),
        ({"topology": "bond"}, TOPOLOGY, r"is 'bond'; the groups of the start are 'bonds', 'angles'"),
        ({"k": (1.0,)}, TOPOLOGY, r"potential\.k has 1 entries; give one number, 2 .*or 3 "),
    ],
)
def test_what_does_not_fit_the_groups_is_refused(given, topology, words):
    with pytest.raises(ValueError, match=words):
        fene_bond.build(fene_bond.Options(**given), jnp.zeros(0), 1, topology)


def test_lengths_are_asked_for_where_the_start_has_no_diameters():
    with pytest.raises(ValueError, match=r"potential\.sigma is not given .* give system\.diameters"):
        lennard_jones.build(lennard_jones.Options(), jnp.zeros(0), 2)
    law = lennard_jones.build(lennard_jones.Options(sigma=(1.0, 2.0)), jnp.zeros(0), 2)
    assert isinstance(law.sigma, PerSpecies)
    law = lennard_jones.build(lennard_jones.Options(sigma=(1.0, 2.0, 3.0)), jnp.zeros(0), 2)
    assert isinstance(law.sigma, PerParticle)
