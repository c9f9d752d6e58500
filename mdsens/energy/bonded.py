r"""Bonded terms: energies of fixed groups of particles, from a topology of the configuration.

.. math:: U = \sum_b u(r_b; p_b), \qquad r_b = |x_i - x_j - B S_b|

for bonds; the parameters are shared, one per kind of bond (``PerKind``) or one per bond (``PerBond``).
"""

from __future__ import annotations

from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array

from mdsens.energy.declared import setting
from mdsens.energy.group_parameters import GroupParameter, at_groups
from mdsens.energy.parameters import PairParameter, Uniform
from mdsens.energy.potential import Potential, coupled
from mdsens.neighbors import PairList
from mdsens.types import Components, Configuration, Groups, Scalar


class BondedPotential(Potential):
    """A sum over the groups of one of the configuration's topologies.

    Attributes:
        topology: Name of the topology, such as ``bonds``.
    """

    topology: eqx.AbstractVar[str]

    @property
    @abstractmethod
    def members(self) -> int:
        """Particles of a group: two of a bond, three of an angle."""

    @abstractmethod
    def group_energy(self, vectors: tuple[Components, ...]) -> Array:
        """Return the energy of every group, shape (m,), of a law expanded to the groups.

        Args:
            vectors: From every further member to the first one, x_0 - x_a - B S_a, components of shape (m,).
        """

    def energy(self, configuration: Configuration, pairs: PairList) -> Scalar:
        """Return the sum over the groups, units of energy."""
        groups = self.groups(configuration)
        vectors = groups.vectors(configuration.position, configuration.box)
        return jnp.sum(at_groups(self, groups.kind).group_energy(vectors))

    def groups(self, configuration: Configuration) -> Groups:
        """Return the groups that it sums over.

        Raises:
            ValueError: When the configuration has none of that name.
        """
        found = configuration.topology.get(self.topology)
        if found is None:
            known = ", ".join(configuration.topology) or "none"
            raise ValueError(
                f"{self.name} needs the topology {self.topology!r}, and the configuration has {known}: give "
                f"Configuration(..., topology={{{self.topology!r}: Groups.nearest(...)}})."
            )
        return found

    def coupling(self, configuration: Configuration) -> sp.csr_array | None:
        """Return the members of a group."""
        index = np.asarray(self.groups(configuration).index)
        first, second = np.triu_indices(index.shape[1], k=1)
        return coupled(configuration.n_particles, index[:, first].ravel(), index[:, second].ravel())

    def check_entries(self, configuration: Configuration) -> None:
        """Refuse parameters that do not fit the topology.

        Raises:
            ValueError: When groups have another number of members, a parameter belongs to pairs of particles, or there
                are more or fewer entries than groups or kinds.
        """
        super().check_entries(configuration)
        groups = self.groups(configuration)
        if groups.index.shape[1] != self.members:
            raise ValueError(
                f"the groups of topology {self.topology!r} have {groups.index.shape[1]} members; {self.name} needs "
                f"{self.members}."
            )
        for path, _, value in self.nodes():
            if isinstance(value, PairParameter) and not isinstance(value, Uniform):
                raise ValueError(
                    f"the parameter {path} is a {type(value).__name__}; a bonded term takes one number, PerKind or "
                    "PerBond."
                )
            if isinstance(value, GroupParameter) and not value.fits(len(groups.index), groups.n_kinds):
                raise ValueError(
                    f"the parameter {path} ({type(value).__name__}) has {len(value.values)} entries; the topology "
                    f"{self.topology!r} has {len(groups.index)} groups of {groups.n_kinds} kinds."
                )


class BondPotential(BondedPotential):
    """A sum over bonds, u(r) of each.

    Attributes:
        topology: Name of the topology, ``bonds`` by default.
    """

    topology: str = setting("groups that it sums over, by name", default="bonds")

    @property
    def members(self) -> int:
        """Two."""
        return 2

    @abstractmethod
    def bond_energy(self, distance: Array) -> Array:
        """Return u(r) of every bond, shape (m,), of a law expanded to the bonds."""

    def group_energy(self, vectors: tuple[Components, ...]) -> Array:
        """Return the energy of every bond, shape (m,)."""
        return self.bond_energy(jnp.sqrt(sum(c * c for c in vectors[0])))
