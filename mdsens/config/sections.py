"""The base of every section, sections chosen by kind, and the sections that workflows share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import pydantic
from pydantic import AfterValidator, Field
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

from mdsens.config.validation import ALLOWED, ConfigError, choice_sentence, format_value, validate
from mdsens.names import TERM_RULE, is_term_name

Value = TypeVar("Value")


class Section(pydantic.BaseModel):
    """Base of every section: frozen, no unknown keys, no NaN or infinity, no text or truth value taken for a number."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=False)

    @pydantic.field_validator("*", mode="wrap")
    @classmethod
    def _refuse_silent_conversion(cls, value: Any, handler: Callable[[Any], Any]) -> Any:
        result = handler(value)
        if _silently_converted(value, result):
            raise PydanticCustomError("silent_conversion", "wrong type")
        return result


def _silently_converted(value: object, result: object) -> bool:
    """Whether "3" or true became a number, or 1 became true: pydantic's courtesies hide mistakes in a TOML file."""
    if isinstance(value, list) and isinstance(result, list | tuple):
        return any(map(_silently_converted, value, result))
    if not isinstance(result, bool | int | float):
        return False
    return isinstance(value, str) or isinstance(value, bool) != isinstance(result, bool)


@dataclass(frozen=True)
class RegistrySection:
    """Mark a field as a section whose ``kind`` chooses the ``Options`` of a registry's entry.

    Use it as ``system: Annotated[Any, RegistrySection(systems.REGISTRY, "system")]``; the field then holds that entry's
    ``Options``.

    Attributes:
        registry: Entries by kind, each with an ``Options`` section that declares ``kind``.
        section: The section's name in the TOML file.
        several: Whether it may be an array of tables, ``[[section]]``; the field then holds a tuple of ``Options`` that
            have a ``name`` besides.
    """

    registry: Mapping[str, Any]
    section: str
    several: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validate)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> JsonSchemaValue:
        kinds = ", ".join(f'"{kind}"' for kind in self.registry)
        several = f", or several of them, each headed [[{self.section}]]" if self.several else ""
        return {"type": "object", ALLOWED: f"a section with a kind, one of {kinds}{several}"}

    def _validate(self, data: Any) -> Section | tuple[Section, ...]:
        if self.several and isinstance(data, list | tuple):
            return validate_terms(data, registry=self.registry, section=self.section)
        return validate_kind(data, registry=self.registry, section=self.section)


def validate_kind(data: Any, *, registry: Mapping[str, Any], section: str) -> Section:
    """Build the options of the registry's entry that ``data["kind"]`` names.

    Args:
        data: Keys and values of the section, or options already built.
        registry: Entries by kind, each with an ``Options`` section that declares ``kind``.
        section: The section's name, for messages.

    Returns:
        The validated ``Options`` of that entry.

    Raises:
        ConfigError: When the kind is missing or unknown (with the nearest known one) or an option is not valid.
    """
    if isinstance(data, Section) and any(type(data) is entry.Options for entry in registry.values()):
        return data
    return validate(_chosen(data, registry, section), data, section)


def validate_terms(data: Sequence[Any], *, registry: Mapping[str, Any], section: str) -> tuple[Section, ...]:
    """Build the options of every table of an array of tables, each with a ``name``: by default its kind.

    Args:
        data: Keys and values of every table, or options already built.
        registry: Entries by kind, each with an ``Options`` section that declares ``kind``.
        section: The section's name, for messages.

    Returns:
        The validated ``Options``, each with its name.

    Raises:
        ConfigError: When there is no table, two have one name, a name could not begin a path, or as ``validate_kind``.
    """
    if not data:
        raise ConfigError(f"{section} is an empty list: it must be at least one section headed [[{section}]]")
    terms = tuple(_term(entry, registry, section, k) for k, entry in enumerate(data))
    names = [term_name(term.model_dump()) for term in terms]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(
            f"two of [[{section}]] are named {format_value(twice)}: give each a name of its own, such as "
            f'name = "{twice}_2"'
        )
    return terms


