"""Numba as this room uses it: signatures given, machine code kept on disk where that can be written."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numba
from numba import types as nb

FAST = ("arcp", "contract", "nsz", "reassoc")  # of fast mathematics what leaves NaN and infinity alone
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": set(FAST)}

FIELD, COUNTS = nb.float64[:, ::1], nb.int32[::1]
NUMBERS = nb.float64[::1]
# positions, where every particle's pairs start, their partners, B S, ranges and parameters, those that all pairs share
LISTED = (FIELD, COUNTS, COUNTS, FIELD, NUMBERS, FIELD, NUMBERS)
ENERGY = nb.float64(*LISTED, FIELD)  # fills the forces


def compiled(signature: Any, *, kept: bool = True) -> Callable[[Callable[..., Any]], Any]:
    """Return what compiles a function for these types; it runs without Python's lock."""

    def wrapped(function: Callable[..., Any]) -> Any:
        function = inspect.unwrap(function)  # of what checks the arguments of Python's calls
        try:
            return numba.njit(signature, nogil=True, cache=kept, **_OPTIONS)(function)
        except RuntimeError:  # no folder to keep it in
            return numba.njit(signature, nogil=True, **_OPTIONS)(function)

    return wrapped


def compiled_callback(signature: Any, *, kept: bool = True) -> Callable[[Callable[..., Any]], Any]:
    """Return what compiles a function that others, compiled before, are given as an argument."""
    return lambda function: numba.cfunc(signature, cache=kept, **_OPTIONS)(function)
