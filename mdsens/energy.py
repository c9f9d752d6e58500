r"""A potential over a pair list gives an energy; everything else is a derivative of it.

There is one energy path, :math:`U = \sum_{(i,j)} u(r_{ij}; p_{ij})`, for all pairs and for neighbour lists; and an
adapter for energy functions written elsewhere, jax-md's among them.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from mdsens.pairs import PairList, jax_md_neighbors
from mdsens.parameters import Parameters, at_pairs
from mdsens.types import Box, Components, Configuration, PeriodicBox, Position, Scalar, replaced


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
        if not (self.cutoff > 0 and self.hops >= 1):
            raise ValueError(
                f"locality has cutoff {self.cutoff} and hops {self.hops}; the cutoff must be greater than 0 and the "
                "hops at least 1."
            )

    @property
    def is_known(self) -> bool:
        """Whether the cutoff is finite."""
        return self.cutoff < float("inf")


class Potential(eqx.Module):
    """What particles feel. Static data are fields; differentiable parameters travel beside it as ``params``.

    Attributes:
        units: Unit of every field of ``params`` ("length", "energy" or "none"), for the scale identities.
    """

    units: eqx.AbstractClassVar[dict[str, str]]

    @property
    @abstractmethod
    def name(self) -> str:
        """Prefix of parameter paths, such as ``soft_sphere``."""

    @property
    def stiffness(self) -> float:
        """Curvature u'' where particles rest, units of epsilon/sigma^2: it sets the minimiser's unit of time."""
        return 1.0

    @property
    def locality(self) -> Locality:
        """How far the influence of a particle reaches; by default it is not known."""
        return Locality()

    @abstractmethod
    def energy(self, configuration: Configuration, params: PyTree, pairs: PairList) -> Scalar:
        """Return the potential energy of a configuration."""

    def energy_and_forces(
        self, configuration: Configuration, params: PyTree, pairs: PairList
    ) -> tuple[Scalar, Position]:
        """Return the energy and the forces -dU/dx, shape (n, d), units of energy per length."""
        along = lambda x: self.energy(replaced(configuration, {"position": x}), params, pairs)  # noqa: E731
        value, gradient = jax.value_and_grad(along)(configuration.position)
        return value, -gradient


