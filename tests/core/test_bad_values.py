"""Values of the wrong kind, from Python as people write it: each is one sentence, before anything is computed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

# Without the tests' checks of types at every call, which people do not have: all cases in one process of their own.
RUNNER = """
import json, sys
import jax
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp
import numpy as np
import mdsens as md
from mdsens.energy import Locality, State, Sum
from mdsens.energy.foreign import EnergyFunction
from mdsens.energy.jax_md import from_jax_md_displacement
from mdsens.energy.group_parameters import PerBond, PerKind
from mdsens.energy.parameters import PerPair, PerParticle, PerSpecies, Uniform
from mdsens.pressure import relax_at_pressure
from mdsens.relaxation import (
    LBFGS,
    ConjugateGradient,
    Fire,
    PressureSettings,
    RelaxationSettings,
    TruncatedNewton,
    relax,
)
from mdsens.types import Configuration, FreeBox, Groups, PeriodicBox
from potentials.harmonic_bond import HarmonicBond
from potentials.soft_sphere import SoftSphere
from potentials.sutton_chen import SuttonChen

f32 = np.float32
X = np.array([[0.5, 0.5], [1.5, 0.6], [0.6, 1.6], [1.7, 1.7]])
KINDS = [0, 1, 0, 1]
BOX = PeriodicBox.cubic(4.0, 2)
START = Configuration(X, KINDS, BOX, ("A", "B"))
LAW = SoftSphere(PerSpecies([1.0, 1.2]))
NONE = np.zeros((1, 1, 2), int)
HARMONIC = lambda x, p, box: jnp.sum(x**2)

def start(x=X, kinds=KINDS, box=BOX, names=("A", "B"), **more):
    return Configuration(x, kinds, box, names, **more)

def image(law, apart=0.0):
    x = X.copy()
    x[3] = x[0] + [4.0 + apart, -8.0]
    bonds = Groups.nearest([[0, 1], [0, 3]], x, BOX)
    return relax(law, Configuration(x, [0, 0, 0, 0], BOX, ("A",), {"bonds": bonds}))

found = {}
for name, text in json.load(sys.stdin).items():
    try:
        made = eval(text)
        found[name] = ["made", repr(made)]
    except Exception as error:
        found[name] = [type(error).__name__, str(error)]
