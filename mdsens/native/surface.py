"""Energy and forces of a state's law as a function of the position, in machine code."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mdsens.energy import State
from mdsens.native import rules
from mdsens.native.law import native_law
from mdsens.native.listing import Listing


def native_surface(state: State) -> Callable[[np.ndarray], tuple[float, np.ndarray]] | None:
    """Return a function from positions (n, d) to the energy and the forces, those held zero; None without code.

    Args:
        state: The law and the pairs, which are not listed anew.
    """
    code, configuration = native_law(state), state.configuration
    if code is None:
        return None
    paired = code.paired(Listing.of(state.pairs, configuration.box, configuration.n_particles))
    free = free_components(state)

    def surface(position: np.ndarray) -> tuple[float, np.ndarray]:
        force = np.empty_like(position)
        return rules.evaluated(code.evaluate, position, *paired, code.shared, free, force, 1.0), force

    return surface


def free_components(state: State) -> np.ndarray:
    """Return 1 for components that may move and 0 for held ones, shape (n, d); (0, d) where all may."""
    held = state.configuration.held
    if held is None:
        return np.zeros((0, state.configuration.dimension))
    return np.array(~np.asarray(held), dtype=float, order="C")