class PairPotential(Potential):
    """A law u(r) between two particles, zero from ``cutoff`` times the pair's length on.

    Attributes:
        contact: True for purely repulsive laws of finite range, for which rattlers are found by counting contacts.
    """

    contact: eqx.AbstractClassVar[bool]

    @property
    @abstractmethod
    def cutoff(self) -> float:
        """Range of the law in units of the pair's length parameter."""

    @property
    @abstractmethod
    def smoothness(self) -> int:
        """Number of continuous derivatives of u at the cutoff: the Hessian needs two; one means a kink there."""

    @property
    def kinks(self) -> tuple[float, ...]:
        """Distances, in units of the pair's length, at which u'' jumps or a contact begins; crossed, x*(p) has one."""
        return (self.cutoff,) if self.contact or self.smoothness < 2 else ()

    @abstractmethod
    def pair_energy(self, distance: Array, params: PyTree) -> Array:
        """Return u(r) for parameters already expanded to the pairs; must be finite for every r > 0."""

    @abstractmethod
    def pair_length(self, params: PyTree) -> Array:
        """Return the length that the cutoff multiplies (sigma) for parameters expanded to the pairs."""

    def energy(self, configuration: Configuration, params: PyTree, pairs: PairList) -> Scalar:
        r"""Return U = sum over listed pairs of u(r_ij), units of energy."""
        expanded = at_pairs(params, configuration.species, pairs.i, pairs.j)
        return self._masked_energy(pair_distances(configuration, pairs), expanded, pairs)

    def energy_and_forces(
        self, configuration: Configuration, params: PyTree, pairs: PairList
    ) -> tuple[Scalar, Position]:
        r"""Return U and :math:`F_i = -\sum_j u'(r_{ij})\, r_{ij}/|r_{ij}|`: equal to -dU/dx, twice as fast."""
        expanded = at_pairs(params, configuration.species, pairs.i, pairs.j)
        components = pair_components(configuration, pairs)
        return self._from_components(components, expanded, pairs, configuration.n_particles)

    def with_fixed_images(
        self, configuration: Configuration, params: PyTree, pairs: PairList
    ) -> Callable[[Position], tuple[Scalar, Position]]:
        """Return energy and forces as a function of the position alone, for use inside a loop.

        Everything that stays the same while the list does is done once: the parameters of every pair, and which image
        of its partner a particle sees. That holds while every listed pair stays closer than half the box.
        """
        expanded = at_pairs(params, configuration.species, pairs.i, pairs.j)
        coordinates = tuple(configuration.position.T)
        apart = tuple(x[pairs.i] - x[pairs.j] for x in coordinates)
        shifts = tuple(a - c for a, c in zip(apart, configuration.box.nearest(apart), strict=True))
        # padding is moved to where it has a distance, so that no mask is needed for it
        shifts = tuple(jnp.where(pairs.mask, s, -1.0 if axis == 0 else 0.0) for axis, s in enumerate(shifts))

        def evaluate(position: Position) -> tuple[Scalar, Position]:
            components = tuple(x[pairs.i] - x[pairs.j] - s for x, s in zip(position.T, shifts, strict=True))
            return self._from_components(components, expanded, pairs, configuration.n_particles)

        return evaluate

    def _from_components(
        self, components: Components, expanded: PyTree, pairs: PairList, n: int
    ) -> tuple[Scalar, Position]:
        distance = jnp.sqrt(sum(c * c for c in components))
        value, slope = jax.value_and_grad(self._masked_energy)(distance, expanded, pairs)
        push = -slope / distance
        nothing = jnp.zeros(n)
        force = [nothing.at[pairs.i].add(push * c).at[pairs.j].add(-push * c) for c in components]
        return value, jnp.stack(force, axis=1)

    def _masked_energy(self, distance: Array, expanded: PyTree, pairs: PairList) -> Scalar:
        # padding sits at a harmless distance before the law is evaluated, and counts zero after
        safe = jnp.where(pairs.mask, distance, self.cutoff * self.pair_length(expanded))
        return jnp.sum(jnp.where(pairs.mask, self.pair_energy(safe, expanded), 0.0))

    def reach(self, configuration: Configuration, params: PyTree, pairs: PairList) -> Array:
        """Return the interaction range of every listed pair, shape (m,), units of length."""
        expanded = at_pairs(params, configuration.species, pairs.i, pairs.j)
        return jnp.broadcast_to(self.cutoff * self.pair_length(expanded), pairs.i.shape)


class EnergyFunction(Potential):
    """Adapter for an energy function written elsewhere.

    Attributes:
        function: ``function(position, params, box) -> energy``, any JAX function of real coordinates.
        name: Prefix of parameter paths.
        locality: How far the influence of a particle reaches: with it the Hessian is sparse. It is checked.
    """

    function: Callable[..., Scalar] = eqx.field(static=True)
    name: str = eqx.field(static=True, default="energy_function")
    locality: Locality = eqx.field(static=True, default=Locality())
    units: ClassVar[dict[str, str]] = {}

    def energy(self, configuration: Configuration, params: PyTree, pairs: PairList) -> Scalar:
        """Return the function's energy; the pair list is not used."""
        return self.function(configuration.position, params, configuration.box)


class NeighborEnergyFunction(Potential):
    """Adapter for an energy function that takes a list of neighbours: its cost grows as the number of particles.

    Attributes:
        function: ``function(configuration, params, pairs) -> energy``; the list holds every pair of nearest images
            within the cutoff, some beyond it, and padding (``pairs.mask``).
        locality: How far the influence of a particle reaches; its cutoff, finite, is that of the list.
        name: Prefix of parameter paths.
    """

    function: Callable[..., Scalar] = eqx.field(static=True)
    locality: Locality = eqx.field(static=True, default=Locality())
    name: str = eqx.field(static=True, default="energy_function")
    units: ClassVar[dict[str, str]] = {}

    def __check_init__(self) -> None:
        if not self.locality.is_known:
            raise ValueError("an energy function of neighbours needs a finite cutoff: give Locality(cutoff, hops).")

    def energy(self, configuration: Configuration, params: PyTree, pairs: PairList) -> Scalar:
        """Return the function's energy over the listed pairs."""
        return self.function(configuration, params, pairs)