json.dump(found, sys.stdout)
"""

REFUSED = {
    # boxes
    "no volume": ("PeriodicBox(np.zeros((2, 2)))", "determinant 0; it must be positive"),
    "one vector of length zero": ("PeriodicBox([[1.0, 0.0], [0.0, 0.0]])", "determinant 0"),
    "parallel vectors": ("PeriodicBox([[1.0, 2.0], [2.0, 4.0]])", "no two of them parallel"),
    "left-handed": ("PeriodicBox([[0.0, 1.0], [1.0, 0.0]])", "right-handed"),
    "NaN in a box": ("PeriodicBox(np.full((2, 2), np.nan))", "every entry must be finite"),
    "negative edge, even dimension": ("PeriodicBox.cubic(-3.0, 2)", "length of a cubic box is -3.0"),
    "negative edge": ("PeriodicBox.cubic(-3.0, 3)", "length of a cubic box is -3.0"),
    "NaN edge": ("PeriodicBox.cubic(np.nan, 3)", "greater than 0 and at most 1e+100"),
    "edges of a cube": ("PeriodicBox.cubic([1.0, 2.0], 2)", "PeriodicBox(np.diag(edges))"),
    "four dimensions": ("PeriodicBox.cubic(1.0, 4)", "the dimension of space is 4; it must be 2 or 3"),
    "a number as a box": ("PeriodicBox(5.0)", "PeriodicBox.cubic(length, dimension)"),
    "edges as a box": ("PeriodicBox([4.0, 4.0])", "shape (2,)"),
    "nothing as a box": ("PeriodicBox(None)", "box matrix is None"),
    "float32 box": ("PeriodicBox(np.eye(2, dtype=f32))", "float32 and lost digits"),
    "complex box": ("PeriodicBox(np.eye(2) * 1j)", "it must be of real numbers"),
    "ragged box": ("PeriodicBox([[1.0, 0.0], [1.0]])", "rows must be of one length"),
    "one truth value": ("PeriodicBox(np.eye(2), True)", "a truth value per axis"),
    "axes by name": ("PeriodicBox(np.eye(2), 'xy')", "a truth value per axis"),
    "free in no dimension": ("FreeBox(0)", "it must be 2 or 3"),
    # configurations
    "float32 positions": ("start(X.astype(f32))", "position = array", "float32 and lost digits"),
    "complex positions": ("start(X + 0j)", "it must be of real numbers"),
    "text as positions": ("start('abc')", "position is 'abc'"),
    "no positions": ("start(None)", "position is None"),
    "ragged positions": ("start([[0.0, 0.0], [1.0]])", "rows must be of one length"),
    "NaN position": ("start(X * np.nan)", "position of particle 0 is [nan nan]"),
    "huge position": ("start(X * 1e180)", "at most 1e+100"),
    "species as floats": ("start(kinds=[0.0, 1.0, 0.0, 1.0])", "species is [0.0, 1.0, 0.0, 1.0]", "integers"),
    "species by name": ("start(kinds=['A', 'B', 'A', 'B'])", "numbered by integers"),
    "species beyond the names": ("start(kinds=[0, 1, 2, 1])", "0..2; they must lie in 0..1"),
    "one text of names": ("start(names='AB')", "species_names is 'AB'"),
    "numbers as names": ("start(names=(1, 2))", "species_names is (1, 2)"),
    "no names": ("start(names=())", "species_names is empty"),
    "one name twice": ("start(names=('A', 'A'))", "two species are named 'A'"),
    "a number as the box": ("start(box=5.0)", "box is 5.0; it must be a PeriodicBox"),
    "bonds as a list": ("start(topology={'bonds': [[0, 1]]})", "Groups.nearest"),
    "topology as a list": ("start(topology=[[0, 1]])", "groups by name"),
    # groups
    "a negative member": ("start(topology={'bonds': Groups([[-1, 1]], NONE)})", "group 0 holds the particles [-1, 1]"),
    "a member that is not there": ("Groups.nearest([[0, 4]], X, BOX)", "but there are 4, numbered from 0"),
    "a broken member": ("Groups([[0.5, 1.0]], NONE)", "numbered by integers"),
    "a broken member of nearest": ("Groups.nearest([[0.0, 1.0]], X, BOX)", "numbered by integers"),
    "a bond to itself": ("Groups([[1, 1]], NONE)", "holds particle 1 twice"),
    "one bond, flat": ("Groups.nearest([0, 1], X, BOX)", "one row per group"),
    "text as bonds": ("Groups.nearest('abc', X, BOX)", "numbered by integers"),
    "shift of another length": ("Groups([[0, 1]], np.zeros((2, 1, 2), int))", "(m, k), (m, k - 1, d) and (m,)"),
    "one kind for all": ("Groups([[0, 1]], NONE, 0)", "(m, k), (m, k - 1, d) and (m,)"),
    "negative kind": ("Groups([[0, 1]], NONE, [-1])", "kinds are numbered from 0"),
    "NaN in nearest": ("Groups.nearest([[0, 1]], X * np.nan, BOX)", "position of particle 0"),
    "kind beyond the parameters": (
        "State.unlisted(start(topology={'bonds': Groups([[0, 1]], NONE, [2])}), HarmonicBond(PerKind([1.0] * 2), 1.0))",
        "has 2 entries; the topology 'bonds' has 1 groups of 3 kinds",
    ),
    # parameters
    "float32 number": ("SoftSphere(f32(1.1))", "diameters", "float32 and lost digits"),
    "float32 array": ("PerSpecies(np.ones(2, f32))", "PerSpecies", "float32 and lost digits"),
    "float32 in a list": ("PerSpecies([f32(1.1), 1.0])", "float32 and lost digits"),
    "float32 of JAX": ("PerPair(jnp.ones(3, jnp.float32))", "float32 and lost digits"),
    "float16": ("PerParticle(np.ones(4, np.float16))", "float16 and lost digits"),
    "bfloat16": ("Uniform(jnp.ones((), jnp.bfloat16))", "bfloat16 and lost digits"),
    "float32 of bonds": ("PerBond(np.ones(2, f32))", "float32 and lost digits"),
    "complex": ("SoftSphere(1 + 0j)", "it must be of real numbers"),
    "text": ("SoftSphere('1.0')", "diameters", "given as '1.0'"),
    "nothing": ("SoftSphere(None)", "given as None"),
    "a list": ("SoftSphere([1.0, 1.2])", "PerSpecies([...])"),
    "a dictionary": ("State.unlisted(START, SoftSphere({'A': 1.0}))", "say for which species"),
    "texts": ("PerSpecies(['1.0', '2.0'])", "it must be of real numbers"),
    "truth values": ("PerSpecies([True, False])", "it must be of real numbers"),
    "species by name in a dictionary": ("PerSpecies({'A': 1.0, 'C': 2.0})", "in the order of the configuration's"),
    "pairs by name in a dictionary": ("PerPair({'A,A': 1.0, 'B,A': 2.0})", "(AA, AB, ..., BB, ...)"),
    "no entries": ("PerSpecies([])", "shape (0,)"),
    "a number for species": ("PerSpecies(1.0)", "shape ()"),
    "a table for species": ("PerSpecies([[1.0]])", "shape (1, 1)"),
    "a list for all": ("Uniform([1.0])", "it takes one number"),
    "NaN": ("PerPair([1.0, np.nan, 1.0])", "a parameter entry is nan"),
    "huge": ("SoftSphere(1e200)", "not larger than 1e+100"),
    "a rule by name": ("PerSpecies([1.0, 2.0], 'geometric')", "geometric_mean"),
    "an exponent as text": ("SoftSphere(1.0, alpha='2')", "exponent", "it must be one number"),
    "an exponent that is true": ("SoftSphere(1.0, alpha=True)", "it must be one number"),
    "bare array": ("State.unlisted(START, SoftSphere(np.ones(2)))", "PerSpecies, PerPair or PerParticle"),
    "of kinds in a pair law": ("relax(SoftSphere(PerKind([1.0, 2.0])), START)", "PerSpecies, PerPair or PerParticle"),
    "one of two species": ("relax(SoftSphere(PerSpecies([1.0])), START)", "it must be (2,) for 2 species"),
    "three of two species": ("State.unlisted(START, SoftSphere(PerSpecies([1.0] * 3)))", "it must be (2,)"),
    "two of three pairs": ("State.unlisted(START, SoftSphere(PerPair([1.0] * 2)))", "it must be (3,)"),
    "n + 1 particles": ("State.unlisted(START, SoftSphere(PerParticle(np.ones(5))))", "it must be (4,)"),
    # the face
    "a number as atoms": ("md.relax(3.0, LAW)", "atoms are given as 3.0"),
    "a class as law": ("md.relax(START, SoftSphere)", "the law is the class SoftSphere; make one of it"),
    "a dictionary as law": ("md.relax(START, {'sigma': 1.0})", "the law is {'sigma': 1.0}; give a potential"),
    "a minimiser by name": ("md.relax(START, LAW, settings='fire')", "settings are 'fire'"),
    "settings of a fixed box": (
        "md.relax(START, LAW, pressure=0.1, settings=RelaxationSettings())",
        "they must be PressureSettings(...)",
    ),
    "no pressure": ("md.relax(START, LAW, pressure=float('nan'))", "the pressure is nan"),
    "text as pressure": ("md.relax(START, LAW, pressure='0.1')", "the pressure is '0.1'"),
    "no file": ("md.read('nowhere.npz')", "does not exist"),
    "a number as a file": ("md.read(3)", "a file is given as 3"),
    "another file as results": ("md.load('README.md')", "README.md"),
    # sums
    "no term": ("Sum({})", "at least one term"),
    "two terms of one name": ("LAW + LAW", "two terms of a sum are named 'soft_sphere'"),
    "two terms of one given name": ("Sum([('a', LAW), ('a', LAW)])", "two terms of a sum are named 'a'"),
    "a number as a term": ("Sum({'a': 3.0})", "3.0 is no potential"),
    "nothing as a term": ("LAW + None", "None is no potential"),
    "a class as a term": ("Sum({'a': SoftSphere})", "SoftSphere(...)"),
    "a law that is not in a list": ("Sum(LAW)", "it takes terms by name"),
    "a sum as a term": ("Sum({'a': Sum({'b': LAW})})", "is itself a sum"),
    "a number as a name": ("Sum({1: LAW})", "a term is named 1"),
    **{f"a name {name!r}": (f"Sum({{{name!r}: LAW}})", "letters, digits") for name in ("a.b", "a[", "a/b", "", "box")},
    # energies written elsewhere
    "foreign float16": ("EnergyFunction(HARMONIC, {'a': np.float16(1)})", "the parameter a", "float16 and lost digits"),
    "foreign complex": ("EnergyFunction(HARMONIC, {'a': 1 + 0j})", "the parameter a is (1+0j)"),
    "foreign nothing": ("EnergyFunction(HARMONIC, {'a': None})", "the parameter a is None"),
    "foreign text": ("EnergyFunction(HARMONIC, {'a': [1.0, 'x']})", "the parameter a.1 is 'x'"),
    "foreign NaN": ("EnergyFunction(HARMONIC, {'a': np.nan})", "the parameter a is nan"),
    "foreign name": ("EnergyFunction(HARMONIC, {'a': 1.0}, 'a.b')", "an energy is named 'a.b'"),
    "no function": ("EnergyFunction(3, {'a': 1.0})", "it must be a function"),
    "a cutoff as locality": ("EnergyFunction(HARMONIC, {'a': 1.0}, locality=3.0)", "Locality(cutoff, hops)"),
    "a cutoff as text": ("Locality('3')", "locality has cutoff '3'"),
    "unit of nothing": ("EnergyFunction(HARMONIC, {'a': 1.0}, units={'b': {'length': 1}})", "a unit for 'b'"),
    "an energy per particle": (
        "relax(EnergyFunction(lambda x, p, box: jnp.sum(x, 1)), START)",
        "float64 of shape (4,)",
    ),
    "no energy": ("relax(EnergyFunction(lambda x, p, box: None), START)", "returns no number"),
    "float32 energy": ("relax(EnergyFunction(lambda x, p, box: HARMONIC(x, p, box).astype(f32)), START)", "float32"),
    "an energy of NumPy": ("relax(EnergyFunction(lambda x, p, box: np.sum(np.asarray(x))), START)", "write it in JAX"),
    "an unknown parameter": ("relax(EnergyFunction(lambda x, p, box: p['b'], {'a': 1.0}), START)", "KeyError: 'b'"),
    "other arguments": ("relax(EnergyFunction(lambda x: 0.0), START)", "function(position, params, box)"),
    # settings and arguments
    "a rule's name": ("RelaxationSettings(minimizer='conjugate-gradient')", "minimizer=ConjugateGradient()"),
    "a rule's class": ("RelaxationSettings(minimizer=Fire)", "minimizer=Fire()"),
    "an unknown rule": ("RelaxationSettings(minimizer=3.0)", "Fire(), ConjugateGradient(), LBFGS(), TruncatedNewton()"),
    "negative force": ("RelaxationSettings(max_force=-1.0)", "relaxation.max_force is -1.0"),
    "NaN force": ("RelaxationSettings(max_force=np.nan)", "relaxation.max_force is nan"),
    "force as text": ("RelaxationSettings(max_force='1e-9')", "relaxation.max_force is '1e-9'"),
    "broken steps": ("RelaxationSettings(max_steps=10.5)", "whole number"),
    "negative skin": ("RelaxationSettings(skin=-0.1)", "relaxation.skin is -0.1"),
    "newton as text": ("RelaxationSettings(newton='yes')", "true or false"),
    "negative time step": ("Fire(dt_start=-1.0)", "Fire(dt_start=...) is -1.0"),
    "longest below first": ("Fire(dt_max=0.01)", "at least 0.1"),
    "no memory": ("LBFGS(memory=0)", "a whole number of at least 1"),
    "a tolerance as settings": ("relax(LAW, START, 1e-9)", "RelaxationSettings(max_force=..., ...)"),
    "parameters as a law": ("relax({'sigma': 1.0}, START)", "SoftSphere(**parameters)"),
    "a class as a law": ("relax(SoftSphere, START)", "SoftSphere(...)"),
    "a function as a law": ("relax(HARMONIC, START)", "EnergyFunction(function, {...})"),
    "exchanged": ("relax(START, LAW)", "is no potential"),
    "positions as a start": ("relax(LAW, X)", "is no configuration"),
    "pressure as text": ("relax_at_pressure(LAW, START, '0.1')", "the pressure is '0.1'"),
    "NaN stress": ("PressureSettings(stress_error=np.nan)", "stress_error is nan"),
    "a range without end": ("relax(SoftSphere(1e4), start())", "the smallest height of the box, 4"),
    "a skin without end": ("relax(LAW, START, RelaxationSettings(skin=1e9))", "neighbours"),
    # one place, through an image
    "pair at one place": ("image(SoftSphere(1.0))", "particles 0 and 3 lie at the same place"),
    "pair nearly at one place": ("image(SoftSphere(1.0), 1e-14)", "particles 0 and 3 lie at the same place"),
    "bond at one place": ("image(HarmonicBond(1.0, 1.0))", "members 0 and 3 of group 1 of harmonic_bond"),
    "bond nearly at one place": ("image(HarmonicBond(1.0, 1.0), 1e-14)", "members 0 and 3 of group 1"),
    "sum at one place": ("image(SoftSphere(1.0) + HarmonicBond(1.0, 1.0))", "particles 0 and 3 lie at the same place"),
}

MADE = {
    "positions as lists": "start(X.tolist())",
    "positions of integers": "start([[0, 0], [1, 1], [2, 2], [3, 3]])",
    "positions of NumPy": "start(X, np.array(KINDS))",
    "names as a list": "start(names=['A', 'B'])",
    "integers": "PerSpecies([1, 2])",
    "an integer": "SoftSphere(1)",
    "a box of integers": "PeriodicBox(np.eye(2, dtype=int))",
    "a box as lists, lower triangle": "PeriodicBox([[4.0, 0.0], [1.0, 4.0]])",
    "an exponent of NumPy": "SoftSphere(1.0, alpha=f32(2.5))",
    "steps as a float": "RelaxationSettings(max_steps=1e5)",
    "foreign lists": "EnergyFunction(HARMONIC, {'a': [1, 2.0]})",
}


@pytest.fixture(scope="module")
def outcomes():
    cases = {name: text for name, (text, *_) in REFUSED.items()} | MADE
    run = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", RUNNER],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_value_is_one_sentence(outcomes, name):
    kind, sentence = outcomes[name]
    assert kind in ("ValueError", "UserError"), f"{kind}: {sentence}"
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert all(word in sentence for word in REFUSED[name][1:]), sentence


@pytest.mark.parametrize("name", MADE)
def test_what_says_what_it_is_is_taken(outcomes, name):
    kind, words = outcomes[name]
    assert kind == "made", words
