"""The limits of a run that its caller may lower. What the server was started with is the most that anyone gets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rlm import parts
from rlm.config import Settings
from rlm.errors import ConfigError

WHOLE: Mapping[str, int] = {"max_turns": 1, "max_sub_calls": 0, "max_tokens": 1, "depth": 0}
"""Limits that are whole numbers, with the least that each may be."""
MEASURES = ("max_cost", "timeout", "cell_timeout")
"""Limits that are numbers above zero: money, and seconds."""
NAMES = (*WHOLE, *MEASURES)


def lowered(settings: Settings, wanted: Mapping[str, Any]) -> Settings:
    """The settings with these limits in place of their own.

    A limit that is None stays as it is. Raises `ConfigError`, in one line that names the limit, for one that is
    unknown, no number, or above what the settings allow.
    """
    chosen = {name: _checked(settings, name, value) for name, value in wanted.items() if value is not None}
    found = settings.model_copy(update=chosen)
    if "max_cost" in chosen:
        parts.ledger(found)  # which wants to know every price
    return found


def schema(settings: Settings) -> dict[str, dict[str, Any]]:
    """The same as properties of a JSON Schema."""
    whole = {name: {"type": "integer", "minimum": least} for name, least in WHOLE.items()}
    measures = {name: {"type": "number", "exclusiveMinimum": 0} for name in MEASURES}
    properties: dict[str, dict[str, Any]] = {**whole, **measures}
    for name, each in properties.items():
        if (most := getattr(settings, name)) is not None:
            each["maximum"] = most
    return properties


def _checked(settings: Settings, name: str, value: Any) -> int | float:
    if name not in NAMES:
        raise ConfigError(f"{name}: not a limit that a request may set; there are: {', '.join(NAMES)}")
    if name in WHOLE:
        if not isinstance(value, int) or isinstance(value, bool) or value < WHOLE[name]:
            raise ConfigError(f"{name}: a whole number, at least {WHOLE[name]}")
    elif not isinstance(value, int | float) or isinstance(value, bool) or not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{name}: a number above 0")
    most = getattr(settings, name)
    if most is not None and value > most:
        raise ConfigError(f"{name}: at most {most:g} on this server")
    return float(value) if name in MEASURES else int(value)
