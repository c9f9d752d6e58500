r"""How a law of infinite range ends: switched off smoothly, cut, or shifted to zero.

.. math:: u(r) = \begin{cases} u_\infty(r)\, s^3 (10 - 15 s + 6 s^2) & \text{smooth} \\
                               u_\infty(r) & \text{cut} \\ u_\infty(r) - u_\infty(r_c) & \text{shifted} \end{cases}
          \qquad s = \frac{r_c - r}{r_c - r_o}\ \text{held within}\ [0, 1]

below the cutoff :math:`r_c`, zero from there on. The quintic falls from 1 at the onset :math:`r_o` to 0 at the cutoff
with two continuous derivatives at both. Onset and cutoff are given in units of the law's length.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal, get_args

import jax.numpy as jnp
from jaxtyping import Array

from mdsens.energy import PairPotential, setting

Truncation = Literal["smooth", "cut", "shifted"]


class TruncatedPotential(PairPotential):
    """A pair law that ends at a cutoff.

    Attributes:
        onset: Where the switch begins, units of the law's length, at least that of the minimum, which stays untouched.
        cutoff: Where the law ends, same units, > onset.
        truncation: "smooth" (the switch), "cut" (none), or "shifted" (none, and continuous at the cutoff); the onset
            means nothing to the latter two.

    Raises:
        ValueError: When onset and cutoff are out of order, the onset lies inside the minimum, or there is no such
            truncation.
    """

    contact: ClassVar[bool] = False
    minimum: ClassVar[float]  # where the law is lowest, units of its length

    onset: float = setting("where the switch begins, units of sigma", default=2.0, at_least=1.0, at_most=100)
    cutoff: float = setting(
        "where the law ends, units of sigma, greater than onset", default=2.5, at_least=1.0, at_most=100
    )
    truncation: Truncation = setting(
        "how the law ends: smooth (switched off from the onset), cut, or shifted to zero there", default="smooth"
    )

    def __check_init__(self) -> None:
        if self.truncation not in get_args(Truncation):
            raise ValueError(f"truncation is {self.truncation!r}; it must be one of {', '.join(get_args(Truncation))}.")
        onset = self.onset if self.truncation == "smooth" else self.minimum
        if not self.minimum <= onset < self.cutoff < float("inf"):
            raise ValueError(
                f"onset is {self.onset} and cutoff {self.cutoff} (units of sigma); {self.minimum:.5g} <= onset < "
                "cutoff must hold, and the cutoff must be finite."
            )

    @property
    def smoothness(self) -> int:
        """Number of continuous derivatives at the onset and at the cutoff; 0 where the law is cut."""
        return 2 if self.truncation == "smooth" else 0

    @abstractmethod
    def whole(self, distance: Array) -> Array:
        """Return the law of infinite range, of a law expanded to the pairs."""

    def pair_energy(self, distance: Array) -> Array:
        """Return u(r), units of energy; zero at and beyond the cutoff."""
        if self.truncation != "smooth":
            edge = self.whole(self.cutoff * self.pair_length) if self.truncation == "shifted" else 0.0
            return jnp.where(distance < self.cutoff * self.pair_length, self.whole(distance) - edge, 0.0)
        rest = jnp.clip((self.cutoff - distance / self.pair_length) / (self.cutoff - self.onset), 0.0, 1.0)
        # in powers of the rest: no cancellation at the cutoff
        return self.whole(distance) * rest**3 * (10.0 - 15.0 * rest + 6.0 * rest**2)
