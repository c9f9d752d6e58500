"""How a law declares its fields: each once, with unit, range, default and meaning; TOML, checks and paths follow."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import numpy as np

from mdsens.energy.by_species import BySpecies
from mdsens.energy.entries import is_entries
from mdsens.energy.knots import PerKnot
from mdsens.energy.mixing import Mixing, arithmetic_mean
from mdsens.energy.parameters import Uniform
from mdsens.given import float64_array, is_concrete, shown
from mdsens.units import Powers, unit_text

_KEY = "declared"


@dataclasses.dataclass(frozen=True)
class Declared:
    """What is known about a field of a law.

    Attributes:
        about: What it means, one phrase.
        unit: Its unit in words, as ``mdsens.units.unit_text`` has it.
        above: Every entry must be greater than this; None for no such limit.
        at_least: Every entry must be at least this; None for no such limit.
        at_most: Every entry must be at most this; None for no such limit.
        mixing: How two species' values make a pair's.
        of_system: Whether a system's diameters are its default in a TOML file.
        per_knot: Whether it is a list of any length, one entry per knot of a function.
    """

    about: str
    unit: str = "none"
    above: int | float | None = None
    at_least: int | float | None = None
    at_most: int | float | None = None
    mixing: Mixing = arithmetic_mean
    of_system: bool = False
    per_knot: bool = False

    @property
    def words(self) -> str:
        """The allowed range in words."""
        limits = [("greater than", self.above), ("at least", self.at_least), ("at most", self.at_most)]
        return " and ".join(["finite", *(f"{words} {limit:g}" for words, limit in limits if limit is not None)])

    def allows(self, values: np.ndarray) -> np.ndarray:
        """Return which of some values, shape (k,), lie within the range, same shape."""
        allowed = np.isfinite(values)
        if self.above is not None:
            allowed &= values > self.above
        if self.at_least is not None:
            allowed &= values >= self.at_least
        if self.at_most is not None:
            allowed &= values <= self.at_most
        return allowed


def parameter(
    about: str,
    *,
    unit: Powers | None = None,
    above: int | float | None = None,
    at_least: int | float | None = None,
    mixing: Mixing = arithmetic_mean,
    default: int | float | None = None,
    of_system: bool = False,
    kw_only: bool = False,
) -> Any:
    """Declare a differentiable field: entries that are shared, per species, per pair of species or per particle.

    A plain number becomes ``Uniform``. Inside ``pair_energy`` the field holds the values of the pairs themselves.

    Args:
        about: What it means, one phrase.
        unit: Its unit as powers, such as ``{"length": -1}``; none by default.
        above: Every entry must be greater than this; any finite number by default.
        at_least: Every entry must be at least this.
        mixing: How two species' values make a pair's.
        default: Its value where none is given.
        of_system: Whether a system's diameters are its default in a TOML file.
        kw_only: Whether it is given by name only.
    """
    declared = Declared(about, unit_text(unit or {}), above, at_least, None, mixing, of_system)
    given: dict[str, Any] = {} if default is None else {"default": default}

    def converter(value: Any) -> Any:
        return as_entries(value, about, mixing)

    return eqx.field(converter=converter, metadata={_KEY: declared}, kw_only=kw_only, **given)


def knots(about: str, *, unit: Powers | None = None, above: int | float | None = None) -> Any:
    """Declare a differentiable field with one entry per knot of a function, as many as are given.

    Inside ``pair_energy`` the field is a ``PerKnot``, whose ``values`` have shape (k,): all pairs share them.

    Args:
        about: What it means, one phrase.
        unit: Its unit as powers; none by default.
        above: Every entry must be greater than this; any finite number by default.
    """
    declared = Declared(about, unit_text(unit or {}), above, per_knot=True)

    def converter(value: Any) -> Any:
        return value if isinstance(value, PerKnot) else PerKnot(value)

    return eqx.field(converter=converter, metadata={_KEY: declared})


def setting(
    about: str,
    *,
    default: Any,
    above: int | float | None = None,
    at_least: int | float | None = None,
    at_most: int | float | None = None,
) -> Any:
    """Declare a static field, given by name: what a law is, not what one differentiates in.

    Args:
        about: What it means, one phrase.
        default: Its value where none is given.
        above: It must be greater than this.
        at_least: It must be at least this.
        at_most: It must be at most this.
    """
    declared = Declared(about, above=above, at_least=at_least, at_most=at_most)
    wanted = type(default)

    def converter(value: Any) -> Any:
        return _as_setting(value, about, wanted)

    return eqx.field(
        static=True,
        default=default,
        kw_only=True,
        converter=converter if wanted in (float, int, bool) else _as_it_is,
        metadata={_KEY: declared},
    )


def as_entries(value: Any, about: str = "a parameter", mixing: Mixing = arithmetic_mean) -> Any:
    """Return a number as ``Uniform``, a dictionary as ``BySpecies`` and entries as they are.

    Args:
        value: What was given.
        about: What it means, for messages.
        mixing: How two species' values make a pair's.

    Raises:
        ValueError: For lists, which do not say whose values they are, and what is no number.
    """
    if isinstance(value, dict) and value:
        return BySpecies(value, mixing)
    if isinstance(value, bool | str | list | tuple | dict) or value is None:
        raise ValueError(
            f"a parameter ({about}) is given as {shown(value)}; give a number, or say whose values they are: "
            '{"A": ..., "B": ...} by species, PerSpecies([...]), PerPair([...]) or PerParticle([...]).'
        )
    return value if is_entries(value) or np.ndim(value) else Uniform(float64_array(value, f"a parameter ({about})"))


def _as_setting(value: Any, about: str, wanted: type) -> Any:
    """Return a static number or truth value as Python's own.

    Raises:
        ValueError: When it is something else: texts, lists and arrays are not static.
    """
    single = isinstance(value, np.generic | np.ndarray | jax.Array) and np.ndim(value) == 0 and is_concrete(value)
    plain = value.item() if single else value
    if isinstance(plain, bool) is (wanted is bool) and isinstance(plain, bool | int | float):
        return plain
    words = "true or false" if wanted is bool else "one number"
    raise ValueError(f"a setting ({about}) is given as {shown(value)}; it must be {words}.")


def _as_it_is(value: Any) -> Any:
    return value


def declared_fields(law: Any) -> Iterator[tuple[str, Declared]]:
    """Yield name and declaration of every declared field of a law or its class, in order."""
    for field in dataclasses.fields(law):
        if _KEY in field.metadata:
            yield field.name, field.metadata[_KEY]


def check_ranges(law: Any) -> None:
    """Refuse fields outside of their declared ranges.

    Raises:
        ValueError: With the field, the value and the range.
    """
    for name, declared in declared_fields(law):
        value = getattr(law, name)
        if isinstance(value, bool | str) or not is_concrete(value):
            continue
        numbers = [np.asarray(leaf) for leaf in jax.tree.leaves(value)]
        for entries in numbers:
            if entries.dtype.kind not in "fiu":
                continue
            allowed = declared.allows(entries.ravel())
            if not allowed.all():
                subject = "every entry" if entries.ndim else "it"
                wrong = entries.ravel()[~allowed][0]
                raise ValueError(f"{name} ({declared.about}) is {wrong}; {subject} must be {declared.words}.")
