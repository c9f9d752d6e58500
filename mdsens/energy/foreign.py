"""Energies written elsewhere as potentials: functions of positions, or of listed neighbours, with their parameters."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np
import scipy.sparse as sp
from jaxtyping import PyTree

from mdsens.energy.entries import field_name
from mdsens.energy.inspection import check_returns, doubled_differently, is_wide, refuse_one_place, uses_box
from mdsens.energy.potential import Locality, Potential
from mdsens.errors import UserError
from mdsens.given import float64_array, shown
from mdsens.names import TERM_RULE, is_term_name
from mdsens.neighbors import PairList, check_range, no_pairs
from mdsens.types import Configuration, Scalar
from mdsens.units import NONE, Powers, unit_text

Units = tuple[tuple[str, str], ...]
_PATH = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")


def as_params(params: PyTree) -> PyTree:
    """Return parameters as float64 JAX arrays.

    Raises:
        ValueError: For arrays of single precision, whose digits are lost already, and what is no finite number; for
            names that could not stand in a path.
    """
    leaves, structure = _flattened(params)
    found: list[Any] = []
    for keys, leaf in leaves:
        path = field_name(keys) or "params"
        if not _PATH.fullmatch(path):
            raise ValueError(
                f"a parameter is named {shown(path)}; a name has letters, digits and underscores only, or stand for "
                "an array by its index."
            )
        if isinstance(leaf, jax.core.Tracer | jax.ShapeDtypeStruct):
            found.append(leaf)
            continue
        values = float64_array(leaf, f"the parameter {path}")
        if not np.isfinite(np.asarray(values)).all():
            raise ValueError(f"the parameter {path} is {shown(leaf)}; every entry must be finite.")
        found.append(values)
    return jax.tree.unflatten(structure, found)


def _flattened(params: PyTree) -> tuple[list[tuple[tuple[Any, ...], Any]], Any]:
    try:
        return jax.tree_util.tree_flatten_with_path(params, is_leaf=lambda node: node is None)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the parameters are {shown(params)}; they must be numbers and arrays by name, a dictionary of texts."
        ) from error


def as_units(units: Mapping[str, Powers] | Units) -> Units:
    """Return units by name as sorted pairs of names and texts.

    Raises:
        ValueError: When they are no powers by name.
    """
    if not isinstance(units, Mapping | tuple):
        raise ValueError(f'units are {shown(units)}; they must be powers by name: {{"sigma": {{"length": 1}}}}.')
    given = dict(units)
    return tuple(sorted((name, unit if isinstance(unit, str) else unit_text(unit)) for name, unit in given.items()))


class _Adapter(Potential):
    """What energies written elsewhere have in common: locality and units are declared."""

    @property
    @abstractmethod
    def locality(self) -> Locality:
        """How far the influence of a particle reaches."""

    @property
    @abstractmethod
    def units(self) -> Any:
        """Units of parameters by name, pairs of texts."""

    def unit_of(self, keys: tuple[Any, ...]) -> str:
        """Return the unit that was given for a parameter."""
        return dict(self.units).get(field_name(keys[1:]), NONE)

    def coupling(self, configuration: Configuration) -> sp.csr_array | None:
        """Return who is coupled by the declared locality."""
        return self.locality.coupling(configuration)


class EnergyFunction(_Adapter):
    """Adapter for an energy function written elsewhere.

    Attributes:
        function: ``function(position, params, box) -> energy``, any JAX function of real coordinates.
        params: Its parameters, a pytree of float64 arrays; plain numbers are made such.
        name: Prefix of parameter paths.
        locality: How far the influence of a particle reaches: with it the Hessian is sparse. It is checked.
        units: Units of parameters by name as ``mdsens.units.unit_text`` has them, for the scale identities; pairs.
        parts_places: Whether it takes two particles at one place for one: such starts are refused.
    """

    function: Callable[..., Scalar] = eqx.field(static=True)
    params: PyTree = eqx.field(converter=as_params, default_factory=dict)
    name: str = eqx.field(static=True, default="energy_function")
    locality: Locality = eqx.field(static=True, default=Locality())
    units: Any = eqx.field(static=True, converter=as_units, default=())
    parts_places: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        _check_adapter(self)

    def energy(self, configuration: Configuration, pairs: PairList) -> Scalar:
        """Return the function's energy; the pair list is not used."""
        return self.function(configuration.position, self.params, configuration.box)

    def follows_box(self, configuration: Configuration, pairs: PairList) -> bool:
        """Return whether the function does anything with the box that it is given."""
        return uses_box(self.energy, configuration, pairs)

    def check_cell(self, configuration: Configuration) -> None:
        """Refuse a periodic cell in which the function counts nearest images only although others are near.

        Raises:
            UserError: When the cell is too small and an energy of two cells side by side is not twice that of one, when
                particles coincide, or the function fails or returns something else than one float64 number.
        """
        check_returns(self, configuration, "position, params, box")
        if self.parts_places:
            refuse_one_place(configuration)
        if not is_wide(configuration.box, 2 * self.locality.cutoff):
            _check_doubled(self, configuration)


