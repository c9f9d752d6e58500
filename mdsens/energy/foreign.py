"""Energies written elsewhere, jax-md's among them, and what they may be asked for.

An energy that knows nearest images only is wrong in a small box, and one that keeps its box in a closure has no
derivative in it; neither says so. Here both are found out: by evaluating a doubled cell, and by looking at what the
function does with the box it is given.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Float, PyTree

from mdsens.energy import Locality, Potential
from mdsens.energy.parameters import field_name
from mdsens.errors import UserError
from mdsens.given import float64_array, shown
from mdsens.names import TERM_RULE, is_term_name
from mdsens.neighbors import PairList, check_range, jax_md_neighbors, neighbor_pairs, no_pairs, smallest_height
from mdsens.types import Box, Configuration, PeriodicBox, Position, Scalar, replaced
from mdsens.units import NONE, Powers, unit_text

Units = tuple[tuple[str, str], ...]
Displacement = Callable[..., Float[Array, "d"]]
_NOISE = 0.03  # of the mean spacing: particles are moved off places where forces cancel by symmetry
_AGREEMENT = 1e-6  # relative difference of a doubled cell's energy from twice the cell's: sums over waves are no better
_PATH = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
_FAR = 1e4  # box edges at which jax-md's laws are evaluated for a particle with itself, where they count nothing


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


class EnergyFunction(Potential):
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

    def unit_of(self, keys: tuple[Any, ...]) -> str:
        """Return the unit that was given for a parameter."""
        return dict(self.units).get(field_name(keys[1:]), NONE)

    def coupling(self, configuration: Configuration) -> sp.csr_array | None:
        """Return who is coupled by the declared locality."""
        return self.locality.coupling(configuration)

    def follows_box(self, configuration: Configuration, pairs: PairList) -> bool:
        """Return whether the function does anything with the box that it is given."""
        return _uses_box(self, configuration, pairs)

    def check_cell(self, configuration: Configuration) -> None:
        """Refuse a periodic cell in which the function counts nearest images only although others are near.

        Raises:
            UserError: When the cell is too small and an energy of two cells side by side is not twice that of one, when
                particles coincide, or the function fails or returns something else than one float64 number.
        """
        _check_returns(self, configuration, "position, params, box")
        if self.parts_places:
            _refuse_one_place(configuration)
        if self.locality.is_known and not _is_small(configuration.box, self.locality.cutoff):
            return
        _check_doubled(self, configuration)


class NeighborEnergyFunction(Potential):
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

    def unit_of(self, keys: tuple[Any, ...]) -> str:
        """Return the unit that was given for a parameter."""
        return dict(self.units).get(field_name(keys[1:]), NONE)

    def coupling(self, configuration: Configuration) -> sp.csr_array | None:
        """Return who is coupled by the declared locality."""
        return self.locality.coupling(configuration)

    @property
    def lists_pairs(self) -> bool:
        """Whether the energy is a function of listed pairs: it is."""
        return True

    def list_range(self, configuration: Configuration) -> float:
        """Return the cutoff of the list."""
        return self.locality.cutoff

    def follows_box(self, configuration: Configuration, pairs: PairList) -> bool:
        """Return whether the function has a derivative in the box."""
        return self.has_box and _uses_box(self, configuration, pairs)

    def check_cell(self, configuration: Configuration) -> None:
        """Refuse a cell below two cutoffs to a function of nearest images.

        Raises:
            UserError: When it is, or the function fails or returns something else than one float64 number.
        """
        _check_returns(self, configuration, "configuration, params, pairs")
        if self.nearest_only:
            check_range(configuration.box, self.locality.cutoff, self.name)


def from_jax_md(
    energy_fn: Callable[..., Scalar],
    params: Mapping[str, Any],
    *,
    name: str = "jax_md",
    locality: Locality | None = None,
    units: Mapping[str, Powers] | None = None,
) -> EnergyFunction:
    """Adapt a jax-md energy function as it is, at fixed box: its box stands in a closure.

    Args:
        energy_fn: ``energy_fn(position, sigma=..., epsilon=..., ...)`` as made by ``jax_md.energy.*_pair``. Its space
            must take real coordinates (not ``fractional_coordinates=True``, which makes derivatives L times too large).
        params: The keyword arguments to differentiate in.
        name: Prefix of parameter paths.
        locality: How far the influence of a particle reaches; not known if left out.
        units: Units of parameters by name as powers, for the scale identities.

    Returns:
        A potential that refuses pressure, strain and box; ``from_jax_md_displacement`` makes one that has them.

    Notes:
        Some of jax-md's whole-system functions (Lennard-Jones) evaluate their law at the distance zero of a particle to
        itself: adjoint derivatives in their parameters are then NaN, and refused; forward ones are finite, and
        ``from_jax_md_displacement`` has both.
    """

    def function(position: Position, params: PyTree, box: Box) -> Scalar:
        return energy_fn(position, **params)

    return EnergyFunction(function, params, name, locality or Locality(), units or {})


def from_jax_md_displacement(
    make: Callable[[Displacement], Callable[..., Scalar]],
    params: Mapping[str, Any],
    *,
    name: str = "jax_md",
    locality: Locality | None = None,
    units: Mapping[str, Powers] | None = None,
) -> EnergyFunction:
    """Adapt a jax-md energy function that is made from a displacement, so that it follows the box.

    Args:
        make: ``make(displacement) -> energy_fn(position, **params)``, such as
            ``lambda displacement: jax_md.energy.morse_pair(displacement, alpha=5.0)``. The displacement is ours,
            between nearest images in the box of the state; of a particle from itself it is long, so that no law is
            evaluated at the distance zero.
        params: The keyword arguments to differentiate in.
        name: Prefix of parameter paths.
        locality: How far the influence of a particle reaches; not known if left out.
        units: Units of parameters by name as powers, for the scale identities.

    Returns:
        A potential with pressure, strain derivatives and elastic moduli.
    """

    def function(position: Position, params: PyTree, box: Box) -> Scalar:
        away = _FAR * (box.length if isinstance(box, PeriodicBox) else 1.0 + jnp.max(jnp.abs(position)))
        away = jax.lax.stop_gradient(away)

        def displacement(first: Array, second: Array, **handed_on: Any) -> Array:
            del handed_on  # jax-md gives a displacement the law's parameters and a time, too; a law checks its own
            # and tries it with vectors of several lengths
            if first.shape != (box.dimension,):
                raise ValueError(f"the displacement takes vectors of {box.dimension} components, not {first.shape}.")
            separation = first - second
            # a particle and itself are one point: nothing else is, which is checked before anything is computed
            same = jnp.all(jax.lax.stop_gradient(separation) == 0.0, axis=-1, keepdims=True)
            return jnp.where(same, away, box.displacement(separation))

        return make(displacement)(position, **params)

    return EnergyFunction(function, params, name, locality or Locality(), units or {}, parts_places=True)


def from_jax_md_neighbors(
    energy_fn: Callable[..., Scalar],
    params: Mapping[str, Any],
    locality: Locality,
    *,
    max_neighbors: int,
    with_self: bool = False,
    name: str = "jax_md",
) -> NeighborEnergyFunction:
    """Adapt a jax-md energy function that takes a dense neighbour list, at fixed box.

    Args:
        energy_fn: ``energy_fn(position, neighbor, **params)``, the second of the two functions that
            ``jax_md.energy.*_neighbor_list(..., format=partition.Dense)`` return, in real coordinates.
        params: The keyword arguments to differentiate in.
        locality: Its cutoff, and how many of them the influence of a particle travels.
        max_neighbors: Most neighbours of a particle within the cutoff; where there are more, energy and forces
            are NaN.
        with_self: Whether a particle is listed among its own neighbours, as ``eam_neighbor_list`` has it.
        name: Prefix of parameter paths.

    Returns:
        A potential that refuses pressure, strain and box, as that of ``from_jax_md``, and boxes below two cutoffs.
    """

    def function(configuration: Configuration, params: PyTree, pairs: PairList) -> Scalar:
        neighbors, fits = jax_md_neighbors(configuration, pairs, locality.cutoff, max_neighbors, with_self=with_self)
        # a factor, because the derivative of a chosen NaN would be zero
        return jnp.where(fits, 1.0, jnp.nan) * energy_fn(configuration.position, neighbors, **params)

    return NeighborEnergyFunction(function, params, locality, name, nearest_only=True, has_box=False)


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


def _check_returns(potential: Potential, configuration: Configuration, arguments: str) -> None:
    """Refuse a function that does not return one float64 number, before it is compiled.

    Raises:
        UserError: With what it returned, or how it failed.
    """
    wanted = f"write it in JAX as function({arguments}) -> one float64 number"
    try:
        found = jax.eval_shape(potential.energy, configuration, no_pairs(configuration.dimension))
    except UserError:
        raise
    except Exception as error:
        first = (str(error).splitlines() or [""])[0].removesuffix(".")
        raise UserError(f"the energy {potential.name!r} fails ({type(error).__name__}: {first}): {wanted}.") from error
    shape, kind = getattr(found, "shape", None), getattr(found, "dtype", None)
    if shape != () or kind != np.float64:
        what = "no number" if kind is None else f"{kind} of shape {shape}"
        raise UserError(f"the energy {potential.name!r} returns {what}: {wanted}.")


def _uses_box(potential: Potential, configuration: Configuration, pairs: PairList) -> bool:
    """Return whether the box's matrix enters any operation of the energy."""
    box = configuration.box
    if not isinstance(box, PeriodicBox):
        return True

    def along(matrix: Array) -> Scalar:
        # values do not matter, and those of a state that is being traced must stay where they are
        shapes = replaced(configuration, {"box": replaced(box, {"matrix": matrix})})
        return potential.energy(shapes, pairs)

    closed = jax.make_jaxpr(along)(jax.ShapeDtypeStruct(box.matrix.shape, box.matrix.dtype))
    return _enters(closed.jaxpr, closed.jaxpr.invars[0])


