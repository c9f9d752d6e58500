"""Hyper-parameter selection of a multiclass support vector machine (the paper's section 4.1).

The inner problem is the dual: with training data X, one-hot labels Y and one probability vector per sample in x,

    W(x, theta) = X^T (Y - x)/theta,    x*(theta) = argmin theta/2 |W(x, theta)|^2 + <x, Y>  over rows on the simplex,

and the outer loss is that of the validation data, |X' W(x*, theta) - Y'|^2/2. The inner problem is solved by projected
gradient steps, and x* is differentiated as their fixed point.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jaxtyping import Array, Float, Int
from pydantic import Field

from mdsens.config import Section
from mdsens.errors import NumericalError
from mdsens.implicit import fixed_point
from workflows.paper.data import classification
from workflows.paper.outer import descend, difference
from workflows.rows import Row

TOLERANCE = 1e-13  # of a projected gradient step, entries of x being at most 1
MOST_STEPS = 200_000
STEP = 1e-5  # of the logarithm of theta, for differences
N_GRID = 61


class SelectionOptions(Section):
    """The ``[selection]`` section."""

    n_training: int = Field(100, ge=2, le=1000, description="samples of the inner problem")
    n_validation: int = Field(100, ge=1, le=10_000, description="samples of the outer loss")
    n_features: int = Field(200, ge=4, le=5000, description="features; no fewer than n_training, so that x* is unique")
    n_classes: int = Field(5, ge=2, le=20, description="classes")
    log_theta: tuple[float, float] = Field((-2.0, 5.0), description="range of the logarithm of theta")
    seed: int = Field(0, ge=0, description="of the data")


class Machine(eqx.Module):
    """Training and validation data of a multiclass support vector machine; parameters come in as log(theta).

    Attributes:
        training: Samples of the inner problem.
        labels: Their one-hot labels.
        validation: Samples of the outer loss.
        validation_labels: Their one-hot labels.
        steepness: Largest eigenvalue of X X^T, theta times the largest curvature L of the inner objective.
    """

    training: Float[Array, "m p"]
    labels: Float[Array, "m k"]
    validation: Float[Array, "v p"]
    validation_labels: Float[Array, "v k"]
    steepness: float

    def weights(self, x: Float[Array, "m k"], log_theta: Float[Array, ""]) -> Float[Array, "p k"]:
        """Return the primal weights W(x, theta)."""
        return self.training.T @ (self.labels - x) / jnp.exp(log_theta)

    def dual(self, x: Float[Array, "m k"], log_theta: Float[Array, ""]) -> Float[Array, ""]:
        """Return the inner objective."""
        return 0.5 * jnp.exp(log_theta) * jnp.sum(self.weights(x, log_theta) ** 2) + jnp.vdot(x, self.labels)

    def step(self, x: Float[Array, "m k"], log_theta: Float[Array, ""]) -> Float[Array, "m k"]:
        """Return T(x, theta), one projected gradient step of length 1/L."""
        length = jnp.exp(log_theta) / self.steepness
        return project_on_simplex(x - length * jax.grad(self.dual)(x, log_theta))

    def outer(self, x: Float[Array, "m k"], log_theta: Float[Array, ""]) -> Float[Array, ""]:
        """Return the validation loss of a dual solution."""
        return 0.5 * jnp.sum((self.validation @ self.weights(x, log_theta) - self.validation_labels) ** 2)


def project_on_simplex(rows: Float[Array, "m k"]) -> Float[Array, "m k"]:
    r"""Return the nearest probability vector to every row, :math:`\max(y - \tau, 0)`, differentiable inside a face.

    References:
        Duchi et al., Efficient projections onto the l1-ball, ICML 2008, figure 1.
    """
    ordered = -jnp.sort(-rows, axis=1)
    excess = (jnp.cumsum(ordered, axis=1) - 1.0) / jnp.arange(1.0, rows.shape[1] + 1.0)
    last: Int[Array, "m 1"] = jnp.sum(ordered > excess, axis=1, keepdims=True) - 1
    return jnp.maximum(rows - jnp.take_along_axis(excess, last, axis=1), 0.0)


def make_machine(options: SelectionOptions) -> Machine:
    """Return a random classification problem, features of zero mean and variance 1/p over the training data."""
    n = options.n_training
    samples, classes = classification(
        n + options.n_validation, options.n_features, options.n_classes, seed=options.seed
    )
    samples = (samples - samples[:n].mean(axis=0)) / (samples[:n].std(axis=0) * np.sqrt(options.n_features))
    labels = np.eye(options.n_classes)[classes]
    return Machine(
        training=jnp.asarray(samples[:n]),
        labels=jnp.asarray(labels[:n]),
        validation=jnp.asarray(samples[n:]),
        validation_labels=jnp.asarray(labels[n:]),
        steepness=float(np.linalg.norm(samples[:n], 2) ** 2),
    )


def outer_loss(machine: Machine, log_theta: Float[Array, ""]) -> Float[Array, ""]:
    """Return the validation loss at x*(theta), differentiable in log(theta) by the fixed point of projected gradient.

    NaN when the inner problem did not converge.
    """

    @fixed_point(machine.step)
    def solve(start: Float[Array, "m k"], log_theta: Float[Array, ""]) -> Float[Array, "m k"]:
        def unfinished(carry: tuple[Array, Array, Array]) -> Array:
            return (carry[1] > TOLERANCE) & (carry[2] < MOST_STEPS)

        def advance(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            moved = machine.step(carry[0], log_theta)
            return moved, jnp.max(jnp.abs(moved - carry[0])), carry[2] + 1

        x, change, _ = jax.lax.while_loop(unfinished, advance, (start, jnp.array(jnp.inf), jnp.array(0)))
        return jnp.where(change <= TOLERANCE, x, jnp.nan)

    start = jnp.full_like(machine.labels, 1.0 / machine.labels.shape[1])
    return machine.outer(solve(start, log_theta), log_theta)


def select_theta(machine: Machine, options: SelectionOptions) -> dict[str, np.ndarray]:
    """Minimise the outer loss along implicit gradients, and without gradients; compare gradients with differences.

    Args:
        machine: The problem.
        options: Its options; the search starts at the upper end of the range of log(theta).

    Returns:
        On a grid of log(theta): ``log_theta``, ``loss``, ``gradient``, ``difference`` (central, of re-solved problems);
        along the descent: ``path``, ``path_loss``; scalars: ``found``, ``found_loss`` and ``n_gradients`` (with them),
        ``reference``, ``reference_loss`` (best grid point, then SciPy's bounded minimisation without gradients around
        it) and ``n_values``, its evaluations.

    Raises:
        NumericalError: When an inner problem does not converge.
    """
    value = jax.jit(lambda log_theta: outer_loss(machine, log_theta))
    both = jax.jit(jax.value_and_grad(lambda log_theta: outer_loss(machine, log_theta)))
    grid = np.linspace(*options.log_theta, N_GRID)
    losses, gradients = (np.array(part) for part in zip(*map(both, map(jnp.asarray, grid)), strict=True))
    if not np.isfinite(losses).all():
        raise NumericalError(f"selection: the inner problem did not converge in {MOST_STEPS} projected gradient steps.")
    ones = jnp.ones(())
    differences = np.array([difference(value, jnp.asarray(point), ones, STEP) for point in grid])
    way = descend(both, grid[-1], 100, [options.log_theta])
    best = int(np.clip(np.argmin(losses), 1, N_GRID - 2))
    reference: Any = scipy.optimize.minimize_scalar(
        lambda point: float(value(jnp.asarray(point))),
        bounds=(grid[best - 1], grid[best + 1]),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return {
        "log_theta": grid,
        "loss": losses,
        "gradient": gradients,
        "difference": differences,
        "path": way.point,
        "path_loss": way.value,
        "found": np.asarray(way.point[-1]),
        "found_loss": np.asarray(way.value[-1]),
        "n_gradients": np.asarray(way.n_gradients),
        "reference": np.asarray(reference.x),
        "reference_loss": np.asarray(reference.fun),
        "n_values": np.asarray(N_GRID + reference.nfev),
    }


def selection_rows(table: dict[str, np.ndarray]) -> list[Row]:
    """Return the claims on the selection of theta."""
    error = np.abs(table["gradient"] - table["difference"]) / np.max(np.abs(table["gradient"]))
    return [
        Row(
            "selection: gradient against differences, worst",
            float(error.max()),
            1e-5,
            "at most",
            f"{len(error)} values of theta, of the largest gradient; median {np.median(error):.1e}",
        ),
        Row(
            "selection: log(theta) found - reference",
            float(abs(table["found"] - table["reference"])),
            1e-4,
            "at most",
            f"{table['found']:.6f} with {table['n_gradients']} gradients; reference with {table['n_values']} values",
        ),
        Row(
            "selection: loss found / reference - 1",
            float(table["found_loss"] / table["reference_loss"] - 1.0),
            1e-8,
            "at most",
            f"{table['path_loss'][0]:.4g} at the start, {table['found_loss']:.6g} found",
        ),
    ]
