"""Read a TOML file, apply ``--section.key value`` overrides and validate the result."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from mdsens.config.sections import term_name
from mdsens.config.validation import ConfigError, Model, format_value, validate


@dataclass(frozen=True)
class Loaded(Generic[Model]):
    """A validated configuration together with its text.

    Attributes:
        config: The validated configuration.
        text: The TOML as given.
        resolved: The full TOML: the file, overrides and defaults; loading it gives ``config`` again.
        path: The file that was read.
    """

    config: Model
    text: str
    resolved: str
    path: Path


def load(path: str | Path, *, schema: type[Model], overrides: Sequence[str] = ()) -> Loaded[Model]:
    """Read and validate a configuration.

    Args:
        path: The TOML file.
        schema: The model that the whole file must satisfy.
        overrides: Tokens ``--section.key value`` or ``--section.key=value``; a value is read as TOML, and as text when
            it is not valid TOML. The last one wins. In an array of tables, ``--section.name.key value`` is for the
            table of that name.

    Returns:
        The configuration with its text as given and as resolved.

    Raises:
        ConfigError: When the file cannot be read or is not TOML, or a key or value is not allowed; one sentence.
    """
    text, data = read_toml(Path(path))
    config = _resolved(data, schema, overrides, str(path))
    dumped = config.model_dump(mode="json", exclude_none=True, serialize_as_any=True)
    return Loaded(config=config, text=text, resolved=dump_toml(dumped), path=Path(path))


def load_text(text: str, *, schema: type[Model], overrides: Sequence[str] = (), source: str = "configuration") -> Model:
    """Validate TOML text, such as the one a results file holds.

    Args:
        text: The TOML.
        schema: The model that it must satisfy.
        overrides: As for ``load``.
        source: What the text is called in messages.

    Raises:
        ConfigError: When the text is not TOML, or a key or value is not allowed.
    """
    return _resolved(_parsed(text, source), schema, overrides, source)


def _resolved(data: dict[str, Any], schema: type[Model], overrides: Sequence[str], source: str) -> Model:
    for keys, value in _parse_overrides(overrides):
        _assign(data, keys, value)
    try:
        config = validate(schema, data)
        _refuse_extreme_numbers(data)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    return config


def read_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """Return a TOML file's text and its data.

    Args:
        path: The file.

    Returns:
        The text as given and the data.

    Raises:
        ConfigError: When the file is missing, a folder, unreadable, not UTF-8 or not TOML (with line and column).
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist: give the path of a TOML file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder: give the path of a TOML file") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a TOML file: byte {error.start} is not UTF-8 text") from None
    return text, _parsed(text, str(path))


def _parsed(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{source} is not usable: its lists or tables are nested too deeply") from None
    except ValueError:  # Python's own limit
        raise ConfigError(f"{source} is not usable: it holds an integer of more than 4300 digits") from None


def dump_toml(data: Mapping[str, Any]) -> str:
    """Write plain data as TOML.

    Args:
        data: Text, numbers, truth values, lists of these, and mappings of these under text keys.

    Returns:
        TOML text that ``tomllib.loads`` reads back to ``data``.

    Raises:
        TypeError: When a value has no TOML form.
    """
    return "\n".join(_table_lines(data, ())).strip() + "\n"


def _table_lines(data: Mapping[str, Any], path: tuple[str, ...], *, entry: bool = False) -> Iterator[str]:
    tables = {key: value for key, value in data.items() if isinstance(value, Mapping) or _are_tables(value)}
    header = ".".join(map(_toml_key, path))
    if path and (entry or len(tables) < len(data) or not data):
        yield f"\n[[{header}]]" if entry else f"\n[{header}]"
    for key, value in data.items():
        if key not in tables:
            yield f"{_toml_key(key)} = {_toml_value(value)}"
    for key, value in tables.items():
        several = not isinstance(value, Mapping)
        for table in value if several else [value]:
            yield from _table_lines(table, (*path, key), entry=several)


def _are_tables(value: object) -> bool:
    """Whether a value is an array of tables."""
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(entry, Mapping) for entry in value)


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml_value(key)


def _toml_value(value: object) -> str:
    if isinstance(value, bool | str):  # JSON text is TOML text, except that TOML wants DEL escaped, too
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml_key(key)} = {_toml_value(entry)}" for key, entry in value.items()) + "}"
    raise TypeError(f"{value!r} has no TOML form; give text, a number, a truth value, a list or a mapping.")


def _parse_overrides(tokens: Sequence[str]) -> Iterator[tuple[list[str], Any]]:
    remaining = list(tokens)
    while remaining:
        token = remaining.pop(0)
        name, equals, value = token.partition("=")
        if not re.fullmatch(r"--[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", name):
            raise ConfigError(f"{token} is not an override: write --section.key value or --section.key=value")
        if not equals:
            if not remaining or remaining[0].startswith("--"):
                raise ConfigError(f"{name} has no value: write {name} VALUE or {name}=VALUE")
            value = remaining.pop(0)
        yield name[2:].split("."), _parse_value(value)


def _parse_value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return parsed["value"] if set(parsed) == {"value"} else text


def _assign(data: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    place: Any = data
    for depth, key in enumerate(keys[:-1], start=1):
        place = _table_named(place, keys, depth - 1) if _are_tables(place) else place.setdefault(key, {})
        if not isinstance(place, dict) and not _are_tables(place):
            path = ".".join(keys[:depth])
            raise ConfigError(f"--{'.'.join(keys)} cannot be set: {path} is a value and not a section")
    if _are_tables(place):
        raise _without_name(place, keys, len(keys) - 1)
    place[keys[-1]] = value


def _table_named(tables: Sequence[dict[str, Any]], keys: Sequence[str], depth: int) -> dict[str, Any]:
    found = [table for table in tables if term_name(table) == keys[depth]]
    if len(found) != 1:
        raise _without_name(tables, keys, depth)
    return found[0]


def _without_name(tables: Sequence[dict[str, Any]], keys: Sequence[str], depth: int) -> ConfigError:
    path, names = ".".join(keys[:depth]), ", ".join(format_value(term_name(table)) for table in tables)
    return ConfigError(
        f"--{'.'.join(keys)} cannot be set: [[{path}]] are named {names}; write --{path}.NAME.KEY with one of these"
    )


def _refuse_extreme_numbers(data: Any, path: str = "") -> None:
    if isinstance(data, float) and not math.isfinite(data):
        raise ConfigError(f"{path} = {format_value(data)} is not allowed: it must be a finite number")
    if isinstance(data, int) and not -(2**63) <= data < 2**63:
        raise ConfigError(f"{path} = {format_value(data)} is not allowed: an integer must fit into 64 bits")
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in entries:
        _refuse_extreme_numbers(value, f"{path}[{key}]" if isinstance(data, list) else f"{path}.{key}".lstrip("."))