def from_jax_md(
    energy_fn: Callable[..., Scalar], *, name: str = "jax_md", locality: Locality | None = None
) -> EnergyFunction:
    """Adapt a jax-md energy function as it is.

    Args:
        energy_fn: ``energy_fn(position, sigma=..., epsilon=..., ...)`` as made by ``jax_md.energy.*_pair``; ``params``
            is then the dictionary of the keyword arguments to differentiate in. Its space must take real coordinates
            (not ``fractional_coordinates=True``, which makes derivatives L times too large). jax-md casts Python and
            NumPy floats to float32, so ``params`` must hold JAX float64 arrays (``State`` checks it).
        name: Prefix of parameter paths.
        locality: How far the influence of a particle reaches; not known if left out.

    Returns:
        A potential whose box derivative is zero: jax-md's energy functions keep their box in a closure.

    Notes:
        Some of jax-md's whole-system functions (Lennard-Jones) evaluate their law at the distance zero of a particle to
        itself: adjoint derivatives in their parameters are then NaN, and refused; forward ones are finite.
    """

    def function(position: Position, params: PyTree, box: Box) -> Scalar:
        return energy_fn(position, **params)

    return EnergyFunction(function, name, locality or Locality())


def from_jax_md_neighbors(
    energy_fn: Callable[..., Scalar],
    locality: Locality,
    *,
    max_neighbors: int,
    with_self: bool = False,
    name: str = "jax_md",
) -> NeighborEnergyFunction:
    """Adapt a jax-md energy function that takes a dense neighbour list.

    Args:
        energy_fn: ``energy_fn(position, neighbor, **params)``, the second of the two functions that
            ``jax_md.energy.*_neighbor_list(..., format=partition.Dense)`` return, in real coordinates.
        locality: Its cutoff, and how many of them the influence of a particle travels.
        max_neighbors: Most neighbours of a particle within the cutoff; where there are more, energy and forces
            are NaN.
        with_self: Whether a particle is listed among its own neighbours, as ``eam_neighbor_list`` has it.
        name: Prefix of parameter paths.

    Returns:
        A potential whose box derivative is zero, as for ``from_jax_md``.
    """

    def function(configuration: Configuration, params: PyTree, pairs: PairList) -> Scalar:
        neighbors, fits = jax_md_neighbors(
            configuration.position, configuration.box, pairs, locality.cutoff, max_neighbors, with_self=with_self
        )
        # a factor, because the derivative of a chosen NaN would be zero
        return jnp.where(fits, 1.0, jnp.nan) * energy_fn(configuration.position, neighbors, **params)

    return NeighborEnergyFunction(function, locality, name)


class State(eqx.Module):
    """A configuration with everything that determines its energy.

    Attributes:
        configuration: Positions, species, box.
        potential: The law.
        params: Its parameters, a pytree of float64 arrays.
        pairs: The pairs that interact; must hold every pair within range.

    Raises:
        ValueError: When a floating-point parameter is not a float64 JAX array.
    """

    configuration: Configuration
    potential: Potential
    params: PyTree
    pairs: PairList

    def __check_init__(self) -> None:
        for leaf in jax.tree.leaves(self.params):
            if not isinstance(leaf, jax.Array) or (leaf.dtype.kind == "f" and leaf.dtype != jnp.float64):
                raise ValueError(
                    f"parameter {leaf!r} is a {type(leaf).__name__}; parameters must be float64 JAX arrays: "
                    "wrap it as jnp.asarray(value, dtype=float)."
                )

    @property
    def parameters(self) -> Parameters:
        """The potential's parameters and the box, the things to differentiate in."""
        return Parameters(self.params, self.configuration.box)

    @property
    def position(self) -> Position:
        """Real coordinates, shape (n, d)."""
        return self.configuration.position

    def at(self, position: Position, parameters: Parameters) -> State:
        """Return the state with other positions and parameters (and the same pairs)."""
        configuration = replaced(self.configuration, {"position": position, "box": parameters.box})
        return replaced(self, {"configuration": configuration, "params": parameters.potential})

    def moved(self, position: Position, pairs: PairList) -> State:
        """Return the state at other positions, with the pairs listed there."""
        configuration = replaced(self.configuration, {"position": position})
        return replaced(self, {"configuration": configuration, "pairs": pairs})

    def with_pairs(self, pairs: PairList) -> State:
        """Return the state with another pair list."""
        return replaced(self, {"pairs": pairs})


