"""A start from the target alone: the parameters under which its particles feel least force, without a relaxation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import least_squares

from mdsens.energy import State
from mdsens.energy.paths import select
from mdsens.energy.strain import Unknowns, gradient_of
from mdsens.fitting.outcomes import FitSettings
from mdsens.fitting.target import Target
from mdsens.types import replaced

_REACH = 1.5  # of the starting range: pairs listed, so that lengths may grow on the way


def match_forces(target: Target, settings: FitSettings | None = None) -> np.ndarray:
    r"""Return the parameters that minimise :math:`|\partial U/\partial x|^2` at the target's positions, shape (k,).

    Where the box relaxes, what drives its strains counts, too, over the length of an edge. At fixed box forces are
    proportional to energies, so energies alone would shrink to zero: when every energy of the law is fitted, their
    geometric mean is held at its start. Solved by a trust-region reflective least squares with the Jacobian from
    automatic differentiation.

    Args:
        target: As for ``fit_positions``.
        settings: ``bounds`` are used.

    Returns:
        The parameters in their own units. They are as good as the target is relaxed, and no more than a start: nothing
        has been relaxed under them.
    """
    settings = settings or FitSettings()
    start = np.log(np.abs(target.selection.values))
    state = _listed_wide(target)
    scale = _energy_scale(target, state)
    length = 1.0 if target.barostat is None else target.edge

    @jax.jit
    def residual(logarithms: Any) -> Any:
        force, push = gradient_of(state, *Unknowns.of(state), target.parameters_at(logarithms))
        return jnp.concatenate([force.ravel(), push / length, scale @ (logarithms - start)])

    slope = jax.jit(jax.jacfwd(residual))
    found = least_squares(
        residual,
        start,
        jac=slope,
        bounds=(start + np.log(settings.bounds[0]), start + np.log(settings.bounds[1])),
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
        max_nfev=200,
    )
    return target.values_at(found.x)


def _listed_wide(target: Target) -> State:
    """Return the target's state with every pair listed that may come into range."""
    parameters = target.parameters
    wide = jax.tree.map(
        lambda leaf, rate: leaf * (1 + (_REACH - 1) * np.any(rate != 0)),
        parameters.potential,
        target.selection.tangents.potential,
    )
    pairs = target.listed(replaced(parameters, {"potential": wide})).pairs
    return target.listed(parameters).with_pairs(pairs)


def _energy_scale(target: Target, state: State) -> np.ndarray:
    """Return a row that holds the mean logarithm of the energies, shape (1, k), or none when some are known."""
    fitted = target.selection
    energies = [path for path, unit in zip(*_named(state), strict=True) if unit == "energy"]
    if target.barostat is not None or not energies or not set(energies) <= set(fitted.paths):
        return np.zeros((0, len(fitted.paths)))
    return np.array([[float(unit == "energy") for unit in fitted.units]])


def _named(state: State) -> tuple[tuple[str, ...], tuple[str, ...]]:
    every = select(state)
    return every.paths, every.units
