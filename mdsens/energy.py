r"""A potential over a pair list gives an energy; everything else is a derivative of it.

There is one energy path, :math:`U = \sum_{(i,j,S)} u(r_{ijS}; p_{ij})`, over the pairs of a list, images included.
Energies that are no pair laws are those of ``mdsens.foreign``.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from mdsens.errors import UserError
from mdsens.neighbors import (
    PairList,
    every_pair,
    no_pairs,
    numbered_pairs,
    pair_components,
    pair_distances,
    pair_shifts,
)
from mdsens.parameters import Parameters, at_pairs, check_entries
from mdsens.types import Components, Configuration, PeriodicBox, Position, Scalar, replaced


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

    @property
    def lists_pairs(self) -> bool:
        """Whether the energy is a function of listed pairs."""
        return False

    def list_range(self, configuration: Configuration, params: PyTree) -> float:
        """Return how far pairs must be listed, units of length; infinite where the energy takes no list."""
        return float("inf")

    def follows_box(self, configuration: Configuration, params: PyTree, pairs: PairList) -> bool:
        """Return whether the energy has a derivative in the box, so that pressure, strain and moduli exist."""
        return True

    def check_cell(self, configuration: Configuration, params: PyTree) -> None:
        """Refuse a cell for which the energy would be wrong; energies over listed pairs are right in every cell."""

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

    def along(
        self, configuration: Configuration, params: PyTree, pairs: PairList
    ) -> Callable[[Position], tuple[Scalar, Position]]:
        """Return energy and forces as a function of the position alone, for use inside a loop.

        Everything that stays the same while the list does is done once: the parameters of every pair and B S.
        """
        expanded = at_pairs(params, configuration.species, pairs.i, pairs.j)
        # padding is moved to where it has a distance, so that no mask is needed for it
        shifts = tuple(
            jnp.where(pairs.mask, s, -1.0 if axis == 0 else 0.0)
            for axis, s in enumerate(pair_shifts(configuration.box, pairs))
        )

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

    @property
    def lists_pairs(self) -> bool:
        """Whether the energy is a function of listed pairs: it is."""
        return True

    def list_range(self, configuration: Configuration, params: PyTree) -> float:
        """Return the largest range of any pair."""
        return float(largest_reach(self, configuration, params))

    def _masked_energy(self, distance: Array, expanded: PyTree, pairs: PairList) -> Scalar:
        # padding sits at a harmless distance before the law is evaluated, and counts zero after
        safe = jnp.where(pairs.mask, distance, self.cutoff * self.pair_length(expanded))
        return jnp.sum(jnp.where(pairs.mask, self.pair_energy(safe, expanded), 0.0))

    def reach(self, configuration: Configuration, params: PyTree, pairs: PairList) -> Array:
        """Return the interaction range of every listed pair, shape (m,), units of length."""
        expanded = at_pairs(params, configuration.species, pairs.i, pairs.j)
        return jnp.broadcast_to(self.cutoff * self.pair_length(expanded), pairs.i.shape)


class State(eqx.Module):
    """A configuration with everything that determines its energy.

    Attributes:
        configuration: Positions, species, box.
        potential: The law.
        params: Its parameters, a pytree of float64 arrays.
        pairs: The pairs that interact; must hold every pair within range.

    Raises:
        ValueError: When a floating-point parameter is not a float64 JAX array, or one has a wrong number of entries.
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
        check_entries(self.params, len(self.configuration.species_names), self.configuration.n_particles)

    @classmethod
    def unlisted(cls, configuration: Configuration, potential: Potential, params: PyTree) -> State:
        """Return a state whose pairs are not listed yet: a law of pairs has no energy there."""
        return cls(configuration, potential, params, no_pairs(configuration.dimension))

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

    def with_every_pair(self, layers: int = 0) -> State:
        """Return the state with all n (n - 1)/2 pairs listed, and layers of further images: for a few particles."""
        return self.with_pairs(every_pair(self.position, self.configuration.box, layers))

    def with_pairs(self, pairs: PairList) -> State:
        """Return the state with another pair list."""
        return replaced(self, {"pairs": pairs})


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
    check_box_followed(state)

    def scaled(factor: Scalar) -> Scalar:
        return energy_at(state, state.position * factor, Parameters(state.params, PeriodicBox(box.matrix * factor)))

    return -jax.grad(scaled)(jnp.ones(())) / (box.dimension * box.volume)


def max_reach(potential: Potential, configuration: Configuration, params: PyTree) -> float:
    """Return the largest interaction range of any pair, units of length; infinite where pairs are not listed."""
    return potential.list_range(configuration, params)


def check_box_followed(state: State) -> None:
    """Refuse to differentiate in the box an energy that does not look at it.

    Raises:
        UserError: When the energy takes no notice of the box that it is given; the message names the remedy.
    """
    if not state.potential.follows_box(state.configuration, state.params, state.pairs):
        raise UserError(
            f"the energy {state.potential.name!r} does not follow the box: it keeps one of its own, so that pressure, "
            "stress, moduli, box parameters and relaxation at given pressure would be wrong. Build it with our "
            "displacement (mdsens.foreign.from_jax_md_displacement) or use the box in function(position, params, box)."
        )


@jax.jit
def largest_reach(potential: PairPotential, configuration: Configuration, params: PyTree) -> Scalar:
    """Take the maximum over like particles and over one representative per species: mixing never exceeds both."""
    n, n_species = configuration.n_particles, len(configuration.species_names)
    _, first = jnp.unique(configuration.species, size=n_species, return_index=True)
    i = jnp.concatenate([jnp.arange(n), jnp.repeat(first, n_species)])
    j = jnp.concatenate([jnp.arange(n), jnp.tile(first, n_species)])
    return jnp.max(potential.reach(configuration, params, numbered_pairs(i, j, configuration.dimension)))
