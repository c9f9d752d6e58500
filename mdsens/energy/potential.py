"""What a potential is: a pytree of its own parameters that gives an energy; everything else is a derivative of it."""

from __future__ import annotations

import dataclasses
import re
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Float

from mdsens.energy.by_species import BySpecies
from mdsens.energy.declared import check_ranges, declared_fields
from mdsens.energy.entries import Entries, Law, is_entries
from mdsens.given import shown
from mdsens.neighbors import PairList, neighbor_pairs
from mdsens.types import Configuration, Position, Scalar, replaced

if TYPE_CHECKING:
    from mdsens.energy.sums import Sum


@dataclasses.dataclass(frozen=True)
class Locality:
    """How far the influence of a particle reaches, so that a Hessian is known to be sparse.

    Attributes:
        cutoff: Distance from which on two particles share no term of the energy through each other, units of length,
            > 0; infinite where it is not known.
        hops: How many such distances the influence travels, >= 1: one for sums over pairs; two where a term holds a
            particle with all its neighbours (angles about a centre, embedded atoms), because two neighbours of one
            centre then have a mixed second derivative while up to two cutoffs apart.

    Raises:
        ValueError: When the cutoff is not positive or the hops are less than one.
    """

    cutoff: float = float("inf")
    hops: int = 1

    def __post_init__(self) -> None:
        numbers = isinstance(self.cutoff, int | float) and isinstance(self.hops, int)
        if not (numbers and self.cutoff > 0 and self.hops >= 1):
            raise ValueError(
                f"locality has cutoff {self.cutoff!r} and hops {self.hops!r}; the cutoff must be greater than 0 and "
                "the hops at least 1, a whole number."
            )

    @property
    def is_known(self) -> bool:
        """Whether the cutoff is finite."""
        return self.cutoff < float("inf")

    def coupling(self, configuration: Configuration) -> sp.csr_array | None:
        """Return which particles may have a mixed second derivative, shape (n, n), boolean; None where not known."""
        if not self.is_known:
            return None
        n = configuration.n_particles
        pairs = neighbor_pairs(configuration.position, configuration.box, self.cutoff)
        near = coupled(n, np.asarray(pairs.i)[pairs.mask], np.asarray(pairs.j)[pairs.mask])
        reached = near
        for _ in range(self.hops - 1):
            reached = sp.csr_array(reached @ near)
        return reached


