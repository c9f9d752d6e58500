"""A check that costs nothing: the identity, which refuses NaN with a reason outside jit and lets it pass inside.

It is linear and passes through jvp, vjp and vmap unchanged, so that a check placed on a tangent also looks at the
cotangent that comes back through it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Shaped

from mdsens.errors import NumericalError

Reason = Callable[[], str]
UNKNOWN = "the linear solve of an implicit derivative failed, or a derivative of F is NaN."


def refuse_nan(vector: Shaped[Array, "..."], reason: Reason | None = None) -> Shaped[Array, "..."]:
    """Return the vector unchanged.

    Args:
        vector: Anything that passes by.
        reason: Called for the message when it holds NaN; may take its time.

    Raises:
        NumericalError: Outside jit, when the vector holds NaN.
    """
    return _guard.bind(vector, reason=reason)


def _check(vector: Any, *, reason: Reason | None) -> Any:
    if np.isnan(np.asarray(vector)).any():
        raise NumericalError(UNKNOWN if reason is None else reason())
    return vector


def _identity(vector: Any, *, reason: Reason | None) -> Any:
    del reason
    return vector


_guard = Primitive("refuse_nan")
_guard.def_impl(_check)
_guard.def_abstract_eval(_identity)
mlir.register_lowering(_guard, mlir.lower_fun(_identity, multiple_results=False))
batching.defvectorized(_guard)
ad.deflinear(_guard, lambda cotangent, *, reason: [_guard.bind(jax.numpy.asarray(cotangent), reason=reason)])