def pair_components(configuration: Configuration, pairs: PairList) -> Components:
    """Return the d components of the nearest-image displacement x_i - x_j, each (m,); padding gets (1, 0, ..)."""
    coordinates = configuration.position.T
    separation = configuration.box.nearest(tuple(x[pairs.i] - x[pairs.j] for x in coordinates))
    return tuple(jnp.where(pairs.mask, c, 1.0 if axis == 0 else 0.0) for axis, c in enumerate(separation))


def pair_distances(configuration: Configuration, pairs: PairList) -> Float[Array, " m"]:
    """Return the nearest-image distance of every pair, shape (m,); padding gets 1."""
    return jnp.sqrt(sum(c * c for c in pair_components(configuration, pairs)))


def energy(state: State) -> Scalar:
    """Return the potential energy U, units of energy."""
    return state.potential.energy(state.configuration, state.params, state.pairs)


def energy_at(state: State, position: Position, parameters: Parameters) -> Scalar:
    """Return U(x, p) with species, law and pairs taken from ``state``: the function to differentiate."""
    return energy(state.at(position, parameters))


def gradient_at(state: State, position: Position, parameters: Parameters) -> Position:
    """Return dU/dx at (x, p), shape (n, d): the optimality condition of a relaxed state is that it vanishes."""
    return jax.grad(energy_at, argnums=1)(state, position, parameters)


def forces(state: State) -> Position:
    """Return the forces -dU/dx, shape (n, d), units of energy per length."""
    return energy_and_forces(state)[1]


def energy_and_forces(state: State) -> tuple[Scalar, Position]:
    """Return the energy and the forces -dU/dx from one evaluation of the pairs."""
    return state.potential.energy_and_forces(state.configuration, state.params, state.pairs)


def max_force(force: Position) -> Scalar:
    """Return the largest Euclidean norm of a particle's force."""
    return jnp.sqrt(jnp.max(jnp.sum(force**2, axis=-1)))


def pressure(state: State) -> Scalar:
    r"""Return the pressure P = -dU/dV under uniform scaling of box and positions, units of energy per volume.

    .. math:: P = -\frac{1}{d\,V}\,\frac{\partial}{\partial\lambda} U(\lambda x, \lambda B)\Big|_{\lambda = 1}

    Raises:
        ValueError: For a free system, which has no volume.
    """
    box = state.configuration.box
    if not isinstance(box, PeriodicBox):
        raise ValueError(
            "a free system has no volume and therefore no pressure; leave 'pressure' out of the observables."
        )

    def scaled(factor: Scalar) -> Scalar:
        return energy_at(state, state.position * factor, Parameters(state.params, PeriodicBox(box.matrix * factor)))

    return -jax.grad(scaled)(jnp.ones(())) / (box.dimension * box.volume)


def max_reach(potential: Potential, configuration: Configuration, params: PyTree) -> float:
    """Return the largest interaction range of any pair, units of length; infinite where pairs are not listed."""
    if isinstance(potential, NeighborEnergyFunction):
        return potential.locality.cutoff
    if not isinstance(potential, PairPotential):
        return float("inf")
    return float(largest_reach(potential, configuration, params))


@jax.jit
def largest_reach(potential: PairPotential, configuration: Configuration, params: PyTree) -> Scalar:
    """Take the maximum over like particles and over one representative per species: mixing never exceeds both."""
    n, n_species = configuration.n_particles, len(configuration.species_names)
    _, first = jnp.unique(configuration.species, size=n_species, return_index=True)
    i = jnp.concatenate([jnp.arange(n), jnp.repeat(first, n_species)])
    j = jnp.concatenate([jnp.arange(n), jnp.tile(first, n_species)])
    return jnp.max(potential.reach(configuration, params, PairList(i, j, jnp.ones(i.shape, bool))))
