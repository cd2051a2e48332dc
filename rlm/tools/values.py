"""From what a function returns to JSON, and from JSON to what a model reads."""

from __future__ import annotations

import inspect
import json
from typing import Any

from pydantic_core import to_jsonable_python

from rlm.tools.failures import ToolFailure, reason


def to_json(value: Any) -> Any:
    """`value` as plain JSON: models and dataclasses become objects, sets and generators lists, dates strings.

    A generator runs here, so this belongs where the function runs, and raises what the generator raises.
    Raises `ToolFailure` for what JSON cannot hold.
    """
    if inspect.iscoroutine(value):
        value.close()
        raise ToolFailure("it returned a coroutine: a tool that awaits must be an async function")
    if inspect.isgenerator(value):
        value = list(value)
    try:
        return to_jsonable_python(value)
    except (ValueError, TypeError, RecursionError) as error:
        raise ToolFailure(f"its result, of type {type(value).__name__}, is not JSON: {reason(error)}") from error


def compact(value: Any) -> str:
    """JSON without spaces. Raises `ToolFailure` for an int of more digits than Python writes."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError) as error:
        raise ToolFailure(f"its result is not JSON: {reason(error)}") from error


def readable(value: Any, limit: int) -> str:
    """A result for a language model: a str as it is, all else as JSON, cut to `limit` characters."""
    text = value if isinstance(value, str) else compact(value)
    # No endpoint takes lone surrogates.
    return cut(text, limit).encode("utf-8", "replace").decode()


def cut(text: str, limit: int) -> str:
    """`limit` characters of `text`, half from either end, and a note of how many are missing between them."""
    if len(text) <= limit:
        return text
    head = text[: limit - limit // 2]
    tail = text[len(text) - limit // 2 :]
    return f"{head}\n[… {len(text) - limit:,} characters left out …]\n{tail}"
