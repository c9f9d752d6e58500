"""Observables by name, as configurations give them: ``pressure``, ``C44``, ``eigenvalue[0]``, ``bond_order[6]``."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mdsens.energy import State, energy, pressure
from mdsens.energy.strain import strain_basis
from mdsens.errors import UserError
from mdsens.observables.bond_order import bond_order
from mdsens.observables.contacts import coordination, mean_overlap
from mdsens.observables.distance import distance_to
from mdsens.observables.elasticity import ElasticTensor, elastic_tensor
from mdsens.observables.enthalpy import Enthalpy, number_density, volume
from mdsens.observables.moduli import (
    Kind,
    Quantity,
    bulk_modulus,
    modulus,
    polycrystal_average,
    shear_modulus_in_plane,
)
from mdsens.observables.packing import packing_fraction
from mdsens.observables.spectrum import Vibrations, density_of_states, eigenvalue, participation_ratio, vibrations
from mdsens.observables.stress import StressComponent
from mdsens.observables.structure import radial_distribution, structure_factor
from mdsens.response import LinearResponse
from mdsens.sensitivity.derivatives import Observable
from mdsens.types import Configuration


@dataclasses.dataclass(frozen=True)
class Workbench:
    """What observables are made from at a state; each piece is computed once, and only if one needs it.

    Attributes:
        state: The state.
        response: Its factored Hessian at fixed box, for moduli and vibrations; None where the state is not relaxed.
        target: The configuration from which ``distance`` is measured; None when there is none.
    """

    state: State
    response: LinearResponse | None = None
    target: Configuration | None = None

    @classmethod
    def at(cls, response: LinearResponse, target: Configuration | None = None) -> Workbench:
        """Return the workbench of a relaxed state."""
        return cls(response.state, response.fixed, target)

    @functools.cached_property
    def tensor(self) -> ElasticTensor:
        """The elastic moduli.

        Raises:
            UserError: Where the state is not relaxed.
        """
        return elastic_tensor(self._relaxed())

    @functools.cached_property
    def vibrations(self) -> Vibrations:
        """All modes.

        Raises:
            UserError: Where the state is not relaxed.
        """
        return vibrations(self._relaxed())

    def _relaxed(self) -> LinearResponse:
        if self.response is None:
            raise UserError("elastic moduli and vibrations are those of a relaxed state, which this is not.")
        return self.response


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How an observable is made from its name.

    Attributes:
        make: Makes it from a workbench and the arguments in brackets.
        fewest: Fewest arguments.
        most: Most arguments.
        words: What it is, with its arguments, for people.
    """

    make: Callable[..., Observable]
    fewest: int
    most: int
    words: str


def _plain(observable: Observable, words: str) -> Recipe:
    return Recipe(lambda bench: observable, 0, 0, words)


def _average(quantity: Quantity, kind: Kind, words: str) -> Recipe:
    return Recipe(lambda bench: polycrystal_average(bench.tensor, quantity, kind), 0, 0, words)


def _stress(bench: Workbench, i: str, j: str) -> Observable:
    return StressComponent(_integer(i, "stress"), _integer(j, "stress"))


def _enthalpy(bench: Workbench) -> Observable:
    return Enthalpy(float(pressure(bench.state)))  # that of the barostat, where there is one


def _shear(bench: Workbench, i: str = "0", j: str = "1") -> Observable:
    a, b = _integer(i, "shear_modulus"), _integer(j, "shear_modulus")
    d = bench.state.configuration.dimension
    if a == b or max(a, b) >= d:
        raise UserError(f"shear_modulus[{i},{j}] needs two different axes below {d}.")
    return shear_modulus_in_plane(bench.tensor, a, b)


def _radial(bench: Workbench, *arguments: str) -> Observable:
    *names, distance, width = arguments
    if len(names) not in (0, 2):
        raise UserError("radial_distribution takes [distance, width] or [species, species, distance, width].")
    r, w = (_number(text, "radial_distribution") for text in (distance, width))
    return radial_distribution(bench.state, r, w, (names[0], names[1]) if names else None)


def _distance(bench: Workbench) -> Observable:
    if bench.target is None:
        raise UserError("the observable distance needs a target: name a results file or a configuration as target.")
    return distance_to(bench.state, bench.target)


def _numbers(make: Callable[..., Observable], name: str) -> Callable[..., Observable]:
    return lambda bench, *texts: make(bench.state, *(_number(text, name) for text in texts))


