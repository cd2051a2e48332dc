"""The settings of a run as its trace keeps them: what was chosen, without anything secret."""

from __future__ import annotations

import json
from typing import Any

from rlm.config import Settings, may_hold_keys

SECRET = frozenset({"api_key", "sub_api_key"})
"""Come from the environment, also when a run is taken up again."""


def told(settings: Settings) -> dict[str, Any]:
    """Plain JSON: every setting that is not its default. What cannot be written down is left out and named in
    `left_out`: headers, MCP servers, URLs with a query, and tools and functions that are Python objects."""
    kept: dict[str, Any] = {}
    left_out = []
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if name in SECRET or value == Settings.model_fields[name].default:
            continue
        if may_hold_keys(name, value) or not _is_plain(value):
            left_out.append(name)
            continue
        kept[name] = json.loads(json.dumps(value, default=_plain))
    return {**kept, "left_out": left_out} if left_out else kept


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value, default=_plain)
    except TypeError:
        return False
    return True


def _plain(value: Any) -> Any:
    """Prices and paths, which JSON does not know."""
    if hasattr(value, "model_dump"):
        return value.model_dump(exclude_none=True)
    if hasattr(value, "__fspath__"):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not plain")
