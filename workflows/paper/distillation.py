"""Dataset distillation (the paper's section 4.2): one synthetic image per digit that trains a model for all real ones.

The inner problem trains a linear model x (one column of weights per class) on the ten images theta,

    x*(theta) = argmin L(x; theta, one each of the classes) + epsilon |x|^2,    L the mean logistic loss,

and the outer loss is L(x*(theta); real images). The inner problem is solved to convergence by accelerated gradient
descent and differentiated by its stationarity.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
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
from mdsens.implicit import DenseCholesky, root, stationary
from workflows.paper.data import digits
from workflows.paper.outer import descend, difference
from workflows.rows import Row

N_CLASSES = 10
TOLERANCE = 1e-13  # of the norm of the inner gradient
MOST_STEPS = 100_000
STEP = 1e-4  # of an image's pixels along a unit direction, for differences
N_DIRECTIONS = 5
INNER_STEPS = (10, 20, 50, 100, 200, 300, 400, 500, 700, 1000)
REPEATS = 5
WAYS = ("implicit", "unrolled")

Weights = Float[Array, "p k"]
Images = Float[Array, "k p"]


class DistillationOptions(Section):
    """The ``[distillation]`` section."""

    n_training: int = Field(1200, ge=10, le=1700, description="real images of the outer loss; the others test")
    regularisation: float = Field(1e-3, gt=0, le=10, description="epsilon of the inner problem")
    n_iterations: int = Field(150, ge=1, le=10_000, description="of the outer optimiser, L-BFGS")
    seed: int = Field(0, ge=0, description="of the order of the images")


class Distillation(eqx.Module):
    """Real images and the strength of the inner regularisation.

    Attributes:
        images: Real images that the model should fit.
        labels: Their one-hot labels.
        regularisation: epsilon.
    """

    images: Float[Array, "m p"]
    labels: Float[Array, "m k"]
    regularisation: float

    def inner(self, x: Weights, theta: Images) -> Float[Array, ""]:
        """Return the inner objective: logistic loss of the synthetic images plus epsilon |x|^2."""
        return logistic_loss(x, theta, jnp.eye(theta.shape[0])) + self.regularisation * jnp.sum(x**2)

    def condition(self, x: Weights, theta: Images) -> Weights:
        """Return F(x, theta), the gradient of the inner objective."""
        return jax.grad(self.inner)(x, theta)

    def step(self, carry: tuple[Array, Array], theta: Images, rates: tuple[Array, Array]) -> tuple[Array, Array]:
        """Return x and the extrapolated point after one step of Nesterov's method for strongly convex functions."""
        rate, momentum = rates
        x, ahead = carry
        moved = ahead - rate * self.condition(ahead, theta)
        return moved, moved + momentum * (moved - x)

    def rates(self, theta: Images) -> tuple[Array, Array]:
        """Return step length 1/L and momentum, constants for differentiation; the logistic Hessian is below 1/2."""
        theta = jax.lax.stop_gradient(theta)
        weakest = 2 * self.regularisation
        steepest = 0.5 * jnp.linalg.norm(theta, 2) ** 2 / theta.shape[0] + weakest
        ratio = jnp.sqrt(weakest / steepest)
        return 1.0 / steepest, (1.0 - ratio) / (1.0 + ratio)

    def trained(self, theta: Images) -> Weights:
        """Return x*(theta), inner training to convergence, differentiated implicitly; NaN when it does not converge."""

        @root(stationary(self.inner), linear_solver=DenseCholesky())
        def solve(start: Weights, theta: Images) -> Weights:
            rates = self.rates(theta)

            def unfinished(carry: tuple[tuple[Array, Array], Array]) -> Array:
                return (jnp.linalg.norm(self.condition(carry[0][0], theta)) > TOLERANCE) & (carry[1] < MOST_STEPS)

            (x, _), n_steps = jax.lax.while_loop(
                unfinished, lambda c: (self.step(c[0], theta, rates), c[1] + 1), ((start, start), jnp.array(0))
            )
            return jnp.where(n_steps < MOST_STEPS, x, jnp.nan)

        return solve(self.untrained(theta), theta)

    def after(self, theta: Images, n_steps: Int[Array, ""], *, implicit: bool) -> Weights:
        """Return x after at most 1000 training steps, differentiated implicitly (as if converged) or by unrolling."""

        def solve(start: Weights, theta: Images) -> Weights:
            rates = self.rates(theta)

            def advance(carry: tuple[Array, Array], k: Array) -> tuple[tuple[Array, Array], None]:
                moved = self.step(carry, theta, rates)
                return jax.tree.map(lambda new, old: jnp.where(k < n_steps, new, old), moved, carry), None

            return jax.lax.scan(advance, (start, start), jnp.arange(INNER_STEPS[-1]))[0][0]

        chosen = root(stationary(self.inner), linear_solver=DenseCholesky())(solve) if implicit else solve
        return chosen(self.untrained(theta), theta)

    def untrained(self, theta: Images) -> Weights:
        """Return the weights that training starts from, zero."""
        return jnp.zeros(theta.shape[::-1])

    def outer(self, x: Weights) -> Float[Array, ""]:
        """Return the logistic loss of the real images."""
        return logistic_loss(x, self.images, self.labels)


