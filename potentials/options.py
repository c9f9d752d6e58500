"""The ``[potential]`` section of a law, made from what the law declares of its fields."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_type_hints

import jax.numpy as jnp
import pydantic
from jaxtyping import Array
from pydantic import Field

from mdsens.config import Section
from mdsens.energy import (
    BondedPotential,
    Declared,
    ManyBodyPotential,
    OneBodyPotential,
    Potential,
    declared_fields,
    law_name,
)
from mdsens.energy.knots import PerKnot
from mdsens.types import LARGEST, Groups
from potentials.given import entries, group_entries, groups_named, lengths, site_entries
from potentials.parameter_sets import PUBLISHED

Mixing = Literal["additive", "independent"]
Build = Callable[..., Potential]  # (section, diameters, n_species, topology), as in section_of
Read = Callable[[str], Mapping[str, Any]]  # of a file: the entries of all fields with one per knot
_NO_GROUPS: Mapping[str, Groups] = MappingProxyType({})


def section_of(law: type[Potential], kind: str | None = None, read: Read | None = None) -> tuple[type[Section], Build]:
    """Return the ``[potential]`` section of a law and the function that makes the law from it.

    Every declared field is a key: settings with their type, range and default; parameters of many-body laws as one
    number; of bonded laws as one number, one per kind of group or one per group; of outer fields as one number or one
    per species; of pair laws as one number, one per species or one per pair of species. A parameter that is
    ``of_system`` is given per species, per particle or per pair and defaults to the system's diameters; ``mixing`` says
    whether those of unlike species are their mean, less where ``non_additivity`` says so, or entries of their own.
    What is per knot is a list of any length. Where parameters of a law are published under a name, ``set`` takes them;
    keys that are given beside it count.

    Args:
        law: The law's class.
        kind: Its name in TOML files; by default that of its class.
        read: What reads its knots from a file; a key ``path`` then takes their place.
    """
    kind = kind or law_name(law)
    hints, defaults = get_type_hints(law), inspect.signature(law).parameters
    fields: dict[str, Any] = {"kind": (Literal[kind], kind)}
    for name, declared in declared_fields(law):
        default = defaults[name].default
        if declared.per_knot and read is not None:
            fields["path"] = (str, Field(min_length=1, description="file with the rows of the table"))
        elif _is_setting(law, name):
            fields[name] = (hints[name], _field(default, declared))
        elif declared.of_system:
            about = f"{name} of unlike species: mean of the two, or an independent entry"
            fields["mixing"] = (Mixing, Field("additive", description=about))
            about = f"mean {name} of unlike particles times 1 - non_additivity |difference|, units of 1/length"
            fields["non_additivity"] = (float, Field(0.0, ge=0, le=LARGEST, description=about))
            about = f"{declared.about}; default: the system's diameters. independent: AA, AB, BB, ..."
            number: Any = _number(declared)
            fields[name] = (tuple[number, ...] | None, Field(None, description=about))
        else:
            fields[name] = _parameter(law, declared, default)
    doc = f'The ``[potential]`` section for ``kind = "{kind}"``.'
    sets = PUBLISHED.get(kind, {})
    base = _published_base(sets) if sets else Section
    if sets:
        names: Any = tuple(sets)
        fields["set"] = (Literal[names] | None, Field(None, description="published parameters, by name"))
    made_model: Any = pydantic.create_model
    options = made_model(f"{law.__name__}Options", __base__=base, __doc__=doc, **fields)

    def build(section: Any, diameters: Array, n_species: int, topology: Mapping[str, Groups] = _NO_GROUPS) -> Potential:
        """Make the law.

        Args:
            section: The validated ``[potential]`` section, or the one of a term, which has a name.
            diameters: Diameter per species, shape (s,), or per particle, shape (n,), as the system defines them; shape
                (0,) where it defines none.
            n_species: Number of species s.
            topology: The start's groups of particles by name.

        Raises:
            ValueError: When a list has the wrong number of entries, diameters or groups are missing, or the law refuses
                a value.
        """
        place = f"potential.{section.name}" if hasattr(section, "name") else "potential"
        groups = groups_named(section.topology, topology, place) if issubclass(law, BondedPotential) else None

        known = {} if read is None else read(section.path)

        def made(name: str, declared: Declared) -> Any:
            if name in known:
                return known[name]
            given, key = getattr(section, name), f"{place}.{name}"
            if _is_setting(law, name):
                return given
            if declared.of_system:
                return lengths(section.mixing, given, diameters, n_species, key, section.non_additivity)
            if declared.per_knot:
                return PerKnot(jnp.asarray(given, dtype=float))
            if groups is not None:
                return group_entries(given, groups, key)
            if issubclass(law, OneBodyPotential):
                return site_entries(given, n_species, key)
            return entries(given, n_species, key, declared)

        return law(**{name: made(name, declared) for name, declared in declared_fields(law)})

    return options, build


def _published_base(known: Mapping[str, Mapping[str, Any]]) -> type[Section]:
    """Return a base of sections that begin with what their ``set`` holds."""

    class Published(Section):
        @pydantic.model_validator(mode="before")
        @classmethod
        def _with_the_set(cls, data: Any) -> Any:
            name = data.get("set") if isinstance(data, Mapping) else None
            return {**known[name], **data} if isinstance(name, str) and name in known else data

    return Published


def _parameter(law: type[Potential], declared: Declared, default: Any) -> tuple[Any, Any]:
    """Return type and field of a parameter that is one number or, of most laws, may be a list."""
    number: Any = _number(declared)
    mixing = declared.mixing.__name__.replace("_", " ")
    if declared.per_knot:
        return tuple[number, ...], Field(min_length=1, description=f"{declared.about}: a list, one per knot")
    if issubclass(law, ManyBodyPotential):
        forms, words = number, "one number"
    elif issubclass(law, BondedPotential):
        forms, words = number | tuple[number, ...], "one number, one per kind of group, or one per group"
    elif issubclass(law, OneBodyPotential):
        forms, words = number | tuple[number, ...], "one number, or one per species"
    else:
        words = f"one number, one per species ({mixing}), or one per pair (AA, AB, BB, ...)"
        forms = number | tuple[number, ...]
    given = {} if default is inspect.Parameter.empty else {"default": default}
    return forms, Field(**given, description=f"{declared.about}: {words}")


def _is_setting(law: type[Potential], name: str) -> bool:
    return bool(law.__dataclass_fields__[name].metadata.get("static"))


def _number(declared: Declared) -> Any:
    """Return the type of one entry with its range; what is positive is neither tiny nor huge beyond all reason."""
    smallest = 1 / LARGEST if declared.above == 0 else -LARGEST if declared.at_least is None else declared.at_least
    return Annotated[float, Field(gt=declared.above, ge=smallest, le=LARGEST)]


def _field(default: Any, declared: Declared) -> Any:
    return Field(default, gt=declared.above, ge=declared.at_least, le=declared.at_most, description=declared.about)
