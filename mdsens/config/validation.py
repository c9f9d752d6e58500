"""Validate plain data against a pydantic model and turn the first problem into one sentence."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import pydantic

from mdsens.errors import UserError

Model = TypeVar("Model", bound=pydantic.BaseModel)

#: Key of a field's JSON schema that says in words what is allowed, where the schema itself cannot.
ALLOWED = "x-allowed"
_LONGEST_NAME = 100  # of names that a known one is compared with


class ConfigError(UserError):
    """Refuse a configuration; the message names the key, the value, what is allowed and the nearest known name."""


def validate(schema: type[Model], data: Mapping[str, Any], section: str = "") -> Model:
    """Build ``schema`` from plain data.

    Args:
        schema: The pydantic model to build.
        data: Keys and values as TOML gives them.
        section: Path of ``data`` in the whole file, such as ``system``; it starts every key in a message.

    Returns:
        The validated instance.

    Raises:
        ConfigError: One sentence about the first problem; unknown keys come before wrong values and missing keys.
    """
    try:
        return schema.model_validate(data)
    except pydantic.ValidationError as error:
        order = {"extra_forbidden": 0, "finite_number": 1, "missing": 3}
        first = min(error.errors(include_url=False), key=lambda problem: order.get(problem["type"], 2))
        cause = first.get("ctx", {}).get("error")
        raise (cause if isinstance(cause, ConfigError) else ConfigError(_sentence(schema, first, section))) from None


def nearest(name: object, known: Iterable[object]) -> str:
    """Return the known name that looks most like ``name``, or an empty string when none does; only text has looks."""
    names = [choice for choice in known if isinstance(choice, str)]
    close = difflib.get_close_matches(name[:_LONGEST_NAME], names, n=1, cutoff=0.5) if isinstance(name, str) else []
    return close[0] if close else ""


def format_value(value: object, limit: int = 60) -> str:
    """Return a value as a person would write it in TOML, cut to ``limit`` characters."""
    text = _text(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _text(value: object) -> str:
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, int) and value.bit_length() > 64:  # Python writes no integer of more than 4300 digits
        return f"an integer of about {int(value.bit_length() * math.log10(2)) + 1} digits"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_text(entry)}" for key, entry in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False, default=str)


def choice_sentence(key: str, value: object, choices: Sequence[object]) -> str:
    """Return the sentence for a value that is none of ``choices``, with the nearest of them."""
    close = nearest(value, choices)
    hint = f"; did you mean {format_value(close)}?" if close else ""
    return f"{key} = {format_value(value)} is not allowed: it must be {_alternatives(choices)}{hint}"


def _sentence(schema: type[pydantic.BaseModel], problem: Any, section: str) -> str:
    root = schema.model_json_schema()
    kind, location = problem["type"], list(problem["loc"])
    if kind == "extra_forbidden":
        parent, path = _walk(root, location[:-1], section)
        return _unknown_key(root, parent, path, str(location[-1]))
    node, path = _walk(root, location, section)
    allowed = _allowed(root, node)
    if kind == "missing":
        return f"{path} is missing: it must be {allowed}"
    if kind in ("value_error", "assertion_error"):
        reason = str(problem["ctx"]["error"])
    else:
        reason = f"it must be finite, {allowed}" if kind == "finite_number" else f"it must be {allowed}"
    value = problem["input"]
    if isinstance(value, Mapping):
        return f"{path}: {reason}" if path else reason
    if node.get("enum"):
        return choice_sentence(path, value, node["enum"])
    return f"{path} = {format_value(value)} is not allowed: {reason}"


def _unknown_key(root: Mapping[str, Any], parent: Mapping[str, Any], path: str, key: str) -> str:
    known = parent.get("properties", {})
    name = f"{path}.{key}" if path else key
    close = nearest(key, known)
    if not close:
        return f"{name} is not a known key: it must be one of {', '.join(known)}"
    suggestion = f"{path}.{close}" if path else close
    others = ", ".join(other for other in known if other != close)
    hint = f"did you mean {suggestion} ({_allowed(root, _resolve(root, known[close]))})"
    return f"{name} is not a known key: {hint}" + (f", or one of {others}?" if others else "?")


def _walk(root: Mapping[str, Any], location: Sequence[str | int], path: str) -> tuple[Mapping[str, Any], str]:
    """Follow a problem's location through the JSON schema as far as it names keys and entries."""
    node: Mapping[str, Any] = root
    for part in location:
        if isinstance(part, int):
            node, path = _entry(root, node, part), f"{path}[{part}]"
        elif part in node.get("properties", {}):
            node, path = _resolve(root, node["properties"][part]), f"{path}.{part}" if path else part
        # Anything else names a member of a union; the union as a whole says what is allowed.
    return node, path


def _entry(root: Mapping[str, Any], node: Mapping[str, Any], index: int) -> Mapping[str, Any]:
    """Return the schema of a list's entry; the list may be one choice of several (a list or null)."""
    for option in (node, *node.get("anyOf", ())):
        option = _resolve(root, option)
        if index < len(option.get("prefixItems", ())):
            return _resolve(root, option["prefixItems"][index])
        if "items" in option:
            return _resolve(root, option["items"])
    return {}


def _resolve(root: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in node:
        node = root["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    return node


def _allowed(root: Mapping[str, Any], node: Mapping[str, Any]) -> str:
    """Say in words what a JSON schema allows: ``a number > 0 and <= 0.01``."""
    node = _resolve(root, node)
    if ALLOWED in node:
        return str(node[ALLOWED])
    if "anyOf" in node:
        return " or ".join(_allowed(root, option) for option in node["anyOf"] if option.get("type") != "null")
    if "enum" in node or "const" in node:
        return _alternatives(node.get("enum", [node.get("const")]))
    if node.get("type") == "object":
        keys = ", ".join(node.get("properties", {}))
        return f"a section with the keys {keys}" if keys else "a section"
    if node.get("type") == "array":
        return _allowed_list(root, node)
    words = {"number": "a number", "integer": "an integer", "boolean": "true or false", "string": "text in quotes"}
    return words.get(node.get("type", ""), "a valid value") + _bounds(node)


def _allowed_list(root: Mapping[str, Any], node: Mapping[str, Any]) -> str:
    low, high = node.get("minItems"), node.get("maxItems")
    if low is not None and low == high:
        count = f"a list of exactly {low}"
    else:
        count = "a list" + (f" of at least {low}" if low else "") + (f" of at most {high}" if high is not None else "")
    items = node.get("items") or next(iter(node.get("prefixItems", [])), None)
    return f"{count}, each {_allowed(root, items)}" if items else count


def _bounds(node: Mapping[str, Any]) -> str:
    signs = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
    found = [f"{sign} {node[key]:g}" for key, sign in signs.items() if key in node]
    if node.get("minLength"):
        found.append("not empty")
    return " " + " and ".join(found) if found else ""


def _alternatives(choices: Sequence[object]) -> str:
    quoted = [format_value(choice) for choice in choices]
    return quoted[0] if len(quoted) == 1 else "one of " + ", ".join(quoted)