def logistic_loss(x: Weights, images: Float[Array, "m p"], labels: Float[Array, "m k"]) -> Float[Array, ""]:
    """Return the mean over images of -log softmax of the true class."""
    return -jnp.mean(jnp.sum(labels * jax.nn.log_softmax(images @ x), axis=1))


def distil(options: DistillationOptions) -> dict[str, np.ndarray]:
    """Learn ten images from zero, and compare with class means, with all real images, and gradients with other ways.

    Args:
        options: The problem's options.

    Returns:
        ``images`` and ``means``, shape (10, 8, 8); ``loss`` along the outer descent; for models trained on distilled
        images, class means and all real images: ``names``, ``training_loss``, ``training_accuracy``, ``test_loss``,
        ``test_accuracy``; at the class means: ``difference_error``, relative, along random directions; over
        ``inner_steps`` of training: relative errors ``implicit_error`` and ``unrolled_error`` of the gradient against
        the implicit one after convergence; seconds and bytes of one gradient through 1000 training steps.

    Raises:
        NumericalError: When an inner problem does not converge.
    """
    images, classes = digits(options.seed)
    labels, n = np.eye(N_CLASSES)[classes], options.n_training
    problem = Distillation(jnp.asarray(images[:n]), jnp.asarray(labels[:n]), options.regularisation)
    means = jnp.asarray(labels[:n].T @ images[:n] / labels[:n].sum(axis=0)[:, None])
    value = jax.jit(lambda theta: problem.outer(problem.trained(theta)))
    both = jax.jit(jax.value_and_grad(lambda theta: problem.outer(problem.trained(theta))))
    way = descend(both, np.zeros(means.shape), options.n_iterations)
    if not np.isfinite(way.value).all():
        raise NumericalError(f"distillation: the inner training did not converge in {MOST_STEPS} steps.")
    theta = jnp.asarray(way.point[-1])
    models = {
        "distilled images": problem.trained(theta),
        "class means": problem.trained(means),
        "class means, best contrast": problem.trained(best_contrast(value, means)),
        "all real images": trained_on_everything(problem),
    }
    return {
        "images": np.asarray(theta).reshape(-1, 8, 8),
        "means": np.asarray(means).reshape(-1, 8, 8),
        "loss": way.value,
        "n_gradients": np.asarray(way.n_gradients),
        **judged(models, (images[:n], labels[:n]), (images[n:], labels[n:])),
        "difference_error": difference_errors(value, both, means, options.seed),
        **gradient_errors(problem, means, both(means)[1]),
    }


def best_contrast(value: Callable[..., Any], means: Images) -> Images:
    """Return the class means times the factor that trains best: the inner regularisation does not follow it."""
    found: Any = scipy.optimize.minimize_scalar(
        lambda power: float(value(jnp.exp(power) * means)), bounds=(-3.0, 5.0), method="bounded"
    )
    return jnp.exp(found.x) * means


def trained_on_everything(problem: Distillation) -> Weights:
    """Return the same model, with the same regularisation, trained on all real images."""
    flat = lambda x: problem.outer(x) + problem.regularisation * jnp.sum(x**2)  # noqa: E731
    start = np.zeros((problem.images.shape[1], problem.labels.shape[1]))
    return jnp.asarray(descend(jax.jit(jax.value_and_grad(flat)), start, 1000).point[-1])


