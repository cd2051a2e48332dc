"""Help texts of options, taken from the docstrings under the fields of `Settings`.

They are read from the source: importing the settings builds pydantic models, a tenth of a second for every command.
"""

from __future__ import annotations

import ast
import functools
from importlib.util import find_spec


def option_help(field: str) -> str:
    """The docstring of one field of `Settings`, with its default. Raises `KeyError` for an unknown field."""
    return _fields()[field]


@functools.cache
def _fields() -> dict[str, str]:
    spec = find_spec("rlm.config")
    assert spec is not None
    assert spec.origin is not None
    with open(spec.origin, encoding="utf-8") as file:
        module = ast.parse(file.read())
    settings = next(node for node in module.body if isinstance(node, ast.ClassDef) and node.name == "Settings")
    texts: dict[str, str] = {}
    for field, doc in zip(settings.body, settings.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(doc, ast.Expr):
            texts[field.target.id] = ast.literal_eval(doc.value) + _default(field.value)
    return texts


def _default(value: ast.expr | None) -> str:
    """`  [default: 30]` for a plain number or string; nothing for what would not help."""
    if isinstance(value, ast.Call):  # Field(default=…, …)
        value = next((keyword.value for keyword in value.keywords if keyword.arg == "default"), None)
    if isinstance(value, ast.Constant) and isinstance(value.value, int | float | str) and value.value is not False:
        number = value.value
        return f" [default: {number:g}]" if isinstance(number, float) else f" [default: {number}]"
    return ""
