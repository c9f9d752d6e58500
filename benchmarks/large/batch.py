"""A batch of the seed experiment's packings, relaxed and differentiated at once, beside jaxopt one by one."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import jax

from benchmarks.batch import batch_rows, seed_problems
from benchmarks.large.clock import peak_memory
from benchmarks.large.options import Config
from benchmarks.large.parts import Part, Result, Spec
from workflows.rows import Row


def specs(config: Config, peer: str) -> list[Spec]:
    """Return the one measurement."""
    return [{"n_members": config.batch.n_members}]


def measure(spec: Spec) -> dict[str, Any]:
    """Time the batch and the peer in turns, the batch split over the cores."""
    jax.config.update("jax_num_cpu_devices", os.cpu_count())  # before JAX is used
    found = batch_rows(seed_problems(spec["n_members"]), "soft_sphere.sigma[A]", 0.6)
    named = {f"{name}_{k}": value for k, row in enumerate(found) for name, value in dataclasses.asdict(row).items()}
    return {**named, "memory": peak_memory()}


def rows(config: Config, results: Sequence[Result]) -> list[Row]:
    """Return the rows as they were measured."""
    fields = [field.name for field in dataclasses.fields(Row)]
    return [
        Row(**{name: result[f"{name}_{k}"] for name in fields})
        for result in results
        for k in range(sum(name.startswith("measured_") for name in result))
    ]


PART = Part("a batch of packings", specs, measure, rows)
