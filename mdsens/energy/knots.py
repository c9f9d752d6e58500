"""How the values of a tabulated or splined function are stored: one entry per knot."""

from __future__ import annotations

import equinox as eqx
from jaxtyping import Array, Float

from mdsens.energy.entries import Entries, numbers_of


def _per_knot(values: object) -> Float[Array, " k"]:
    return numbers_of(values, "PerKnot")


class PerKnot(Entries):
    """One value per knot of a function that all pairs share.

    Attributes:
        values: One entry per knot, shape (k,).
    """

    values: Float[Array, " k"] = eqx.field(converter=_per_knot)

    def labels(self, species_names: tuple[str, ...]) -> tuple[str, ...]:
        """Return ``[0]``, ``[1]``, ..."""
        return tuple(f"[{k}]" for k in range(self.values.shape[0]))

    def shape_for(self, n_species: int, n_particles: int) -> None:
        """Return None: there may be any number of knots."""