def term_name(term: Mapping[str, Any]) -> Any:
    """Return the name of a table of an array of tables: its kind where it gives none, and None where it has neither."""
    return term.get("name", term.get("kind"))


def _term(data: Any, registry: Mapping[str, Any], section: str, k: int) -> Section:
    if isinstance(data, Section) and any(type(data) is _named(entry.Options) for entry in registry.values()):
        return data
    options, name = _chosen(data, registry, f"{section}[{k}]"), term_name(data)
    if not is_term_name(name):
        raise ConfigError(f"{section}[{k}].name = {format_value(name)} is not allowed: {TERM_RULE}")
    return validate(_named(options), {**data, "name": name}, f"{section}.{name}")


@functools.cache
def _named(options: type[Section]) -> type[Section]:
    about = Field(description="what the paths of its parameters begin with; default: the kind")
    named: type[Section] = pydantic.create_model(
        f"Named{options.__name__}", __base__=options, __doc__=options.__doc__, name=(str, about)
    )
    return named


def _chosen(data: Any, registry: Mapping[str, Any], section: str) -> type[Section]:
    """Return the options of the kind that some data name."""
    kinds = list(registry)
    if not isinstance(data, Mapping):
        raise ConfigError(f"{section} must be a section with a kind, one of {', '.join(kinds)}")
    if "kind" not in data:
        raise ConfigError(f"{section}.kind is missing: it must be one of {', '.join(kinds)}")
    if not isinstance(data["kind"], str) or data["kind"] not in registry:
        raise ConfigError(choice_sentence(f"{section}.kind", data["kind"], kinds))
    options: type[Section] = registry[data["kind"]].Options
    return options


def distinct(values: tuple[Value, ...]) -> tuple[Value, ...]:
    """Return the values unchanged; for a field as ``Annotated[tuple[...], AfterValidator(distinct)]``.

    Raises:
        ValueError: When a value appears twice; the message names it.
    """
    repeated = sorted({str(value) for value in values if values.count(value) > 1})
    if repeated:
        raise ValueError(f"every entry may appear once, but {', '.join(repeated)} is repeated")
    return values


#: One or more different names.
Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1), AfterValidator(distinct)]
PictureFormat = Literal["png", "pdf", "svg"]


class RelaxationOptions(Section):
    """The ``[relaxation]`` section: when to stop, by which rule, and how often neighbour lists are rebuilt."""

    max_force: float = Field(
        1e-12, gt=0, le=1e-2, description="largest Euclidean norm of a particle's force at the end, units of eps/sigma"
    )
    max_steps: int = Field(5_000_000, ge=1, le=1_000_000_000, description="largest number of minimiser steps")
    minimizer: Literal["auto", "fire", "conjugate_gradient", "lbfgs", "truncated_newton"] = Field(
        "auto", description="rule that leads into a basin; auto: fire up to 300 particles, conjugate_gradient beyond"
    )
    skin: float = Field(0.3, ge=0, description="neighbour list's extra range, units of the largest cutoff")
    linear_solver: Literal["auto", "direct", "krylov"] = Field(
        "auto", description="solves with the Hessian; auto: a direct factor as far as memory goes, krylov beyond"
    )


class SensitivityOptions(Section):
    """The ``[sensitivity]`` section: what is differentiated with respect to what, by path."""

    parameters: Names = Field(description='parameters by path, such as "soft_sphere.sigma[A,B]"')
    observables: Names = Field(("energy", "pressure"), description="observables whose derivatives are wanted")


class OutputOptions(Section):
    """The ``[output]`` section: the name of the results and which figures are drawn."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$",
        max_length=100,  # names of figures are made of it, and a file system takes 255 bytes
        description="file name of the results, without folder and ending",
        json_schema_extra={ALLOWED: "a file name of at most 100 letters, digits, '_', '-' and '.', without a folder"},
    )
    figures: bool = Field(True, description="whether figures are drawn")
    formats: Annotated[tuple[PictureFormat, ...], Field(min_length=1), AfterValidator(distinct)] = Field(
        ("png",), description="picture formats"
    )
