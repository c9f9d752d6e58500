"""Which arguments of a solver are its start and which its parameters, given by position or by name, in any order."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Callable, Mapping
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

    What the solver gets by position after x0, F gets by position; what it gets by name, F gets under that name,
    whatever the order in which either was written.

    Args:
        F: The optimality function; one that wraps another says whose parameters it takes as ``reference``.
        solver: The solver.
        n_args: Number of arguments given by position.
        names: Names of those given by name.

    Raises:
        TypeError: When x0 is missing or F lacks a parameter of such a name.
    """
    start: Place = 0
    if not n_args:
        start = next(iter(inspect.signature(solver).parameters), "")
        if start not in names:
            raise TypeError(f"the solver was called without its first argument, the starting point {start or 'x0'}.")
        names = tuple(name for name in names if name != start)
    by_position = range(1, n_args)
    signature = _signature(F)
    if not names or signature is None:
        return Call(start, (*by_position, *names), names)
    _refuse_unknown(names, signature)
    try:
        bound = signature.bind(None, *by_position, **{name: name for name in names})
    except TypeError as error:
        raise TypeError(f"the optimality function's parameters do not fit the solver's arguments: {error}.") from None
    return Call(start, (*bound.args[1:], *bound.kwargs.values()), tuple(bound.kwargs))


def _signature(F: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(getattr(F, "reference", None) or F)
    except (TypeError, ValueError):
        return None


def _refuse_unknown(names: tuple[str, ...], signature: inspect.Signature) -> None:
    parameters = list(signature.parameters.values())[1:]
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)
    known = [parameter.name for parameter in parameters if parameter.kind not in positional]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"did you mean {near[0]}? It takes" if near else "it takes"
            raise TypeError(
                f"the optimality function has no parameter {name}: {meant} {', '.join(known) or 'none by name'}. Bind "
                "what only the solver needs with functools.partial."
            )
