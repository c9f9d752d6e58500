"""What a relaxed state's response costs, stage by stage, by the library's public functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from benchmarks.large.clock import median_seconds, timed
from mdsens.energy.paths import Selection
from mdsens.hessian import factorise, hessian
from mdsens.observables import pressure
from mdsens.relaxation import Relaxation
from mdsens.response import linear_response
from mdsens.sensitivity import forward, gradient, position_sensitivity


def bare(relaxation: Relaxation) -> Relaxation:
    """Return the relaxed state without the factor by which it was judged: nothing is carried over."""
    return dataclasses.replace(relaxation, factor=None)


def whole_response(relaxation: Relaxation, selection: Selection) -> None:
    """Do what a user does: one forward and one adjoint derivative, with their certificate."""
    response = linear_response(relaxation)
    position_sensitivity(response, selection)
    gradient(response, pressure)


def response_stages(relaxation: Relaxation, selection: Selection, repeats: int) -> dict[str, float]:
    """Time the stages of a response, warm, medians in seconds.

    Args:
        relaxation: The relaxed state.
        selection: One parameter.
        repeats: Calls of every stage after a first one that compiles.

    Returns:
        ``cold``: the whole response, first call, nothing carried over; ``whole``: the same, warm; ``as_is``: with what
        the relaxation carries over; ``assembly``, ``factor``, ``forward``, ``adjoint``: the stages without certificate
        (solves are refined); ``response``: their sum; ``certificate``: what the smallest eigenvalues and the error
        estimate add.
    """
    bared = bare(relaxation)
    cold, _ = timed(lambda: whole_response(bared, selection))
    response = linear_response(relaxation)
    state, held = response.state, response.network.backbone
    work: dict[str, Callable[[], object]] = {
        "assembly": lambda: hessian(state, held),
        "factorise": lambda: factorise(state, held),
        "build": lambda: linear_response(bared),
        "forward": lambda: forward(response, selection.tangents),
        "certified": lambda: position_sensitivity(response, selection),
        "adjoint": lambda: gradient(response, pressure),
        "whole": lambda: whole_response(bared, selection),
        "as_is": lambda: whole_response(relaxation, selection),
    }
    for stage in ("assembly", "factorise", "forward"):
        work[stage]()  # not compiled by the whole response
    found = {stage: median_seconds(call, repeats) for stage, call in work.items()}
    build, certified = found.pop("build"), found.pop("certified")
    found["factor"] = max(found.pop("factorise") - found["assembly"], 0.0)
    parts = ("assembly", "factor", "forward", "adjoint")
    found["response"] = sum(found[part] for part in parts)
    extra = build - found["assembly"] - found["factor"] + certified - found["forward"]
    return found | {"cold": cold, "certificate": max(extra, 0.0), "smallest_eigenvalue": response.smallest_eigenvalue}


def further_seconds(relaxation: Relaxation, first: Selection, more: Selection, repeats: int) -> dict[str, float]:
    """Time one more parameter and one more observable, in blocks, refinement included.

    Args:
        relaxation: The relaxed state.
        first: One parameter.
        more: k parameters.
        repeats: Calls of every stage after a first one that compiles.

    Returns:
        ``parameter``: seconds per further parameter; ``observable``: seconds per further adjoint solve.
    """
    response, k = linear_response(relaxation), len(more.paths)
    cotangents = np.random.default_rng(1).standard_normal((k, *response.state.position.shape))

    def per_one_more(one: Callable[[], object], block: Callable[[], object]) -> float:
        one(), block()  # compiled before the clock starts
        return (median_seconds(block, repeats) - median_seconds(one, repeats)) / max(k - 1, 1)

    return {
        "parameter": per_one_more(lambda: forward(response, first.tangents), lambda: forward(response, more.tangents)),
        "observable": per_one_more(lambda: response.solve(cotangents[:1]), lambda: response.solve(cotangents)),
    }
