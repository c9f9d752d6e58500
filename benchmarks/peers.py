"""The peer: jaxopt's implicit differentiation with BiCGSTAB on jax-md's FIRE with all pairs, as its users write it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mdsens.errors import UserError
from mdsens.types import Configuration, PeriodicBox

MOST_STEPS = 20_000


def require_jaxopt() -> Any:
    """Import jaxopt.

    Raises:
        UserError: When it is not installed; the message says how to install it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it announces that it is no longer maintained
            import jaxopt
    except ImportError:
        raise UserError(
            "the benchmark's peer is missing: pip install 'mdsens[benchmark]' (or make benchmark)."
        ) from None
    return jaxopt


def box_edge(configuration: Configuration) -> float:
    """Return the edge of a square or cubic periodic box.

    Raises:
        UserError: When the system is free.
    """
    if not isinstance(configuration.box, PeriodicBox):
        raise UserError("the benchmark's system is free; its peer needs a periodic box.")
    return float(configuration.box.length)


class JaxoptPeer:
    """Relaxation and sensitivity of a bidisperse packing with jax-md and jaxopt alone.

    Attributes:
        relax: ``relax(start, theta) -> position``, jitted: jax-md's FIRE with all pairs until the largest force is
            below the tolerance.
        tangent: ``tangent(position, theta) -> dx/dtheta``, jitted: ``jaxopt.implicit_diff.root_jvp`` with BiCGSTAB.
        jacobian: ``jacobian(position, diameters) -> dx/d diameters``, jitted: ``root_jvp`` vmapped over one-hot
            tangents.
    """

    def __init__(self, configuration: Configuration, tolerance: float) -> None:
        species = np.asarray(configuration.species)
        jaxopt = require_jaxopt()
        from jax_md import energy, minimize, space
        from jaxopt import linear_solve

        displacement, shift = space.periodic(box_edge(configuration))
        solve = linear_solve.solve_bicgstab
        kinds = jnp.asarray(species)

        def sigma(theta: jax.Array) -> jax.Array:
            mean = 0.5 * (theta + 1.0)
            return jnp.array([[theta, mean], [mean, jnp.ones(())]])

        by_species = energy.soft_sphere_pair(displacement, species=kinds, sigma=sigma(jnp.array(0.6)))
        by_particle = energy.soft_sphere_pair(displacement, sigma=jnp.ones((len(species), len(species))))

        def force(position: jax.Array, theta: jax.Array) -> jax.Array:
            return -jax.grad(lambda x: by_species(x, sigma=sigma(theta)))(position)

        def solver(start: jax.Array, theta: jax.Array) -> jax.Array:
            init, apply = minimize.fire_descent(lambda x, **_: force(x, theta), shift)

            def unfinished(carry: tuple[Any, jax.Array]) -> jax.Array:
                largest = jnp.sqrt(jnp.max(jnp.sum(carry[0].force ** 2, axis=1)))
                return (largest > tolerance) & (carry[1] < MOST_STEPS)

            final, _ = jax.lax.while_loop(
                unfinished, lambda c: (apply(c[0]), c[1] + 1), (init(start), jnp.zeros((), int))
            )
            return jax.lax.stop_gradient(final.position)

        def particle_force(position: jax.Array, diameters: jax.Array) -> jax.Array:
            mean = 0.5 * (diameters[:, None] + diameters[None, :])
            return -jax.grad(lambda x: by_particle(x, sigma=mean))(position)

        def column(position: jax.Array, diameters: jax.Array, direction: jax.Array) -> jax.Array:
            return jaxopt.implicit_diff.root_jvp(particle_force, position, (diameters,), (direction,), solve=solve)

        self.relax: Callable[..., jax.Array] = jax.jit(solver)
        self.tangent: Callable[..., jax.Array] = jax.jit(
            lambda x, theta: jaxopt.implicit_diff.root_jvp(force, x, (theta,), (jnp.ones(()),), solve=solve)
        )
        self.jacobian: Callable[..., jax.Array] = jax.jit(
            lambda x, d: jax.vmap(lambda e: column(x, d, e))(jnp.eye(len(species)))
        )


def unrolled_memory(configuration: Configuration, n_steps: int) -> int:
    """Return the bytes of temporaries that reverse mode through ``n_steps`` of FIRE needs (compiled, not run)."""
    from jax_md import energy, minimize, space

    displacement, shift = space.periodic(box_edge(configuration))
    kinds = configuration.species

    def final_sum(theta: jax.Array, start: jax.Array) -> jax.Array:
        mean = 0.5 * (theta + 1.0)
        sigma = jnp.array([[theta, mean], [mean, jnp.ones(())]])
        init, apply = minimize.fire_descent(energy.soft_sphere_pair(displacement, species=kinds, sigma=sigma), shift)
        state, _ = jax.lax.scan(lambda s, _: (apply(s), None), init(start), None, length=n_steps)
        return jnp.sum(state.position**2)

    start = jnp.zeros_like(configuration.position)
    compiled = jax.jit(jax.grad(final_sum)).lower(jnp.array(0.6), start).compile()
    analysis = compiled.memory_analysis()
    if analysis is None:
        raise UserError("XLA gives no memory analysis on this device: run the benchmark on a CPU or a GPU.")
    return int(analysis.temp_size_in_bytes)