class NeighborEnergyFunction(_Adapter):
    """Adapter for an energy function that takes a list of neighbours: its cost grows as the number of particles.

    Attributes:
        function: ``function(configuration, params, pairs) -> energy``; the list holds every pair within the cutoff,
            images included (``pair_components`` gives their vectors), some beyond it, and padding (``pairs.mask``).
        params: Its parameters, as those of ``EnergyFunction``.
        locality: How far the influence of a particle reaches; its cutoff, finite, is that of the list.
        name: Prefix of parameter paths.
        units: Units of parameters by name, as for ``EnergyFunction``.
        nearest_only: Whether the function knows nearest images only, so that boxes below two cutoffs are refused.
        has_box: Whether its derivative in the box is meant: not where the function keeps its box in a closure.
    """

    function: Callable[..., Scalar] = eqx.field(static=True)
    params: PyTree = eqx.field(converter=as_params, default_factory=dict)
    locality: Locality = eqx.field(static=True, default=Locality())
    name: str = eqx.field(static=True, default="energy_function")
    units: Any = eqx.field(static=True, converter=as_units, default=())
    nearest_only: bool = eqx.field(static=True, default=False)
    has_box: bool = eqx.field(static=True, default=True)

    def __check_init__(self) -> None:
        _check_adapter(self)
        if not self.locality.is_known:
            raise ValueError("an energy function of neighbours needs a finite cutoff: give Locality(cutoff, hops).")

    def energy(self, configuration: Configuration, pairs: PairList) -> Scalar:
        """Return the function's energy over the listed pairs."""
        return self.function(configuration, self.params, pairs)

    @property
    def lists_pairs(self) -> bool:
        """Whether the energy is a function of listed pairs: it is."""
        return True

    def list_range(self, configuration: Configuration) -> float:
        """Return the cutoff of the list."""
        return self.locality.cutoff

    def follows_box(self, configuration: Configuration, pairs: PairList) -> bool:
        """Return whether the function has a derivative in the box."""
        return self.has_box and uses_box(self.energy, configuration, pairs)

    def check_cell(self, configuration: Configuration) -> None:
        """Refuse a cell below two cutoffs to a function of nearest images.

        Raises:
            UserError: When it is, or the function fails or returns something else than one float64 number.
        """
        check_returns(self, configuration, "configuration, params, pairs")
        if self.nearest_only:
            check_range(configuration.box, self.locality.cutoff, self.name)


def _check_adapter(adapter: EnergyFunction | NeighborEnergyFunction) -> None:
    """Refuse what is no function, no name or no locality.

    Raises:
        ValueError: With what to give instead.
    """
    if not callable(adapter.function):
        raise ValueError(f"the energy is {shown(adapter.function)}; it must be a function that returns one number.")
    name: Any = adapter.name
    if not is_term_name(name):
        raise ValueError(f"an energy is named {shown(name)}; {TERM_RULE}.")
    locality: Any = adapter.locality
    if not isinstance(locality, Locality):
        raise ValueError(f"the locality of {name} is {shown(locality)}; it must be Locality(cutoff, hops).")
    known = {field_name(keys) for keys, _ in _flattened(adapter.params)[0]}
    unknown = next((field for field, _ in adapter.units if field not in known), None)
    if unknown is not None:
        raise ValueError(f"{name} has a unit for {unknown!r}, but its parameters are {', '.join(sorted(known))}.")


def _check_doubled(potential: EnergyFunction, configuration: Configuration) -> None:
    """Refuse a cell whose energy is not half of that of two of it side by side.

    Raises:
        UserError: With both energies, or because nobody can tell where the function has a box of its own.
    """
    found = doubled_differently(potential.function, potential.params, configuration)
    if found is None:
        return
    if not (potential.locality.is_known or potential.follows_box(configuration, no_pairs(configuration.dimension))):
        raise UserError(
            f"the energy {potential.name!r} keeps a box of its own and does not say how far it reaches: nobody can "
            "tell whether this cell is large enough. Give locality=Locality(cutoff), or build it with our "
            "displacement (mdsens.energy.jax_md.from_jax_md_displacement)."
        )
    raise UserError(
        f"the energy {potential.name!r} of this cell is {found.once:.10g}, but that of two such cells side by side "
        f"along axis {found.axis} is {found.twice:.10g} and not twice as much: it sees nearest images only, and the "
        "cell is too small for that. Repeat the cell until its heights are twice the range, write the energy as a "
        "pair law, or as a NeighborEnergyFunction, whose pairs know images."
    )