RECIPES: Mapping[str, Recipe] = {
    "energy": _plain(energy, "potential energy"),
    "pressure": _plain(pressure, "pressure"),
    "volume": _plain(volume, "volume of the box"),
    "number_density": _plain(number_density, "particles per volume"),
    "packing_fraction": _plain(packing_fraction, "volume of the particles over that of the box"),
    "enthalpy": Recipe(_enthalpy, 0, 0, "U + P V at the pressure given"),
    "stress": Recipe(_stress, 2, 2, "stress[i,j]: component of the stress, axes from 0"),
    "bulk_modulus": Recipe(lambda bench: bulk_modulus(bench.tensor), 0, 0, "-V dP/dV, non-affine relaxation included"),
    "shear_modulus": Recipe(_shear, 0, 2, "shear_modulus[i,j]: of a shear in the plane of axes i and j (0 and 1)"),
    "poisson_ratio": _average("poisson", "hill", "Poisson's ratio of Hill's averages"),
    "bulk_modulus_voigt": _average("bulk", "voigt", "bulk modulus at uniform strain"),
    "bulk_modulus_reuss": _average("bulk", "reuss", "bulk modulus at uniform stress"),
    "bulk_modulus_hill": _average("bulk", "hill", "mean of both"),
    "shear_modulus_voigt": _average("shear", "voigt", "orientation average of the shear modulus at uniform strain"),
    "shear_modulus_reuss": _average("shear", "reuss", "the same at uniform stress"),
    "shear_modulus_hill": _average("shear", "hill", "mean of both"),
    "mean_overlap": _plain(mean_overlap, "mean relative overlap of the contacts"),
    "coordination": Recipe(
        _numbers(coordination, "coordination"), 0, 2, "coordination[begin,end]: smooth number of neighbours"
    ),
    "radial_distribution": Recipe(_radial, 2, 4, "radial_distribution[(A,B,)r,width]: smeared g(r)"),
    "structure_factor": Recipe(
        _numbers(structure_factor, "structure_factor"), 1, 2, "structure_factor[q(,width)]: shell average of S(q)"
    ),
    "bond_order": Recipe(
        lambda bench, degree, *ends: bond_order(
            bench.state, _integer(degree, "bond_order"), *(_number(end, "bond_order") for end in ends)
        ),
        1,
        3,
        "bond_order[degree(,begin,end)]: psi_k in 2D, Steinhardt's q_l in 3D",
    ),
    "eigenvalue": Recipe(
        lambda bench, k="0": eigenvalue(bench.vibrations, _integer(k, "eigenvalue")),
        0,
        1,
        "eigenvalue[k]: of the Hessian, softest first",
    ),
    "participation_ratio": Recipe(
        lambda bench, k="0": participation_ratio(bench.vibrations, _integer(k, "participation_ratio")),
        0,
        1,
        "participation_ratio[k]: of mode k",
    ),
    "density_of_states": Recipe(
        lambda bench, frequency, width: density_of_states(
            bench.vibrations, _number(frequency, "density_of_states"), _number(width, "density_of_states")
        ),
        2,
        2,
        "density_of_states[omega,width]: smeared vibrational density of states",
    ),
    "distance": Recipe(_distance, 0, 0, "mean squared distance to the target"),
}
_MODULUS = re.compile(r"C([1-6])([1-6])")
_NAME = re.compile(r"([A-Za-z_0-9]+)(?:\[([^\[\]]*)\])?")


def check_names(names: Sequence[str]) -> None:
    """Look observables up before anything long runs.

    Raises:
        UserError: When there is no such observable, or it takes other arguments; the message names the nearest.
    """
    for name in names:
        _found(name)


def is_known(name: str) -> bool:
    """Return whether a name says all of an observable; of a distance it does not say to what."""
    try:
        check_names([name])
    except UserError:
        return False
    return name != "distance"


def made(name: str, bench: Workbench) -> Observable:
    """Return the observable of that name, for the state of a workbench and those near it.

    Raises:
        UserError: When there is none, or it does not apply to the state.
    """
    recipe, arguments = _found(name)
    return recipe.make(bench, *arguments)


def _found(name: str) -> tuple[Recipe, list[str]]:
    parts = _NAME.fullmatch(name.replace(" ", ""))
    if parts and (places := _MODULUS.fullmatch(name)):
        return Recipe(_component, 2, 2, "component of the elastic tensor"), [places[1], places[2]]
    if not parts or parts[1] not in RECIPES:
        near = difflib.get_close_matches(parts[1] if parts else name, RECIPES, n=1, cutoff=0.3)
        hint = f"did you mean {near[0]}? Known" if near else "known"
        raise UserError(f"there is no observable {name!r}; {hint}: {', '.join([*RECIPES, 'C11'])}.")
    recipe = RECIPES[parts[1]]
    arguments = [text for text in (parts[2] or "").split(",") if text]
    if not recipe.fewest <= len(arguments) <= recipe.most:
        raise UserError(f"the observable {name!r} has {len(arguments)} arguments; it is {recipe.words}.")
    return recipe, arguments


def _component(bench: Workbench, first: str, second: str) -> Observable:
    basis = strain_basis(bench.tensor.dimension)
    a, b = int(first) - 1, int(second) - 1
    if max(a, b) >= len(basis):
        raise UserError(
            f"there is no C{first}{second} in {bench.tensor.dimension} dimensions: {len(basis)} is largest."
        )
    return modulus(bench.tensor, np.asarray(basis[a]), np.asarray(basis[b]))


def _number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"the observable {name} has the argument {text!r}, which is not a number.") from None


def _integer(text: str, name: str) -> int:
    if not text.isdecimal():
        raise UserError(f"the observable {name} has the argument {text!r}, which is not a number 0, 1, 2, ...")
    return int(text)
