"""The machine code of a law u(r): loops over a list, generated from its one JAX function and compiled."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import sys
import threading
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array
from numba import types as nb
from numba.core.errors import NumbaError

from mdsens.energy.scalar_source import NotScalarError, source_of
from mdsens.machine.caches import code_folder
from mdsens.machine.compiling import ENERGY, FAST, FIELD, LISTED, compiled, compiled_callback

_ONE_AT_A_TIME = threading.Lock()


@functools.lru_cache(maxsize=256)
def loops_of(structure: Any, differs: tuple[bool, ...], d: int) -> tuple[Any, Any] | None:
    """Return the compiled functions of a law in d dimensions; None where its u(r) is no arithmetic of numbers.

    Args:
        structure: The pytree of a pair law with one number per parameter.
        differs: Which of its parameters differ from pair to pair.
        d: Dimensions.

    Returns:
        What fills forces and returns the energy, and what fills r, u, u' and u'' of every pair: ``NativeLaw`` says how.
    """

    def law(r: Array, leaves: tuple[Array, ...]) -> Array:
        return jax.tree.unflatten(structure, leaves).pair_energy(r)

    def value_and_slope(r: Array, *leaves: Array) -> tuple[Array, Array]:
        return jax.value_and_grad(law)(r, leaves)

    def derivatives(r: Array, *leaves: Array) -> tuple[Array, ...]:
        (value, slope), (_, curvature) = jax.jvp(lambda at: value_and_slope(at, *leaves), (r,), (jnp.ones(()),))
        return value, slope, curvature

    names = ["r", *(f"p{k}" for k in range(len(differs)))]
    try:
        first = source_of(value_and_slope, names, ["u", "du"])
        second = source_of(derivatives, names, ["u", "du", "ddu"])
        return _compiled(_source(first, second, differs, d))
    except (NotScalarError, NumbaError):
        return None


def _source(first: list[str], second: list[str], differs: tuple[bool, ...], d: int) -> str:
    """Return the loops over a half list with a law's lines inside."""
    axes = range(d)
    rows = lambda indent, lines: "\n".join(" " * indent + line for line in lines)  # noqa: E731
    own = rows(12, [f"p{k} = own[m, {sum(differs[:k])}]" for k, unlike in enumerate(differs) if unlike])
    shared = [f"p{k} = shared[{k - sum(differs[:k])}]" for k, unlike in enumerate(differs) if not unlike]
    apart = rows(12, [f"d{c} = x{c} - x[j, {c}] - offset[m, {c}]" for c in axes])
    here = rows(8, [f"x{c} = x[i, {c}]" for c in axes])
    square = " + ".join(f"d{c} * d{c}" for c in axes)
    return f'''"""Generated from a pair law by mdsens.energy.native_code with {", ".join(FAST)}; safe to delete."""
import math


def evaluate(x, starts, partner, offset, reach, own, shared, force):
    force[:] = 0.0
    energy = 0.0
{rows(4, shared)}
    for i in range(len(starts) - 1):
{here}
{rows(8, [f"f{c} = 0.0" for c in axes])}
        for m in range(starts[i], starts[i + 1]):
            j = partner[m]
{apart}
            square = {square}
            if square >= reach[m] * reach[m]:
                continue
            r = math.sqrt(square)
{own}
{rows(12, first)}
            energy += u
            push = -du / r
{rows(12, [f"f{c} += push * d{c}" for c in axes])}
{rows(12, [f"force[j, {c}] -= push * d{c}" for c in axes])}
{rows(8, [f"force[i, {c}] += f{c}" for c in axes])}
    return energy


def pairwise(x, starts, partner, offset, reach, own, shared, near, deep, terms):
{rows(4, shared)}
    for i in range(len(starts) - 1):
{here}
        for m in range(starts[i], starts[i + 1]):
            j = partner[m]
{apart}
            r = math.sqrt({square})
            if r < near * reach[m]:
                r = min(r, deep * reach[m])
            terms[0, m] = r
            if r >= reach[m]:
                continue
{own}
{rows(12, second)}
            terms[1, m] = u
            terms[2, m] = du
            terms[3, m] = ddu
'''


@functools.cache
def _compiled(source: str) -> tuple[Any, Any]:
    """Compile generated source, or take what an earlier process compiled from it."""
    with _ONE_AT_A_TIME:
        module, kept = _module(source)
        return (
            compiled_callback(ENERGY, kept=kept)(module["evaluate"]),
            compiled(nb.void(*LISTED, nb.float64, nb.float64, FIELD), kept=kept)(module["pairwise"]),
        )


def _module(source: str) -> tuple[dict[str, Any], bool]:
    """Return the names that a source defines, and whether it stands in a file beside which machine code is kept."""
    name = f"mdsens_native_{hashlib.sha256(source.encode()).hexdigest()[:24]}"
    folder = code_folder()
    if folder is None:
        space: dict[str, Any] = {"__name__": name}
        exec(compile(source, name, "exec"), space)
        return space, False
    path = folder / f"{name}.py"
    if not path.exists():
        whole = path.with_suffix(f".{os.getpid()}")
        whole.write_text(source)
        whole.replace(path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where numba looks for it
    spec.loader.exec_module(module)
    return vars(module), True
