"""What is found out about an energy written elsewhere before it is believed.

An energy that knows nearest images only is wrong in a small box, and one that keeps its box in a closure has no
derivative in it; neither says so. Here both are found out: by evaluating a doubled cell, and by looking at what the
function does with the box it is given.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from mdsens.energy.potential import Potential
from mdsens.errors import UserError
from mdsens.neighbors import PairList, neighbor_pairs, no_pairs, smallest_height
from mdsens.types import Box, Configuration, PeriodicBox, Position, Scalar, replaced

_NOISE = 0.03  # of the mean spacing: particles are moved off places where forces cancel by symmetry
_AGREEMENT = 1e-6  # relative difference of a doubled cell's energy from twice the cell's: sums over waves are no better


def check_returns(potential: Potential, configuration: Configuration, arguments: str) -> None:
    """Refuse a function that does not return one float64 number, before it is compiled.

    Raises:
        UserError: With what it returned, or how it failed.
    """
    wanted = f"write it in JAX as function({arguments}) -> one float64 number"
    try:
        found = jax.eval_shape(potential.energy, configuration, no_pairs(configuration.dimension))
    except UserError:
        raise
    except Exception as error:
        first = (str(error).splitlines() or [""])[0].removesuffix(".")
        raise UserError(f"the energy {potential.name!r} fails ({type(error).__name__}: {first}): {wanted}.") from error
    shape, kind = getattr(found, "shape", None), getattr(found, "dtype", None)
    if shape != () or kind != np.float64:
        what = "no number" if kind is None else f"{kind} of shape {shape}"
        raise UserError(f"the energy {potential.name!r} returns {what}: {wanted}.")


def uses_box(
    energy: Callable[[Configuration, PairList], Scalar], configuration: Configuration, pairs: PairList
) -> bool:
    """Return whether the box's matrix enters any operation of the energy."""
    box = configuration.box
    if not isinstance(box, PeriodicBox):
        return True

    def along(matrix: Array) -> Scalar:
        # values do not matter, and those of a state that is being traced must stay where they are
        shapes = replaced(configuration, {"box": replaced(box, {"matrix": matrix})})
        return energy(shapes, pairs)

    closed = jax.make_jaxpr(along)(jax.ShapeDtypeStruct(box.matrix.shape, box.matrix.dtype))
    return _enters(closed.jaxpr, closed.jaxpr.invars[0])


def _enters(jaxpr: Any, variable: Any) -> bool:
    """Return whether a variable of a jaxpr is used in it, looking into the functions that it calls."""
    if any(out is variable for out in jaxpr.outvars):
        return True
    for equation in jaxpr.eqns:
        places = [place for place, operand in enumerate(equation.invars) if operand is variable]
        if not places:
            continue
        called = equation.params.get("jaxpr")
        inner = getattr(called, "jaxpr", called)
        if inner is None or len(inner.invars) != len(equation.invars):
            return True
        if any(_enters(inner, inner.invars[place]) for place in places):
            return True
    return False


def is_wide(box: Box, width: float) -> bool:
    """Return whether no height of a box is smaller than that."""
    return not isinstance(box, PeriodicBox) or smallest_height(box) >= width


class Doubled(NamedTuple):
    """A cell whose energy is not half of that of two of it side by side.

    Attributes:
        axis: Along which they lie side by side.
        once: Energy of the cell, its particles moved a little.
        twice: Energy of both.
    """

    axis: int
    once: float
    twice: float


def doubled_differently(
    function: Callable[..., Scalar], params: PyTree, configuration: Configuration
) -> Doubled | None:
    """Compare a cell, its particles moved a little, with two of it side by side, along every axis.

    Outer fields and energies of a fixed list of particles have no doubled cell; they are let pass.

    Args:
        function: ``function(position, params, box) -> energy``.
        params: Its parameters.
        configuration: The cell.

    Returns:
        The first axis along which the energy does not double; None where it does along all.
    """
    box = configuration.box
    if not isinstance(box, PeriodicBox):
        return None
    matrix, (n, d) = np.asarray(box.matrix), configuration.position.shape
    spacing = (abs(np.linalg.det(matrix)) / n) ** (1 / d)
    noise = _NOISE * spacing * np.random.default_rng(0).standard_normal((n, d))
    position = np.asarray(configuration.position) + noise

    def value_and_slope(position: np.ndarray, matrix: np.ndarray) -> tuple[float, np.ndarray]:
        cell = replaced(box, {"matrix": jnp.asarray(matrix)})
        value, slope = _value_and_slope(function, params, jnp.asarray(position), cell)
        return float(value), np.asarray(slope)

    once, slope = value_and_slope(position, matrix)
    size = np.abs(slope).sum()
    if not np.isfinite(once + size) or np.linalg.norm(slope.sum(axis=0)) > _AGREEMENT * size:
        return None
    for axis in np.flatnonzero(box.periodic):
        image = matrix.copy()
        image[:, axis] *= 2
        try:
            twice, slopes = value_and_slope(np.concatenate([position, position + matrix[:, axis]]), image)
        except (TypeError, ValueError, IndexError) as error:
            logging.getLogger(__name__).debug("no doubled cell: %s", error)
            return None
        unaware = not slopes[n:].any()
        if not unaware and abs(twice - 2 * once) > _AGREEMENT * max(abs(once), spacing * size):
            return Doubled(int(axis), once, twice)
    return None


@functools.partial(jax.jit, static_argnums=0)
def _value_and_slope(
    function: Callable[..., Scalar], params: PyTree, position: Position, box: PeriodicBox
) -> tuple[Scalar, Position]:
    return jax.value_and_grad(function)(position, params, box)


def refuse_one_place(configuration: Configuration) -> None:
    """Refuse particles that coincide.

    Raises:
        UserError: With two of them.
    """
    position = np.asarray(configuration.position)
    reach = 1e-12 * (float(np.ptp(position, axis=0).max()) or 1.0)
    pairs = neighbor_pairs(position, configuration.box, reach)
    if pairs.mask.any():
        i, j = (int(index[np.argmax(pairs.mask)]) for index in (pairs.i, pairs.j))
        raise UserError(
            f"particles {i} and {j} lie at the same place; the force between them has no direction: move one of them."
        )
