r"""Soft repulsive spheres: harmonic (alpha = 2) or Hertzian (alpha = 5/2) overlaps.

.. math:: u(r) = \frac{\epsilon}{\alpha}\left(1 - \frac{r}{\sigma}\right)^{\alpha}\ (r < \sigma),
          \qquad u(r) = 0\ (r \ge \sigma)

r: distance between centres, sigma: sum of radii (units of length), epsilon: energy scale, alpha: exponent (no unit).
Source: C. S. O'Hern, L. E. Silbert, A. J. Liu, S. R. Nagel, Phys. Rev. E 68, 011306 (2003),
doi:10.1103/PhysRevE.68.011306, eq. 1.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PyTree
from pydantic import Field

from mdsens.config import Section
from mdsens.energy import PairPotential
from mdsens.parameters import PairParameter
from potentials.mixing import Mixing, Positive, pair_energies, pair_lengths


class Params(eqx.Module):
    """Parameters of soft spheres.

    Attributes:
        sigma: Contact distance, units of length, > 0.
        epsilon: Energy scale, units of energy, > 0.
    """

    sigma: PairParameter
    epsilon: PairParameter


class SoftSphere(PairPotential):
    r"""The law :math:`u(r) = (\epsilon/\alpha)(1 - r/\sigma)^\alpha` inside sigma, zero outside.

    Attributes:
        alpha: Exponent, > 1. The number of continuous derivatives at contact is ceil(alpha) - 1: one for harmonic
            spheres (the second jumps), two for Hertzian ones.

    Raises:
        ValueError: When alpha is not above 1.
    """

    units: ClassVar[dict[str, str]] = {"sigma": "length", "epsilon": "energy"}
    contact: ClassVar[bool] = True

    alpha: float = eqx.field(static=True, default=2.0)

    def __check_init__(self) -> None:
        if not self.alpha > 1:
            raise ValueError(f"alpha is {self.alpha}; it must be greater than 1 (2: harmonic, 2.5: Hertzian).")

    @property
    def name(self) -> str:
        """Prefix of parameter paths."""
        return "soft_sphere"

    @property
    def cutoff(self) -> float:
        """Range in units of sigma."""
        return 1.0

    @property
    def smoothness(self) -> int:
        """Number of continuous derivatives at contact."""
        return int(-(-self.alpha // 1)) - 1

    def pair_energy(self, distance: Array, params: PyTree) -> Array:
        """Return u(r), units of energy; zero at and beyond contact."""
        touching = distance < params.sigma
        overlap = jnp.where(touching, 1.0 - distance / params.sigma, 1.0)
        return jnp.where(touching, params.epsilon / self.alpha * overlap**self.alpha, 0.0)

    def pair_length(self, params: PyTree) -> Array:
        """Return sigma, units of length."""
        return params.sigma


Law = SoftSphere


class Options(Section):
    """The ``[potential]`` section for ``kind = "soft_sphere"``."""

    kind: Literal["soft_sphere"] = "soft_sphere"
    alpha: float = Field(2.0, gt=1, le=10, description="exponent: 2 harmonic, 2.5 Hertzian")
    mixing: Mixing = Field(
        "additive", description="sigma of unlike species: mean of the two diameters, or an independent entry"
    )
    sigma: tuple[Positive, ...] | None = Field(
        None, description="diameters; default: those of the system. independent: AA, AB, BB, ..."
    )
    epsilon: Positive | tuple[Positive, ...] = Field(
        1.0, description="energy scale: one number, one per species (geometric mean), or one per pair (AA, AB, BB, ...)"
    )


def build(options: Options, diameters: Array, n_species: int) -> tuple[SoftSphere, Params]:
    """Make the law and its parameters.

    Args:
        options: The validated ``[potential]`` section.
        diameters: Diameter per species, shape (s,), or per particle, shape (n,), as the system defines them.
        n_species: Number of species s.

    Returns:
        The law and its parameters.

    Raises:
        ValueError: When a list has the wrong number of entries or one of them is not finite and positive.
    """
    return SoftSphere(options.alpha), Params(
        pair_lengths(options.mixing, options.sigma, diameters, n_species), pair_energies(options.epsilon, n_species)
    )