def law_name(law: type) -> str:
    """Return what a law's class is called in paths, in TOML files and in results: ``fene_bond`` of ``FENEBond``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", law.__name__).lower()


def coupled(n: int, i: np.ndarray, j: np.ndarray) -> sp.csr_array:
    """Return the pattern of pairs of particles, shape (n, n), boolean, symmetric, diagonal stored."""
    every = np.arange(n)
    places = (np.concatenate([i, j, every]), np.concatenate([j, i, every]))
    return sp.csr_array((np.ones(len(places[0]), bool), places), shape=(n, n))


class Node(NamedTuple):
    """One parameter of a potential.

    Attributes:
        path: Its name, such as ``soft_sphere.sigma``.
        unit: Its unit in words, as ``mdsens.units.unit_text`` has it.
        value: Its entries, or a plain array.
    """

    path: str
    unit: str
    value: Entries | Array


class Potential(eqx.Module):
    """What particles feel: array leaves are the parameters that one differentiates in, static fields say what it is."""

    def __check_init__(self) -> None:
        check_ranges(self)

    def __add__(self, other: Potential) -> Sum:
        """Return the sum of both, each a term by its own name.

        Raises:
            ValueError: When the other is no potential, or both have a term of one name.
        """
        from mdsens.energy.sums import Sum

        check_potential(other)
        return Sum([*self.terms(), *other.terms()])

    @property
    def name(self) -> str:
        """Prefix of parameter paths: the class's name in words, ``soft_sphere`` of ``SoftSphere``."""
        return law_name(type(self))

    @property
    def fixed_because(self) -> str:
        """Why it does not follow the box, where it does not; part of a sentence."""
        return "it keeps one of its own"

    @property
    def remedy(self) -> str:
        """What to do about that, a sentence."""
        return (
            "Build it with our displacement (mdsens.energy.jax_md.from_jax_md_displacement) or use the box in "
            "function(position, params, box)."
        )

    @property
    def stiffness(self) -> float:
        """Curvature u'' where particles rest, units of epsilon/sigma^2: it sets the minimiser's unit of time."""
        return 1.0

    @property
    def scales(self) -> bool:
        """Whether all its lengths and energies are parameters, so that the scale identities hold.

        A law that declares its fields declares all of them (one with a length of its own besides says so here); of
        other energies units of both kinds must be known.
        """
        if any(declared_fields(self)):
            return True
        units = " ".join(node.unit for node in self.nodes())
        return "length" in units and "energy" in units

    @abstractmethod
    def energy(self, configuration: Configuration, pairs: PairList) -> Scalar:
        """Return the potential energy of a configuration."""

    def terms(self) -> tuple[tuple[str, Potential], ...]:
        """Return the terms that it is a sum of, by name: itself."""
        return ((self.name, self),)

    def nodes(self) -> list[Node]:
        """Return the parameters in the order of the leaves."""
        units = {name: declared.unit for name, declared in declared_fields(self)}
        flat, _ = jax.tree_util.tree_flatten_with_path(self, is_leaf=is_entries)
        return [
            Node(".".join([self.name, *_names(keys)]), units.get(_names(keys)[0], self.unit_of(keys)), value)
            for keys, value in flat
        ]

    def unit_of(self, keys: tuple[Any, ...]) -> str:
        """Return the unit of a parameter whose field declares none: it has none."""
        return "none"

    @property
    def lists_pairs(self) -> bool:
        """Whether the energy is a function of listed pairs."""
        return False

    def list_range(self, configuration: Configuration) -> float:
        """Return how far pairs must be listed, units of length; infinite where the energy takes no list."""
        return float("inf")

    def pair_ranges(self, configuration: Configuration, pairs: PairList) -> Float[Array, " m"]:
        """Return how far each of these pairs must be listed, units of length."""
        return jnp.full(pairs.mask.shape, self.list_range(configuration))

    def coupling(self, configuration: Configuration) -> sp.csr_array | None:
        """Return which particles may have a mixed second derivative, shape (n, n), boolean; None where not known."""
        return None

    def follows_box(self, configuration: Configuration, pairs: PairList) -> bool:
        """Return whether the energy has a derivative in the box, so that pressure, strain and moduli exist."""
        return True

    def check_cell(self, configuration: Configuration) -> None:
        """Refuse a cell for which the energy would be wrong; energies over listed pairs are right in every cell."""

    def check_entries(self, configuration: Configuration) -> None:
        """Refuse parameters that no system of these particles can have.

        Raises:
            ValueError: When a parameter has more or fewer entries than its kind needs, or not 64 bits.
        """
        n_species, n = len(configuration.species_names), configuration.n_particles
        for path, _, value in self.nodes():
            for leaf in jax.tree.leaves(value):
                if not isinstance(leaf, jax.Array) or (leaf.dtype.kind == "f" and leaf.dtype != jnp.float64):
                    raise ValueError(
                        f"parameter {path} = {shown(leaf)} is a {type(leaf).__name__}; parameters must be float64 JAX "
                        "arrays: wrap it as jnp.asarray(value, dtype=float)."
                    )
            needed = value.shape_for(n_species, n) if isinstance(value, Entries) else None
            if isinstance(value, Entries) and needed is not None and jnp.shape(value.values) != needed:
                raise ValueError(
                    f"the parameter {path} ({type(value).__name__}) has entries of shape {jnp.shape(value.values)}; "
                    f"it must be {needed} for {n_species} species and {n} particles."
                )

    def for_species(self: Law, names: tuple[str, ...]) -> Law:
        """Return the potential with values that were given by names of species in the order of these names.

        Raises:
            ValueError: When a species has no value, or a name is none of these.
        """
        ordered = lambda node: node.ordered(names) if isinstance(node, BySpecies) else node  # noqa: E731
        return cast(Law, jax.tree.map(ordered, self, is_leaf=is_entries))

    def energy_and_forces(self, configuration: Configuration, pairs: PairList) -> tuple[Scalar, Position]:
        """Return the energy and the forces -dU/dx, shape (n, d), units of energy per length."""
        along = lambda x: self.energy(replaced(configuration, {"position": x}), pairs)  # noqa: E731
        value, gradient = jax.value_and_grad(along)(configuration.position)
        return value, -gradient


def check_potential(given: object) -> None:
    """Refuse what is no potential.

    Raises:
        ValueError: With what it takes instead: a law made from its parameters, or an adapter of a function.
    """
    if isinstance(given, Potential):
        return
    if isinstance(given, type) and issubclass(given, Potential):
        remedy = f"make one from its parameters, {given.__name__}(...)"
    elif isinstance(given, Mapping):
        remedy = "a dictionary of parameters belongs into a law, such as SoftSphere(**parameters)"
    else:
        remedy = (
            "take a law from potentials, or adapt a function, mdsens.energy.foreign.EnergyFunction(function, {...})"
            if callable(given)
            else "take a law from potentials, or a mdsens.energy.Sum of them"
        )
    raise ValueError(f"{shown(given)} is no potential: {remedy}.")


def _names(keys: tuple[Any, ...]) -> list[str]:
    """Return the names along a path of the pytree; what is called ``params`` holds parameters by name."""
    names = [str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", key)))) for key in keys]
    return names[1:] if names[0] == "params" and len(names) > 1 else names
