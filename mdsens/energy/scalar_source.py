"""Python source for numbers from a JAX function of numbers: its jaxpr, line by line."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Var
from jaxtyping import Array

_INFIX = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "add_any": "+",
    "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=",
}  # fmt: skip
_CALLS = {
    "exp": "math.exp({})", "log": "math.log({})", "log1p": "math.log1p({})", "expm1": "math.expm1({})",
    "sqrt": "math.sqrt({})", "rsqrt": "(1.0 / math.sqrt({}))", "sin": "math.sin({})", "cos": "math.cos({})",
    "tan": "math.tan({})", "tanh": "math.tanh({})", "sinh": "math.sinh({})", "cosh": "math.cosh({})",
    "asin": "math.asin({})", "acos": "math.acos({})", "atan": "math.atan({})", "atan2": "math.atan2({}, {})",
    "logistic": "(1.0 / (1.0 + math.exp(-{})))",
    "erf": "math.erf({})", "erfc": "math.erfc({})", "abs": "abs({})", "neg": "(-{})", "floor": "math.floor({})",
    "square": "({0} * {0})", "exp2": "(2.0 ** {})", "is_finite": "math.isfinite({})", "not": "(not {})",
    "and": "({} and {})", "or": "({} or {})", "stop_gradient": "{}", "copy": "{}", "copy_p": "{}",
    "broadcast_in_dim": "{}", "reshape": "{}", "squeeze": "{}", "real": "{}",
    # like JAX's, these pass NaN on
    "max": "({0} if {0} >= {1} or {0} != {0} else {1})", "min": "({0} if {0} <= {1} or {0} != {0} else {1})",
    "sign": "(0.0 if {0} == 0.0 else math.copysign(1.0, {0}))",
}  # fmt: skip
_NESTED = {"pjit": "jaxpr", "jit": "jaxpr", "custom_jvp_call": "call_jaxpr", "closed_call": "call_jaxpr"}


class NotScalarError(Exception):
    """A function holds what is no arithmetic of numbers."""


def source_of(function: Callable[..., Sequence[Array]], names: Sequence[str], results: Sequence[str]) -> list[str]:
    """Return assignments that compute a function of numbers.

    Args:
        function: Takes as many float64 scalars as there are names, returns as many as there are results.
        names: What its arguments are called in the source.
        results: What its results are called there.

    Raises:
        NotScalarError: When it holds an operation that is none of numbers, such as a table's lookup.
    """
    closed = jax.make_jaxpr(function)(*(jax.ShapeDtypeStruct((), np.dtype(float)) for _ in names))
    writer = _Writer()
    found = writer.inline(closed, list(names))
    return [*writer.lines, *(f"{result} = {value}" for result, value in zip(results, found, strict=True))]


class _Writer:
    """Collects the lines; every value of the jaxpr is a name or a number in them."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def inline(self, closed: ClosedJaxpr | Jaxpr, arguments: list[str]) -> list[str]:
        """Write a jaxpr's equations; return what its results are called."""
        jaxpr, constants = (closed.jaxpr, closed.consts) if isinstance(closed, ClosedJaxpr) else (closed, [])
        known = dict(zip(jaxpr.invars, arguments, strict=True))
        known |= {variable: _number(value) for variable, value in zip(jaxpr.constvars, constants, strict=True)}

        def named(atom: Var | Literal) -> str:
            return _number(atom.val) if isinstance(atom, Literal) else known[atom]

        for equation in jaxpr.eqns:
            if any(getattr(result.aval, "shape", ()) for result in equation.outvars):
                raise NotScalarError(f"{equation.primitive.name} makes an array")
            taken = [named(atom) for atom in equation.invars]
            known |= dict(zip(equation.outvars, self._written(equation, taken), strict=True))
        return [named(atom) for atom in jaxpr.outvars]

    def _written(self, equation: Any, taken: list[str]) -> Iterator[str]:
        operation, options = equation.primitive.name, equation.params
        if operation in _NESTED:
            return iter(self.inline(options[_NESTED[operation]], taken))
        return iter([self._kept(_expression(operation, options, taken, equation))])

    def _kept(self, expression: str) -> str:
        if expression.isidentifier():
            return expression
        name = f"v{len(self.lines)}"
        self.lines.append(f"{name} = {expression}")
        return name


def _expression(operation: str, options: dict[str, Any], taken: list[str], equation: Any) -> str:
    if operation in _INFIX:
        return f"({taken[0]} {_INFIX[operation]} {taken[1]})"
    if operation in _CALLS:
        return _CALLS[operation].format(*taken)
    if operation == "integer_pow":
        return _power(taken[0], options["y"])
    if operation == "pow":
        exponent = equation.invars[1]
        whole = isinstance(exponent, Literal) and float(exponent.val).is_integer() and abs(float(exponent.val)) <= 64
        return _power(taken[0], int(exponent.val)) if whole else f"({taken[0]} ** {taken[1]})"
    if operation == "select_n" and len(taken) == 3:
        return f"({taken[2]} if {taken[0]} else {taken[1]})"
    if operation == "clamp":
        return f"min(max({taken[1]}, {taken[0]}), {taken[2]})"
    if operation == "convert_element_type":
        kind = np.dtype(options["new_dtype"]).kind
        if kind == "f":
            return f"float({taken[0]})"
        if kind == "b":
            return f"({taken[0]} != 0)"
    raise NotScalarError(operation)


def _power(base: str, exponent: int) -> str:
    """Return a power by repeated squares."""
    if exponent < 0:
        return f"(1.0 / {_power(base, -exponent)})"
    if exponent == 0:
        return "1.0"
    if exponent == 1:
        return base
    half = _power(base, exponent // 2)
    return f"(({half}) * ({half}){f' * {base}' if exponent % 2 else ''})"


def _number(value: Any) -> str:
    if np.ndim(value):
        raise NotScalarError("an array of constants")
    if np.asarray(value).dtype.kind == "b":
        return str(bool(value))
    number = float(value)
    return (
        repr(number)
        if math.isfinite(number)
        else f"math.{'nan' if number != number else 'inf'}"
        if not number < 0
        else "(-math.inf)"
    )
