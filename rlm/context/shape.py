"""The shape of JSON in one line: `{"users": [{"id": int, "name": str}, … 120 items]}`. The data is untrusted."""

from __future__ import annotations

import json

MAX_KEYS = 20
MAX_DEPTH = 4
MAX_TEXT = 1500


def shape(value: object) -> str:
    """Types in place of values, the first item of each list, at most 20 keys and 4 levels."""
    return _cut(_shape(value, 0))


def shape_of_head(head: str, *, whole: bool) -> str | None:
    """The shape of a JSON text, of which `head` may be the beginning only; None if it is none that can be told."""
    head = head.removeprefix("\ufeff").strip()
    try:
        if whole:
            return shape(json.loads(head))
        if head.startswith("["):
            item, _ = json.JSONDecoder().raw_decode(head, _skip(head, 1))
            return _cut(f"[{_shape(item, 1)}, …]")
        return _cut(_open_object(head)) if head.startswith("{") else None
    except (ValueError, RecursionError):
        return None


def _shape(value: object, depth: int) -> str:
    if isinstance(value, dict):
        if depth >= MAX_DEPTH:
            return "{…}"
        shown = [f"{_key(key)}: {_shape(inner, depth + 1)}" for key, inner in list(value.items())[:MAX_KEYS]]
        if len(value) > MAX_KEYS:
            shown.append(f"… {len(value):,} keys")
        return "{" + ", ".join(shown) + "}"
    if isinstance(value, list):
        if not value:
            return "[]"
        if depth >= MAX_DEPTH:
            return "[…]"
        return f"[{_shape(value[0], depth + 1)}{f', … {len(value):,} items' if len(value) > 1 else ''}]"
    return "None" if value is None else type(value).__name__


def _open_object(head: str) -> str:
    """The shape of an object whose end is not in `head`: the keys up to the first one that is cut off."""
    decoder = json.JSONDecoder()
    shown: list[str] = []
    at = 1
    while len(shown) < MAX_KEYS:
        try:
            key, at = decoder.raw_decode(head, _skip(head, at))
            shown.append(f"{_key(key)}: …")
            value, at = decoder.raw_decode(head, _skip(head, at, ":"))
        except ValueError:
            break  # here the head ends
        shown[-1] = f"{_key(key)}: {_shape(value, 1)}"
        at = _skip(head, at, ",")
    return "{" + ", ".join([*shown, "…"]) + "}"


def _skip(text: str, at: int, mark: str = "") -> int:
    while text[at : at + 1].isspace():
        at += 1
    if mark and text[at : at + 1] == mark:
        at = _skip(text, at + 1)
    return at


def _key(key: object) -> str:
    return json.dumps(str(key)[:80], ensure_ascii=False)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + " …"