def _enters(jaxpr: Any, variable: Any) -> bool:
    """Return whether a variable of a jaxpr is used in it, looking into the functions that it calls."""
    if any(out is variable for out in jaxpr.outvars):
        return True
    for equation in jaxpr.eqns:
        places = [place for place, operand in enumerate(equation.invars) if operand is variable]
        if not places:
            continue
        called = equation.params.get("jaxpr")
        inner = getattr(called, "jaxpr", called)
        if inner is None or len(inner.invars) != len(equation.invars):
            return True
        if any(_enters(inner, inner.invars[place]) for place in places):
            return True
    return False


def _is_small(box: Box, cutoff: float) -> bool:
    return isinstance(box, PeriodicBox) and smallest_height(box) < 2 * cutoff


def _check_doubled(potential: EnergyFunction, configuration: Configuration) -> None:
    """Compare a cell, its particles moved a little, with two of it side by side, along every axis.

    Outer fields and energies of a fixed list of particles have no doubled cell; they are let pass.
    """
    box = configuration.box
    if not isinstance(box, PeriodicBox):
        return
    matrix, (n, d) = np.asarray(box.matrix), configuration.position.shape
    spacing = (abs(np.linalg.det(matrix)) / n) ** (1 / d)
    noise = _NOISE * spacing * np.random.default_rng(0).standard_normal((n, d))
    position = np.asarray(configuration.position) + noise
    height, slope = _value_and_slope(potential, position, box, matrix)
    size = np.abs(slope).sum()
    if not np.isfinite(height + size) or np.linalg.norm(slope.sum(axis=0)) > _AGREEMENT * size:
        return
    for axis in np.flatnonzero(box.periodic):
        image = matrix.copy()
        image[:, axis] *= 2
        try:
            twice, slopes = _value_and_slope(
                potential, np.concatenate([position, position + matrix[:, axis]]), box, image
            )
        except (TypeError, ValueError, IndexError) as error:
            logging.getLogger(__name__).debug("no doubled cell: %s", error)
            return
        unaware = not slopes[n:].any()
        if not unaware and abs(twice - 2 * height) > _AGREEMENT * max(abs(height), spacing * size):
            if not (potential.locality.is_known or potential.follows_box(configuration, no_pairs(d))):
                raise UserError(
                    f"the energy {potential.name!r} keeps a box of its own and does not say how far it reaches: nobody "
                    "can tell whether this cell is large enough. Give locality=Locality(cutoff), or build it with our "
                    "displacement (mdsens.energy.foreign.from_jax_md_displacement)."
                )
            raise UserError(
                f"the energy {potential.name!r} of this cell is {height:.10g}, but that of two such cells side by side "
                f"along axis {axis} is {twice:.10g} and not twice as much: it sees nearest images only, and the cell "
                "is too small for that. Repeat the cell until its heights are twice the range, write the "
                "energy as a pair law, or as a NeighborEnergyFunction, whose pairs know images."
            )


def _refuse_one_place(configuration: Configuration) -> None:
    position = np.asarray(configuration.position)
    reach = 1e-12 * (float(np.ptp(position, axis=0).max()) or 1.0)
    pairs = neighbor_pairs(position, configuration.box, reach)
    if pairs.mask.any():
        i, j = (int(index[np.argmax(pairs.mask)]) for index in (pairs.i, pairs.j))
        raise UserError(
            f"particles {i} and {j} lie at the same place; the force between them has no direction: move one of them."
        )


def _value_and_slope(
    potential: EnergyFunction, position: np.ndarray, box: PeriodicBox, matrix: np.ndarray
) -> tuple[float, np.ndarray]:
    value, slope = _compiled(potential, jnp.asarray(position), replaced(box, {"matrix": jnp.asarray(matrix)}))
    return float(value), np.asarray(slope)


@jax.jit
def _compiled(potential: EnergyFunction, position: Position, box: PeriodicBox) -> tuple[Scalar, Position]:
    return jax.value_and_grad(potential.function)(position, potential.params, box)
