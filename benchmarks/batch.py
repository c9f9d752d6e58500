"""A batch of packings beside its peer one by one: relaxations and position sensitivities, all in."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers import JaxoptPeer
from mdsens.batch import (
    BatchSettings,
    PositionSensitivities,
    position_sensitivities,
    relax_batch,
    stack_systems,
)
from potentials import soft_sphere
from systems import bidisperse
from workflows.problem import Problem, relaxation_settings
from workflows.rows import Row, print_rows

ROUNDS = 3
PEER_MEMBERS = 12  # packings that the peer does per round: it takes them one by one


def batch_rows(problems: Sequence[Problem], path: str, theta: float) -> list[Row]:
    """Time relaxation and dx/dtheta per packing, ours as one batch, the peer's one by one, in turns.

    Where there are several devices, the batch is split over them.

    Args:
        problems: Random starts of one size and one law.
        path: The parameter to differentiate in.
        theta: Its value, which the peer is handed.
    """
    first = problems[0]
    peer = JaxoptPeer(first.configuration, first.settings.max_force)
    value = jnp.asarray(theta)
    settings = BatchSettings(first.settings.max_force, first.settings.max_steps)

    def ours() -> PositionSensitivities:
        stack = stack_systems(first.potential, [problem.configuration for problem in problems])
        return position_sensitivities(relax_batch(stack, settings), [path])

    def theirs(members: Sequence[int]) -> None:
        for k in members:
            position = peer.relax(problems[k].configuration.position, value)
            jax.block_until_ready(peer.tangent(position, value))

    cold_theirs, _ = _timed(lambda: theirs([0]))
    cold_ours, found = _timed(ours)
    rounds = []
    for k in range(ROUNDS):  # in turns, so that a busy machine slows both
        chosen = [(k * PEER_MEMBERS + j) % len(problems) for j in range(PEER_MEMBERS)]
        seconds, _ = _timed(functools.partial(theirs, chosen))
        rounds.append((seconds / PEER_MEMBERS, _timed(ours)[0] / len(problems)))
    warm_theirs, warm_ours = np.median(rounds, axis=0)
    return [
        Row(
            f"batch of {len(problems)}: jaxopt's time per packing / ours",
            float(warm_theirs / warm_ours),
            20,
            "at least",
            f"warm {1e3 * warm_ours:.1f} ms against {1e3 * warm_theirs:.0f} ms ({jax.device_count()} devices); "
            f"first calls with compilation {cold_ours:.0f} s (whole batch) and {cold_theirs:.1f} s; "
            f"{int(found.answered.sum())} answered",
        ),
        Row(
            "batch: worst estimated relative error",
            float(np.nanmax(found.certificate.relative_error)),
            1e-6,
            "at most",
            f"worst residual {np.nanmax(found.certificate.residual):.0e}",
        ),
    ]


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    result = work()
    return time.perf_counter() - begun, result


def seed_problems(n_starts: int) -> list[Problem]:
    """Return random starts of the seed experiment."""
    from mdsens.config import RelaxationOptions

    starts = [bidisperse.build(bidisperse.Options(seed=seed)) for seed in range(n_starts)]
    law = soft_sphere.build(soft_sphere.Options(), starts[0].diameters, 2)
    settings = relaxation_settings(RelaxationOptions())
    return [Problem(law, start.configuration, settings) for start in starts]


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    print_rows(batch_rows(seed_problems(256), "soft_sphere.sigma[A]", 0.6), title="batch")
