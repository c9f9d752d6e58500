r"""How a law of infinite range ends: switched off, cut, or shifted to zero.

.. math:: u(r) = \begin{cases}
          u_\infty(r)\, s^3 (10 - 15 s + 6 s^2) & \text{smooth} \\
          u_\infty(r) & \text{cut} \\
          u_\infty(r) - u_\infty(r_c) & \text{shifted} \\
          u_\infty(r) - u_\infty(r_c) - u_\infty'(r_c)\,(r - r_c) & \text{force\_shifted} \\
          u_\infty(r) + \frac{a}{3} t^3 + \frac{b}{4} t^4 + c & \text{force\_switched} \end{cases}

below the cutoff :math:`r_c`, zero from there on. The quintic in :math:`s = (r_c - r)/(r_c - r_o)`, held within [0, 1],
falls from 1 at the onset :math:`r_o` to 0; a, b and c make u, u' and u'' zero at the cutoff with
:math:`t = \max(r - r_o, 0)`. Both have two continuous derivatives at both ends. Onset and cutoff are given in units of
the law's length.
Source: quintic: D. Mei, J. W. Davenport, G. W. Fernando, Phys. Rev. B 43, 4653 (1991), doi:10.1103/PhysRevB.43.4653;
shifted force: S. Toxvaerd, J. C. Dyre, J. Chem. Phys. 134, 081102 (2011), doi:10.1063/1.3558787; switched force: D. van
der Spoel, P. J. van Maaren, J. Chem. Theory Comput. 2, 1 (2006), doi:10.1021/ct0502256.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from mdsens.energy import PairPotential, parameter, setting

Truncation = Literal["smooth", "cut", "shifted", "force_shifted", "force_switched"]
_SMOOTHNESS = {"smooth": 2, "cut": 0, "shifted": 0, "force_shifted": 1, "force_switched": 2}
_SWITCHED = ("smooth", "force_switched")


class EndedPotential(PairPotential):
    """A pair law that ends at a cutoff.

    Attributes:
        truncation: "smooth" (switched off from the onset), "cut" (not at all), "shifted" (continuous at the cutoff),
            "force_shifted" (its force, too), or "force_switched" (its force is switched off from the onset). The onset
            means nothing to those in between.

    Raises:
        ValueError: When onset and cutoff are out of order, the onset lies inside the minimum, or there is no such
            truncation.
    """

    contact: ClassVar[bool] = False
    minimum: ClassVar[float] = 0.0  # where the law is lowest, units of its length, if that is always the same
    onset: eqx.AbstractVar[float]

    truncation: Truncation = setting(
        "how the law ends: smooth (switched off from the onset), cut, shifted to zero there, force_shifted (the force, "
        "too), or force_switched (the force is switched off from the onset)",
        default="smooth",
    )

    def __check_init__(self) -> None:
        if self.truncation not in get_args(Truncation):
            raise ValueError(f"truncation is {self.truncation!r}; it must be one of {', '.join(get_args(Truncation))}.")
        onset = self.onset if self.truncation in _SWITCHED else self.minimum
        if not self.minimum <= onset < self.cutoff < float("inf"):
            raise ValueError(
                f"onset is {self.onset} and cutoff {self.cutoff} (units of sigma); {self.minimum:.5g} <= onset < "
                "cutoff must hold, and the cutoff must be finite."
            )

    @property
    def smoothness(self) -> int:
        """Number of continuous derivatives at the onset and at the cutoff; 0 where the law is cut."""
        return _SMOOTHNESS[self.truncation]

    @abstractmethod
    def whole(self, distance: Array) -> Array:
        """Return the law of infinite range, of a law expanded to the pairs."""

    def pair_energy(self, distance: Array) -> Array:
        """Return u(r), units of energy; zero at and beyond the cutoff."""
        if self.truncation == "smooth":
            rest = jnp.clip((self.cutoff - distance / self.pair_length) / (self.cutoff - self.onset), 0.0, 1.0)
            # in powers of the rest: no cancellation at the cutoff
            return self.whole(distance) * rest**3 * (10.0 - 15.0 * rest + 6.0 * rest**2)
        inside = distance < self.cutoff * self.pair_length
        return jnp.where(inside, self.whole(distance) + self._added(distance), 0.0)

    def _added(self, distance: Array) -> Array | float:
        edge = self.cutoff * self.pair_length
        if self.truncation == "cut":
            return 0.0
        if self.truncation == "shifted":
            return -self.whole(edge)
        slope = _derivative(self.whole)
        if self.truncation == "force_shifted":
            return -self.whole(edge) - slope(edge) * (distance - edge)
        span, beyond = (self.cutoff - self.onset) * self.pair_length, distance - self.onset * self.pair_length
        beyond = jnp.maximum(beyond, 0.0)
        first, second = span * slope(edge), span**2 * _derivative(slope)(edge)
        cubic, quartic = (second - 3.0 * first) / 3.0, (2.0 * first - second) / 4.0
        part = beyond / span
        return part**3 * (cubic + quartic * part) - self.whole(edge) + 0.5 * first - second / 12.0


class TruncatedPotential(EndedPotential):
    """A pair law with a length sigma, in units of which it ends.

    Attributes:
        onset: Where the switch begins, units of sigma, at least that of the minimum, which stays untouched.
        cutoff: Where the law ends, same units, > onset.
    """

    sigma: eqx.AbstractVar[Any]  # type: ignore[misc]  # fields with a default are given by name

    onset: float = setting("where the switch begins, units of sigma", default=2.0, at_least=1.0, at_most=100)
    cutoff: float = setting(
        "where the law ends, units of sigma, greater than onset", default=2.5, at_least=1.0, at_most=100
    )

    @property
    def pair_length(self) -> Array:
        """Sigma, units of length."""
        return self.sigma


class RangedPotential(EndedPotential):
    """A pair law that ends at a range of its own, a parameter like any other.

    Attributes:
        range: Where the law ends, units of length, > 0.
        onset: Where the switch begins, units of the range.
    """

    range: Any = parameter("where the law ends", unit={"length": 1}, above=0, kw_only=True)
    onset: float = setting("where the switch begins, units of the range", default=0.8, above=0, at_most=1)

    @property
    def cutoff(self) -> float:
        """One: where the law ends in units of the range."""
        return 1.0

    @property
    def pair_length(self) -> Array:
        """The range, units of length."""
        return self.range


def largest(node: Any) -> Array:
    """Return the largest entry of a parameter, held under differentiation: laws say by it how stiff they are."""
    return jax.lax.stop_gradient(jnp.max(jnp.asarray(node.values)))


def _derivative(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Return the derivative of a function of single distances."""
    return lambda r: jax.jvp(function, (r,), (jnp.ones_like(r),))[1]
