"""The shape that a reply has to have: a JSON Schema of the guest's, checked, and what fits it.

The schema is hostile: it must neither send the host anywhere nor keep it busy. So it may hold no references
and no regular expressions, and is bounded in size; then checking a reply takes time in proportion to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

MAX_BYTES = 64 << 10
MAX_NODES = 500
MAX_DEPTH = 32
MAX_COMPLAINT = 600

_TYPES = frozenset({"object", "array", "string", "integer", "number", "boolean", "null"})
_CHECKS = frozenset(
    {"type", "properties", "required", "additionalProperties", "items", "prefixItems", "enum", "const", "anyOf"}
    | {"oneOf", "allOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
    | {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"}
)
_REMARKS = frozenset({"title", "description", "default", "examples", "format", "deprecated", "$schema", "$comment"})
_STRICT = frozenset({"type", "properties", "required", "additionalProperties", "items", "enum", "anyOf"})
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_WRAPPER = "value"
_FENCED = re.compile(r"```(?:json)?[ \t]*\n(.*?)```", re.DOTALL)


class Fit(NamedTuple):
    """What a reply came to: data, or why it is not what was asked for."""

    data: Any = None
    complaint: str = ""


class Shape:
    """A checked JSON Schema. Made by `Shape.checked`."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema = schema
        self.key = json.dumps(schema, sort_keys=True)
        """Equal schemas have equal keys."""

    @classmethod
    def checked(cls, schema: Any) -> Shape:
        """Raises `ValueError` with a message for the model."""
        if not isinstance(schema, dict):
            raise ValueError("schema: a JSON Schema, which is an object")
        if _deeper_than(2 * MAX_DEPTH, schema):
            raise ValueError("schema: nested too deep")
        if len(json.dumps(schema)) > MAX_BYTES:
            raise ValueError(f"schema: more than {MAX_BYTES:,} bytes")
        nodes = list(_walk(schema, 0))
        if len(nodes) > MAX_NODES:
            raise ValueError(f"schema: more than {MAX_NODES} parts")
        for node in nodes:
            _check_node(node)
        return cls(schema)

    @property
    def wrapped(self) -> dict[str, Any]:
        """The schema as endpoints take it: they want an object at the top."""
        if self._is_object:
            return self.schema
        properties = {_WRAPPER: self.schema}
        return {"type": "object", "properties": properties, "required": [_WRAPPER], "additionalProperties": False}

    @property
    def response_format(self) -> dict[str, Any]:
        """For endpoints that hold the model to a schema; `strict` only where the schema is of the strict kind."""
        strict = all(_is_strict(node) for node in _walk(self.wrapped, 0))
        return {"type": "json_schema", "json_schema": {"name": "reply", "schema": self.wrapped, "strict": strict}}

    def read(self, text: str) -> Fit:
        """The data in a reply: as JSON alone, in a fence, or amid prose; wrapped or not; a bare string for a string."""
        complaint = ""
        for candidate in _candidates(text):
            for data in self._unwrapped(candidate):
                wrong = self._complaint(data)
                if not wrong:
                    return Fit(data)
                complaint = complaint or wrong
        if not self._complaint(text.strip()):
            return Fit(text.strip())
        return Fit(complaint=complaint or "the reply holds no JSON")

    def _unwrapped(self, data: Any) -> Iterator[Any]:
        if not self._is_object and isinstance(data, dict) and data.keys() == {_WRAPPER}:
            yield data[_WRAPPER]
        yield data

    @property
    def _is_object(self) -> bool:
        return self.schema.get("type") == "object"

    @cached_property
    def _validator(self) -> Any:
        import jsonschema
        from referencing import Registry

        # With a registry of its own, it looks nothing up anywhere.
        return jsonschema.Draft202012Validator(self.schema, registry=Registry())

    def _complaint(self, data: Any) -> str:
        """Why the data does not fit; empty if it does."""
        from jsonschema.exceptions import best_match

        try:
            worst = best_match(self._validator.iter_errors(data))
        except RecursionError:
            return "nested too deep"
        if worst is None:
            return ""
        where = "".join(f"[{part!r}]" for part in worst.absolute_path)
        return f"{where + ': ' if where else ''}{worst.message}"[:MAX_COMPLAINT]


def _deeper_than(limit: int, value: Any) -> bool:
    """Whether a value of JSON is nested deeper: what it holds is not only schemas."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return limit == 0 or any(_deeper_than(limit - 1, each) for each in inner)


def _walk(schema: Any, depth: int) -> Iterator[Any]:
    """The schema and all schemas in it."""
    if depth > MAX_DEPTH:
        raise ValueError(f"schema: nested deeper than {MAX_DEPTH}")
    yield schema
    if not isinstance(schema, dict):
        return
    inner: list[Any] = []
    if isinstance(schema.get("properties"), dict):
        inner += schema["properties"].values()
    for name in _LISTS:
        if isinstance(schema.get(name), list):
            inner += schema[name]
    inner += [schema[name] for name in ("items", "additionalProperties") if name in schema]
    for each in inner:
        yield from _walk(each, depth + 1)


def _check_node(node: Any) -> None:
    if isinstance(node, bool):
        return
    if not isinstance(node, dict):
        raise ValueError("schema: each part is an object")
    if unknown := sorted(str(key)[:40] for key in node.keys() - _CHECKS - _REMARKS):
        raise ValueError(f"schema: {unknown[0]!r} is not supported; there are: {', '.join(sorted(_CHECKS))}")
    types = node.get("type", "null")
    if not all(isinstance(kind, str) and kind in _TYPES for kind in (types if isinstance(types, list) else [types])):
        raise ValueError(f"schema: type is one of {', '.join(sorted(_TYPES))}")
    _check_values(node)


_SHAPES: Mapping[str, type | tuple[type, ...]] = {
    "properties": dict,
    **dict.fromkeys((*_LISTS, "required", "enum"), list),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), (int, float)),
    **dict.fromkeys(("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"), int),
}


def _check_values(node: dict[str, Any]) -> None:
    """What the validator would otherwise stumble over."""
    for name, kind in _SHAPES.items():
        if name in node and (not isinstance(node[name], kind) or isinstance(node[name], bool)):
            raise ValueError(f"schema: {name!r} has a value that it cannot have")
    if node.get("multipleOf", 1) <= 0 or not all(isinstance(name, str) for name in node.get("required", ())):
        raise ValueError("schema: multipleOf is positive, and required a list of names")
    if any(name in node and not node[name] for name in _LISTS):
        raise ValueError("schema: a list of alternatives is not empty")


def _is_strict(node: Any) -> bool:
    """Whether a node is within what endpoints with strict schemas take."""
    if not isinstance(node, dict) or node.keys() - _STRICT - {"title", "description"}:
        return isinstance(node, bool) and node is False
    if node.get("type") == "object":
        properties = node.get("properties", {})
        return node.get("additionalProperties") is False and set(node.get("required", ())) == set(properties)
    return bool(node)


def _candidates(text: str) -> Iterator[Any]:
    """The JSON values that a reply may mean, the likeliest first."""
    for piece in (text, *_FENCED.findall(text)):
        try:
            yield json.loads(piece)
        except (ValueError, RecursionError):
            continue
    start = re.search(r"[{\[]", text)
    if start is None:
        return
    try:
        yield json.JSONDecoder().raw_decode(text, start.start())[0]
    except (ValueError, RecursionError):
        return
