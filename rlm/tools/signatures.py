"""How a function looks from the REPL, as plain JSON: from it the sandbox builds a stub that `help()` can show."""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Mapping
from typing import Annotated, Any, TypedDict, get_origin

from rlm.tools.docstrings import summary

_LITERALS = (type(None), bool, int, float, str, bytes)
MAX_TEXT = 200
"""Characters of an annotation's or a default's text."""


class ParameterText(TypedDict):
    name: str
    kind: str
    """As in `inspect.Parameter`: POSITIONAL_ONLY, POSITIONAL_OR_KEYWORD or KEYWORD_ONLY."""
    annotation: str | None
    default: str | None
    """Python text; None: there is none. What is no literal is `...`."""


class SignatureText(TypedDict):
    name: str
    doc: str
    parameters: list[ParameterText]
    returns: str | None
    summary: str
    """One line for the root model: the call in backticks, and what it is good for."""


def signature_text(name: str, doc: str, signature: inspect.Signature, module: str | None) -> SignatureText:
    """Of a Python function with evaluated annotations; `module` is where it lives, whose name is left out."""
    parameters = [
        ParameterText(
            name=each.name,
            kind=each.kind.name,
            annotation=_annotation(each.annotation, module),
            default=None if each.default is each.empty else _default(each.default),
        )
        for each in signature.parameters.values()
    ]
    return _put_together(name, doc, parameters, _annotation(signature.return_annotation, module))


def schema_signature(name: str, doc: str, schema: Mapping[str, Any]) -> tuple[SignatureText, dict[str, str]]:
    """Of a tool that is known by its JSON Schema only; second, the schema's name of each parameter."""
    properties, required = schema.get("properties"), schema.get("required")
    properties = properties if isinstance(properties, dict) else {}
    required = required if isinstance(required, list) else []
    names: dict[str, str] = {}
    parameters: list[ParameterText] = []
    for original in sorted(properties, key=lambda each: each not in required):
        python = identifier(original)
        while python in names:
            python += "_"
        names[python] = original
        parameters.append(
            ParameterText(
                name=python,
                kind="POSITIONAL_OR_KEYWORD",
                annotation=_schema_type(properties[original]),
                default=None if original in required else _schema_default(properties[original]),
            )
        )
    return _put_together(name, doc, parameters, None), names


def identifier(name: str, limit: int = 64) -> str:
    """The nearest Python identifier: `get-weather` -> `get_weather`."""
    plain = re.sub(r"[^A-Za-z0-9_]", "_", name)[: limit - 1] or "_"
    if plain[0].isdigit():
        plain = f"_{plain}"
    return f"{plain}_" if keyword.iskeyword(plain) else plain


def _put_together(name: str, doc: str, parameters: list[ParameterText], returns: str | None) -> SignatureText:
    call = f"`{name}{written(parameters, returns)}`"
    about = summary(doc)
    line = f"{call} - {about}" if about else call
    return SignatureText(name=name, doc=doc, parameters=parameters, returns=returns, summary=line)


def written(parameters: list[ParameterText], returns: str | None) -> str:
    """`(width: float, height: float = 1) -> float`"""
    return f"({', '.join(_written(parameters))}){f' -> {returns}' if returns else ''}"


def _written(parameters: list[ParameterText]) -> list[str]:
    written = []
    kinds = [each["kind"] for each in parameters]
    for at, each in enumerate(parameters):
        if each["kind"] == "KEYWORD_ONLY" and "KEYWORD_ONLY" not in kinds[:at]:
            written.append("*")
        annotated = f"{each['name']}: {each['annotation']}" if each["annotation"] else each["name"]
        equals = " = " if each["annotation"] else "="
        written.append(f"{annotated}{equals}{each['default']}" if each["default"] is not None else annotated)
        if each["kind"] == "POSITIONAL_ONLY" and kinds[at + 1 : at + 2] != ["POSITIONAL_ONLY"]:
            written.append("/")
    return written


def _annotation(annotation: Any, module: str | None) -> str | None:
    if annotation is inspect.Signature.empty:
        return None
    if get_origin(annotation) is Annotated:
        annotation = annotation.__origin__
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = re.sub(rf"\b(?:typing|{re.escape(module or 'typing')})\.", "", text)
    return text if len(text) <= MAX_TEXT else "..."


def _default(value: Any) -> str:
    # The repr of anything else may hold what is not meant for the sandbox: a client's key, say.
    text = repr(value) if _is_literal(value) else "..."
    return text if len(text) <= MAX_TEXT else "..."


def _is_literal(value: Any) -> bool:
    if type(value) in (list, tuple, set, frozenset):
        return all(map(_is_literal, value))
    if type(value) is dict:
        return all(map(_is_literal, value.keys())) and all(map(_is_literal, value.values()))
    return type(value) in _LITERALS


_SCHEMA_TYPES = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "array": "list",
    "object": "dict",
    "null": "None",
}


def _schema_type(schema: Any) -> str | None:
    if not isinstance(schema, dict):
        return None
    kinds = schema.get("type")
    if kinds is None:
        parts = [_schema_type(each) for each in schema.get("anyOf") or schema.get("oneOf") or ()]
        return " | ".join(dict.fromkeys(part for part in parts if part)) if parts and all(parts) else None
    names = [_SCHEMA_TYPES.get(str(kind)) for kind in (kinds if isinstance(kinds, list) else [kinds])]
    return " | ".join(name for name in names if name) or None


def _schema_default(schema: Any) -> str:
    """A parameter that may be left out is shown with its default; None stands for one that the server does not tell."""
    return _default(schema.get("default")) if isinstance(schema, dict) else "None"