def judged(
    models: dict[str, Weights], training: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return loss and accuracy of every model on training and test data."""
    table: dict[str, np.ndarray] = {"names": np.array(list(models))}
    for name, data in (("training", training), ("test", test)):
        images, labels = map(jnp.asarray, data)
        table[f"{name}_loss"] = np.array([logistic_loss(x, images, labels) for x in models.values()])
        right = [(images @ x).argmax(axis=1) == labels.argmax(axis=1) for x in models.values()]
        table[f"{name}_accuracy"] = np.mean(right, axis=1)
    return table


def difference_errors(value: Callable[..., Any], both: Callable[..., Any], theta: Array, seed: int) -> np.ndarray:
    """Return the error of the implicit gradient along random unit directions, over its norm over sqrt of its size."""
    gradient = np.asarray(both(theta)[1])
    typical = np.linalg.norm(gradient) / np.sqrt(gradient.size)
    directions = np.random.default_rng(seed).standard_normal((N_DIRECTIONS, *theta.shape))
    directions /= np.linalg.norm(directions, axis=(1, 2), keepdims=True)
    found = [difference(value, theta, jnp.asarray(direction), STEP) for direction in directions]
    return np.abs(np.array(found) - np.tensordot(directions, gradient, axes=2)) / typical


def gradient_errors(problem: Distillation, theta: Images, exact: Images) -> dict[str, np.ndarray]:
    """Return errors of the gradient after fewer training steps, implicit and unrolled, and what both cost."""
    table: dict[str, np.ndarray] = {"inner_steps": np.array(INNER_STEPS)}
    for name in WAYS:
        loss = functools.partial(_loss_after, problem, implicit=name == "implicit")
        gradient = jax.jit(jax.grad(loss)).lower(theta, jnp.asarray(INNER_STEPS[0])).compile()
        found = [gradient(theta, jnp.asarray(n_steps)) for n_steps in INNER_STEPS]
        table[f"{name}_error"] = np.array([np.linalg.norm(g - exact) / np.linalg.norm(exact) for g in found])
        longest = functools.partial(gradient, theta, jnp.asarray(INNER_STEPS[-1]))
        table[f"{name}_seconds"] = np.asarray(_seconds(longest))
        memory: Any = gradient.memory_analysis()
        table[f"{name}_bytes"] = np.asarray(memory.temp_size_in_bytes if memory else -1)
    return table


def _loss_after(problem: Distillation, theta: Images, n_steps: Int[Array, ""], *, implicit: bool) -> Float[Array, ""]:
    return problem.outer(problem.after(theta, n_steps, implicit=implicit))


def _seconds(work: Callable[[], Array]) -> float:
    rounds = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        jax.block_until_ready(work())
        rounds.append(time.perf_counter() - begun)
    return float(np.median(rounds))


def distillation_rows(table: dict[str, np.ndarray]) -> list[Row]:
    """Return the claims on distillation."""
    losses = dict(zip(table["names"].tolist(), table["training_loss"].tolist(), strict=True))
    accuracies = dict(zip(table["names"].tolist(), table["test_accuracy"].tolist(), strict=True))
    means, best = losses["class means"], losses["class means, best contrast"]
    distilled, unrolled, implicit = losses["distilled images"], table["unrolled_error"], table["implicit_error"]
    costs = [f"{1e3 * table[f'{way}_seconds']:.0f} ms, {table[f'{way}_bytes'] / 1e6:.0f} MB" for way in WAYS]
    return [
        Row(
            "distillation: gradient against differences, worst",
            float(table["difference_error"].max()),
            1e-6,
            "at most",
            f"{len(table['difference_error'])} random directions at the class means",
        ),
        Row(
            "distillation: unrolled gradient after 1000 steps - implicit",
            float(unrolled[-1]),
            1e-5,
            "at most",
            f"relative; implicit there {implicit[-1]:.1e}; implicit {costs[0]}, unrolled {costs[1]}",
        ),
        Row(
            "distillation: loss / that of the best class means",
            distilled / min(means, best),
            1.0,
            "at most",
            f"real images: {distilled:.3f} distilled, {means:.3f} means, {best:.3f} at their best contrast",
        ),
        Row(
            "distillation: test accuracy - that of class means",
            accuracies["distilled images"] - max(accuracies["class means"], accuracies["class means, best contrast"]),
            0.0,
            "at least",
            ", ".join(f"{name} {accuracy:.3f}" for name, accuracy in accuracies.items()),
        ),
    ]
