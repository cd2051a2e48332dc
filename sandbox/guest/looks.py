"""What a child's model is told about its `context`: type, size, and a look at both ends. All content is quoted."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from guest.files import Files
from guest.namespace import measure
from guest.text import Text

EXCERPT = 400
"""Characters that are shown of each end."""
LISTED = 20
"""Paths or keys that are shown."""
MAX_LOOK = 3000
"""Characters of a whole look."""

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 200
_short.maxdict = _short.maxlist = _short.maxtuple = 8


def look(value: object) -> str:
    """A few lines; never raises for what the value's own code does."""
    try:
        return _look(value)[:MAX_LOOK]
    except BaseException as error:
        # Objects of a cell may raise anything from whatever is asked of them.
        return f"`context` is a {type(value).__name__} that cannot be shown ({type(error).__name__})."


def _look(value: object) -> str:
    if value is None:
        return "`context` is None: no input was given."
    if isinstance(value, str):
        return "\n".join(
            [f"`context` is a str: {len(value):,} characters.", *_ends(value[:_SEEN], value[-_SEEN:], value)]
        )
    if isinstance(value, Text):
        return "\n".join([f"`context` is a `Text`: {value.last - value.first:,} bytes of UTF-8.", *_text_ends(value)])
    if isinstance(value, Path):
        return f"`context` is a pathlib.Path of a readable file: {value.name!r}."
    if isinstance(value, Files):
        return f"`context` is a `Files` mapping: {len(value):,} files, {value.size:,} bytes.\n{_names(value)}"
    size = measure(value)
    lines = [f"`context` is a {type(value).__name__}" + (f", {size}." if size else ".")]
    if hasattr(value, "columns") and hasattr(value, "head"):
        lines += [f"  Columns: {_short.repr([str(name) for name in list(value.columns)[:LISTED]])}"]
        return "\n".join([*lines, f"  It begins: {_short.repr(value.head(2).to_dict('records'))}"])
    if isinstance(value, Mapping):
        lines.append(_names(value))
    return "\n".join([*lines, f"  It reads: {_short.repr(value)}"])


_SEEN = 2 * EXCERPT


def _text_ends(text: Text) -> list[str]:
    """By bytes, so that nothing between the ends is read; a character takes at most four."""
    head = text.source.decode(text.first, min(text.first + 4 * _SEEN, text.last))
    tail = text.source.decode(max(text.first, text.last - 4 * _SEEN), text.last)
    return _ends(head[:_SEEN], tail[-_SEEN:], text)


def _ends(head: str, tail: str, whole: object) -> list[str]:
    if not whole:
        return ["  It is empty."]
    if len(head) < _SEEN:
        return [f"  It reads: {head!r}"]
    return [f"  It begins: {head[:EXCERPT]!r}", f"  It ends: {tail[-EXCERPT:]!r}"]


def _names(value: Mapping[Any, Any]) -> str:
    names = [_short.repr(key) for key, _ in zip(value, range(LISTED), strict=False)]
    return f"  Keys: {', '.join(names)}" + (f" … {len(value):,} in all" if len(value) > LISTED else "")
