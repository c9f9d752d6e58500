"""Linear solvers behind one interface: prepare once per Jacobian, solve forward or transposed, never trust blindly."""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, Int, PyTree

from mdsens.implicit.operator import Point, ProjectedOperator


class LinearSolution(eqx.Module):
    """What a linear solver hands back, before anybody has checked it.

    Attributes:
        value: The proposed solution of A y = b (or A^T y = b).
        n_steps: Iterations of an iterative method, refinement steps of a direct one.
    """

    value: Float[Array, " n"]
    n_steps: Int[Array, ""]


class LinearSolver(eqx.Module):
    """A method for A y = b with a non-singular A that is known through its product with a vector.

    The caller makes A non-singular (see `mdsens.implicit.system`), scales b to unit norm, and checks the residual of
    the answer against `tolerance`, so a solver may fail by returning NaN or nonsense. It must not raise inside jit.

    To write your own, subclass, give the two attributes and the two methods. `prepare` runs once per Jacobian, outside
    of any vmap over right-hand sides; `solve` runs once per right-hand side, under vmap in one block. Neither is ever
    differentiated.

    Attributes:
        tolerance: Largest accepted relative residual |A y - b| / |b|; above it the answer is NaN. In (0, 1).
        symmetric: Whether the solver takes A = A^T for granted (checked by a probe; an A that is not gives NaN).
    """

    tolerance: eqx.AbstractVar[float]
    symmetric: eqx.AbstractVar[bool]

    @property
    def name(self) -> str:
        """The method, in words, for certificates."""
        return type(self).__name__

    @abc.abstractmethod
    def prepare(self, operator: ProjectedOperator, point: Point) -> PyTree[Any]:
        """Return all that can be computed without a right-hand side: a factor, a preconditioner, or nothing.

        Args:
            operator: v -> A v, called with a flat vector; `operator.size` is the number of unknowns n.
            point: The state and parameters at which A was taken.

        Returns:
            The state passed to every `solve`, any pytree.
        """

    @abc.abstractmethod
    def solve(
        self, state: PyTree[Any], operator: ProjectedOperator, right_hand_side: Float[Array, " n"], *, transposed: bool
    ) -> LinearSolution:
        """Solve A y = b, or A^T y = b.

        Args:
            state: What `prepare` returned for A.
            operator: v -> A v, or v -> A^T v if `transposed`.
            right_hand_side: b, of norm 1 or 0.
            transposed: Whether the system with A^T is meant. Never true for a solver that is `symmetric`.

        Returns:
            The proposed solution.
        """


def check_tolerance(tolerance: float) -> None:
    """Refuse a tolerance out of range.

    Raises:
        ValueError: With the range.
    """
    if not 0.0 < tolerance < 1.0:
        raise ValueError(f"tolerance = {tolerance} must lie in (0, 1): it is a relative residual; 1e-6 is the default.")


def check_steps(steps: int) -> None:
    """Refuse a negative number of refinement steps.

    Raises:
        ValueError: With the range.
    """
    if steps < 0:
        raise ValueError(f"refinement_steps = {steps} must be 0 or more; 1 is the default.")
