r"""Lennard-Jones particles, switched off smoothly between an onset and a cutoff, or cut there, shifted or not.

.. math:: u(r) = 4\epsilon\left[\left(\frac{\sigma}{r}\right)^{12} - \left(\frac{\sigma}{r}\right)^{6}\right] S(r),
          \qquad S = s^3 (10 - 15 s + 6 s^2), \quad
          s = \frac{r_c - r/\sigma}{r_c - r_o}\ \text{held within}\ [0, 1]

r: distance between centres, sigma: distance at which u changes sign (units of length; the minimum is at
:math:`2^{1/6}\sigma`), epsilon: depth of the minimum, :math:`r_o` and :math:`r_c`: onset and cutoff in units of sigma.
The quintic S falls from 1 at the onset to 0 at the cutoff with two continuous derivatives at both. Nothing is shifted.
With ``truncation`` "cut" the bare law ends at the cutoff, with "shifted" less its value there: for comparison with
other programs and for crystals, whose shells stay clear of the cutoff; the force jumps there.
Source: J. E. Jones, Proc. R. Soc. Lond. A 106, 463 (1924), doi:10.1098/rspa.1924.0082; mixtures with independent pairs:
W. Kob, H. C. Andersen, Phys. Rev. E 51, 4626 (1995), doi:10.1103/PhysRevE.51.4626.
"""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PyTree
from pydantic import Field

from mdsens.config import Section
from mdsens.energy import PairPotential
from mdsens.parameters import PairParameter
from potentials.mixing import Mixing, Positive, pair_energies, pair_lengths

Truncation = Literal["smooth", "cut", "shifted"]


class Params(eqx.Module):
    """Parameters of Lennard-Jones particles.

    Attributes:
        sigma: Distance at which u changes sign, units of length, > 0.
        epsilon: Depth of the minimum, units of energy, > 0.
    """

    sigma: PairParameter
    epsilon: PairParameter


class LennardJones(PairPotential):
    r"""The law :math:`4\epsilon[(\sigma/r)^{12} - (\sigma/r)^6]` times a switch between onset and cutoff.

    Attributes:
        onset: Where the switch begins, units of sigma, at least :math:`2^{1/6}`, so that the minimum is untouched.
        cutoff: Where the law ends, units of sigma, > onset.
        truncation: "smooth" (the switch), "cut" (none), or "shifted" (none, and continuous at the cutoff); the onset
            means nothing to the latter two.

    Raises:
        ValueError: When onset and cutoff are out of order, the onset lies inside the minimum, or there is no such
            truncation.
    """

    units: ClassVar[dict[str, str]] = {"sigma": "length", "epsilon": "energy"}
    contact: ClassVar[bool] = False

    onset: float = eqx.field(static=True, default=2.0)
    cutoff: float = eqx.field(static=True, default=2.5)
    truncation: Truncation = eqx.field(static=True, default="smooth")

    def __check_init__(self) -> None:
        if self.truncation not in get_args(Truncation):
            raise ValueError(f"truncation is {self.truncation!r}; it must be one of {', '.join(get_args(Truncation))}.")
        onset = self.onset if self.truncation == "smooth" else 2 ** (1 / 6)
        if not 2 ** (1 / 6) <= onset < self.cutoff < float("inf"):
            raise ValueError(
                f"onset is {self.onset} and cutoff {self.cutoff} (units of sigma); 2^(1/6) = 1.1225 <= onset < cutoff "
                "must hold, and the cutoff must be finite."
            )

    @property
    def name(self) -> str:
        """Prefix of parameter paths."""
        return "lennard_jones"

    @property
    def stiffness(self) -> float:
        r"""Curvature of a compressed pair: twice that at the minimum, :math:`36\cdot 2^{2/3}` epsilon/sigma^2."""
        return 72.0 * 2.0 ** (2 / 3)

    @property
    def smoothness(self) -> int:
        """Number of continuous derivatives at the onset and at the cutoff; 0 where the law is cut."""
        return 2 if self.truncation == "smooth" else 0

    def pair_energy(self, distance: Array, params: PyTree) -> Array:
        """Return u(r), units of energy; zero at and beyond the cutoff."""
        attraction = (params.sigma / distance) ** 6
        if self.truncation != "smooth":
            edge = self.cutoff**-6 if self.truncation == "shifted" else 0.0
            bare = attraction**2 - attraction - (edge**2 - edge)
            return 4.0 * params.epsilon * jnp.where(distance < self.cutoff * params.sigma, bare, 0.0)
        rest = jnp.clip((self.cutoff - distance / params.sigma) / (self.cutoff - self.onset), 0.0, 1.0)
        switch = rest**3 * (10.0 - 15.0 * rest + 6.0 * rest**2)  # in powers of the rest: no cancellation at the cutoff
        return 4.0 * params.epsilon * (attraction**2 - attraction) * switch

    def pair_length(self, params: PyTree) -> Array:
        """Return sigma, units of length."""
        return params.sigma


Law = LennardJones


class Options(Section):
    """The ``[potential]`` section for ``kind = "lennard_jones"``."""

    kind: Literal["lennard_jones"] = "lennard_jones"
    onset: float = Field(2.0, ge=1.13, le=100, description="where the switch begins, units of sigma")
    cutoff: float = Field(2.5, ge=1.13, le=100, description="where the law ends, units of sigma, greater than onset")
    truncation: Truncation = Field(
        "smooth", description="how the law ends: smooth (switched off from the onset), cut, or shifted to zero there"
    )
    mixing: Mixing = Field(
        "additive", description="sigma of unlike species: mean of the two diameters, or an independent entry"
    )
    sigma: tuple[Positive, ...] | None = Field(
        None, description="diameters; default: those of the system. independent: AA, AB, BB, ..."
    )
    epsilon: Positive | tuple[Positive, ...] = Field(
        1.0, description="depth: one number, one per species (geometric mean), or one per pair (AA, AB, BB, ...)"
    )


def build(options: Options, diameters: Array, n_species: int) -> tuple[LennardJones, Params]:
    """Make the law and its parameters.

    Args:
        options: The validated ``[potential]`` section.
        diameters: Diameter per species, shape (s,), or per particle, shape (n,), as the system defines them.
        n_species: Number of species s.

    Returns:
        The law and its parameters.

    Raises:
        ValueError: When a list has the wrong number of entries, one of them is not finite and positive, or the onset is
            not below the cutoff.
    """
    return LennardJones(options.onset, options.cutoff, options.truncation), Params(
        pair_lengths(options.mixing, options.sigma, diameters, n_species), pair_energies(options.epsilon, n_species)
    )
