"""What a sub-LLM is to return: a JSON Schema for the host, and how its data becomes the Python value asked for."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Union

from guest.results import CallError, Data

Build = Callable[[Any], Any]

_SCALARS: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
_KEYWORDS = frozenset({"type", "properties", "items", "anyOf", "oneOf", "allOf", "enum", "const", "$ref", "$defs"})
MAX_DEPTH = 32


class Schema(NamedTuple):
    """`json` goes to the host; `build` makes the value of data that fits it, and may raise `ValueError`."""

    json: dict[str, Any]
    build: Build

    def finish(self, outcome: Any) -> Any:
        """What came for this schema, as its caller gets it: data as the value that was asked for."""
        if not isinstance(outcome, Data):
            return outcome
        try:
            return self.build(outcome.value)
        except (ValueError, TypeError, KeyError) as error:
            # The checks of a class of the cell's own, which the host does not know.
            return CallError("invalid", f"{type(error).__name__}: {error}"[:1000], outcome.text)


def schema_of(kind: Any) -> Schema:
    """From a JSON Schema, a type (`list[int]`, a Literal, TypedDict, dataclass, Enum, pydantic model …), or a
    dict of names and types. Raises `TypeError` for anything else.
    """
    return _of(kind, 0)


def _of(kind: Any, depth: int) -> Schema:
    if depth > MAX_DEPTH:
        raise TypeError("a schema that contains itself is not supported")
    if kind is Any or kind is object:
        return Schema({}, _same)
    if kind is None:
        kind = type(None)
    if kind in (list, tuple, set, frozenset, dict) or _hashed(kind) in _SCALARS:
        return _plain(kind)
    if isinstance(kind, Mapping):
        return _from_mapping(kind, depth)
    origin = typing.get_origin(kind)
    if origin is not None:
        return _generic(kind, origin, typing.get_args(kind), depth)
    if isinstance(kind, type):
        return _class(kind, depth)
    raise TypeError(f"no schema: {kind!r}. Give a JSON Schema, a type such as list[int], or a dict of names and types")


def _hashed(kind: Any) -> Any:
    return kind if isinstance(kind, type) else ""


def _plain(kind: type) -> Schema:
    if kind in _SCALARS:
        return Schema({"type": _SCALARS[kind]}, float if kind is float else _same)
    if kind is dict:
        return Schema({"type": "object"}, _same)
    return Schema({"type": "array"}, kind if kind is not list else _same)


def _from_mapping(kind: Mapping[str, Any], depth: int) -> Schema:
    """`{"name": str, "tags": list[str]}`; else it is a JSON Schema already."""
    if kind and not any(key in _KEYWORDS and _is_json_keyword(key, value) for key, value in kind.items()):
        return _object({str(name): inner for name, inner in kind.items()}, frozenset(map(str, kind)), depth, dict)
    defs = dict(kind.get("$defs", {})) | dict(kind.get("definitions", {}))
    return Schema(_inline(kind, defs, depth), _same)


def _is_json_keyword(key: str, value: Any) -> bool:
    """Whether it is the keyword of a JSON Schema, and not a field that happens to have this name."""
    return isinstance(value, (str, list, bool)) or (isinstance(value, Mapping) and key != "type")


def _inline(schema: Any, defs: Mapping[str, Any], depth: int) -> Any:
    """The schema without references: the host takes none."""
    if depth > MAX_DEPTH:
        raise TypeError("a schema that refers to itself is not supported")
    if isinstance(schema, list):
        return [_inline(item, defs, depth + 1) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    reference = schema.get("$ref")
    if isinstance(reference, str):
        name = reference.rpartition("/")[2]
        if not reference.startswith("#/") or name not in defs:
            raise TypeError(f"schema: {reference!r} leads nowhere")
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return {**_inline(defs[name], defs, depth + 1), **_inline(rest, defs, depth + 1)}
    return {
        key: _inline(value, defs, depth + 1) for key, value in schema.items() if key not in ("$defs", "definitions")
    }


def _generic(kind: Any, origin: Any, args: tuple[Any, ...], depth: int) -> Schema:
    if origin is typing.Annotated:
        return _of(args[0], depth + 1)
    if origin is Literal:
        return Schema({"enum": list(args)}, _same)
    if origin in (Union, types.UnionType):
        return _union([_of(arg, depth + 1) for arg in args])
    if origin is dict:
        inner = _of(args[1], depth + 1)
        return Schema(
            {"type": "object", "additionalProperties": inner.json},
            lambda data: {key: inner.build(value) for key, value in data.items()},
        )
    if origin is tuple and args[-1] is not ...:
        parts = [_of(arg, depth + 1) for arg in args]
        json = {"type": "array", "prefixItems": [part.json for part in parts], "minItems": len(parts)}
        return Schema(
            {**json, "maxItems": len(parts)},
            lambda data: tuple(part.build(item) for part, item in zip(parts, data, strict=True)),
        )
    if isinstance(origin, type) and issubclass(origin, (list, tuple, set, frozenset)):
        item = _of(args[0], depth + 1)
        return Schema({"type": "array", "items": item.json}, lambda data: origin(map(item.build, data)))
    raise TypeError(f"no schema: {kind!r}")


def _union(options: list[Schema]) -> Schema:
    def build(data: Any) -> Any:
        for option in options:
            if _fits(option.json, data):
                return option.build(data)
        return data

    return Schema({"anyOf": [option.json for option in options]}, build)


def _fits(json: Mapping[str, Any], data: Any) -> bool:
    """Roughly: the host has checked it against all of them."""
    names = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
    if "enum" in json:
        return data in json["enum"]
    kind = names.get(type(data), "null")
    if json.get("type") == "object" and kind == "object":
        return set(json.get("required", ())) <= set(data)
    return json.get("type", kind) in (kind, "number" if kind == "integer" else kind)


def _class(kind: type, depth: int) -> Schema:
    if hasattr(kind, "model_json_schema") and hasattr(kind, "model_validate"):
        json = kind.model_json_schema()
        return Schema(_inline(json, json.get("$defs", {}), depth), kind.model_validate)
    if issubclass(kind, enum.Enum):
        return Schema({"enum": [member.value for member in kind]}, kind)
    if dataclasses.is_dataclass(kind):
        fields = dataclasses.fields(kind)
        optional = (dataclasses.MISSING, dataclasses.MISSING)
        required = {field.name for field in fields if (field.default, field.default_factory) == optional}
        return _object(typing.get_type_hints(kind), frozenset(required), depth, lambda data: kind(**data))
    if typing.is_typeddict(kind):
        required_keys: frozenset[str] = kind.__required_keys__  # type: ignore[attr-defined]
        return _object(typing.get_type_hints(kind), required_keys, depth, dict)
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        hints = typing.get_type_hints(kind)
        defaults: Mapping[str, Any] = kind._field_defaults  # type: ignore[attr-defined]
        names = {name: hints.get(name, Any) for name in kind._fields}
        return _object(names, frozenset(names) - frozenset(defaults), depth, lambda data: kind(**data))
    raise TypeError(f"no schema: {kind!r}")


def _object(fields: Mapping[str, Any], required: frozenset[str], depth: int, make: Build) -> Schema:
    inner = {name: _of(kind, depth + 1) for name, kind in fields.items()}
    json = {
        "type": "object",
        "properties": {name: schema.json for name, schema in inner.items()},
        "required": sorted(required),
        "additionalProperties": False,
    }
    return Schema(json, lambda data: make({name: inner[name].build(value) for name, value in data.items()}))


def _same(data: Any) -> Any:
    return data
