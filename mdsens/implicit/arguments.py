"""Which arguments of a solver are its start and which its parameters, given by position or by name, in any order."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jaxtyping import PyTree

Place = int | str  # of an argument in a call: its position, or its name


@dataclasses.dataclass(frozen=True)
class ByName:
    """A function (x, *p) whose last parameters are given by name.

    Attributes:
        function: The function.
        names: Names of the last entries of p.
    """

    function: Callable[..., Any]
    names: tuple[str, ...]

    def __call__(self, x: PyTree, *p: PyTree) -> Any:
        """Return the function's value."""
        n = len(p) - len(self.names)
        return self.function(x, *p[:n], **dict(zip(self.names, p[n:], strict=True)))


@dataclasses.dataclass(frozen=True)
class Call:
    """Where the start and the parameters of F(x, *p) stand in a call of its solver.

    Attributes:
        start: Place of x0.
        places: Places of p, in the order in which F takes them.
        names: Names under which F takes the last ones; most often none, F takes all by position.
    """

    start: Place
    places: tuple[Place, ...]
    names: tuple[str, ...]

    def taken(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, tuple[Any, ...]]:
        """Return x0 and p from the arguments of the call."""
        at = lambda place: args[place] if isinstance(place, int) else kwargs[place]  # noqa: E731
        return at(self.start), tuple(at(place) for place in self.places)

    def given(self, x0: Any, p: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of the call from x0 and p."""
        held = dict(zip((self.start, *self.places), (x0, *p), strict=True))
        n = sum(isinstance(place, int) for place in held)
        return tuple(held[k] for k in range(n)), {name: held[name] for name in held if isinstance(name, str)}

    def as_called(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function of (x, *p) that takes its last parameters as F takes them."""
        return ByName(function, self.names) if self.names else function


def call_of(F: Callable[..., Any], solver: Callable[..., Any], n_args: int, names: tuple[str, ...]) -> Call:
    """Find the parameters of F(x, *p) among the arguments of its solver.

    Where F has parameters of all the names that the solver's arguments have, names decide: the two may take them in
    different order. Otherwise what the solver gets by position after x0, F gets by position, and what it gets by name,
    F gets under that name; an F that takes its parameters as ``*p`` alone gets them in the solver's order.

    Args:
        F: The optimality function; one that wraps another says whose parameters it takes as ``reference``.
        solver: The solver.
        n_args: Number of arguments given by position.
        names: Names of those given by name.

    Raises:
        TypeError: When x0 is missing or F lacks a parameter of such a name.
    """
    own = _signature(solver)
    start: Place = 0
    if not n_args:
        start = _first(own)
        if start not in names:
            raise TypeError(f"the solver was called without its first argument, the starting point {start or 'x0'}.")
        names = tuple(name for name in names if name != start)
    by_position = range(1, n_args)
    signature = _signature(F)
    if signature is None:
        return Call(start, (*by_position, *names), names)
    by_name: dict[str, Place] = dict(zip(_positions(own)[1:n_args], by_position, strict=False))
    by_name |= {name: name for name in names}
    if len(by_name) == len(by_position) + len(names) and by_name.keys() <= set(_known(signature)):
        bound = _bound(signature, (), by_name)
        if isinstance(bound, inspect.BoundArguments):
            return _call_as(start, bound)
    if not names:
        return Call(start, tuple(by_position), ())
    in_order = _positions(own)[1 : 1 + len(by_name)]
    if _takes(signature, inspect.Parameter.VAR_POSITIONAL) and not _known(signature) and by_name.keys() == {*in_order}:
        return Call(start, tuple(by_name[name] for name in in_order), ())
    _refuse_unknown(names, signature)
    bound = _bound(signature, tuple(by_position), {name: name for name in names})
    if isinstance(bound, inspect.BoundArguments):
        return _call_as(start, bound)
    first = f" (the solver's first parameter, {start}, is its starting point)" if isinstance(start, str) else ""
    raise TypeError(f"the optimality function's parameters do not fit the solver's arguments: {bound}{first}.")


def passed_on(F: Callable[..., Any], solver: Callable[..., Any], n_args: int, names: Iterable[str]) -> dict[str, Any]:
    """Return the solver's own defaults that F has to know: those of parameters that F has, too, and that of the start.

    Args:
        F: As for `call_of`.
        solver: As for `call_of`.
        n_args: As for `call_of`.
        names: As for `call_of`.
    """
    own, signature = _signature(solver), _signature(F)
    if own is None or signature is None:
        return {}
    wanted = {*_known(signature), _first(own)} - {*_positions(own)[:n_args], *names}
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        parameter.name: parameter.default
        for parameter in own.parameters.values()
        if parameter.name in wanted and parameter.kind in by_name and parameter.default is not parameter.empty
    }


def _call_as(start: Place, bound: inspect.BoundArguments) -> Call:
    return Call(start, (*bound.args[1:], *bound.kwargs.values()), tuple(bound.kwargs))


def _bound(
    signature: inspect.Signature, by_position: tuple[int, ...], by_name: Mapping[str, Place]
) -> inspect.BoundArguments | TypeError:
    """Return where the parameters of F come from, or why they do not fit."""
    try:
        return signature.bind(None, *by_position, **by_name)
    except TypeError as error:
        return error


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(getattr(function, "reference", None) or function)
    except (TypeError, ValueError):
        return None


def _first(signature: inspect.Signature | None) -> str:
    return next(iter(signature.parameters), "") if signature else ""


def _positions(signature: inspect.Signature | None) -> list[str]:
    """Return the names of the parameters that may be given by position, in order."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = signature.parameters.values() if signature else ()
    return [parameter.name for parameter in parameters if parameter.kind in kinds]


def _known(signature: inspect.Signature) -> list[str]:
    """Return the names under which F takes parameters."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [parameter.name for parameter in list(signature.parameters.values())[1:] if parameter.kind in kinds]


def _takes(signature: inspect.Signature, kind: object) -> bool:
    return any(parameter.kind is kind for parameter in signature.parameters.values())


def _refuse_unknown(names: tuple[str, ...], signature: inspect.Signature) -> None:
    if _takes(signature, inspect.Parameter.VAR_KEYWORD):
        return
    known = _known(signature)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"did you mean {near[0]}? It takes" if near else "it takes"
            raise TypeError(
                f"the optimality function has no parameter {name}: {meant} {', '.join(known) or 'none by name'}. Bind "
                "what only the solver needs with functools.partial."
            )
