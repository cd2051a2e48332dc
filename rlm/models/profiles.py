"""What is known of providers before the first request: `profiles.toml`, read and checked.

A profile gives `Dialect` a head start, so that what a provider is known to refuse is not sent to it even once.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args

from yarl import URL

from rlm.models.wire import Dialect

Takes = Literal["yes", "no", "model", "unknown"]
CAPABILITIES = (
    *("stream_usage", "tools", "parallel_tool_calls", "json_schema", "json_object", "images"),
    *("responses", "prompt_caching"),
)
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One provider."""

    name: str
    """The value of the setting `provider`."""
    title: str
    takes: Mapping[str, Takes]
    """By the names in `CAPABILITIES`."""
    cap: Literal["max_tokens", "max_completion_tokens"]
    """The name of the output cap in Chat Completions."""
    window: tuple[str, ...] = ()
    """Where an entry of the list of models tells the context window: dotted names, the most telling first."""
    hosts: tuple[str, ...] = ()
    """It is recognised by these, and hosts below them."""
    ports: tuple[int, ...] = ()
    """Those that it has unless told otherwise: a guess, which holds where no host is recognised."""
    owned_by: tuple[str, ...] = ()
    """What entries of its list of models say in `owned_by`."""
    quirks: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    """Pages of its documentation."""

    def __post_init__(self) -> None:
        if set(self.takes) != set(CAPABILITIES) or not set(self.takes.values()) <= set(get_args(Takes)):
            raise ValueError(f"{self.name}: takes says yes, no, model or unknown to each of {CAPABILITIES}")

    @property
    def dialect(self) -> Dialect:
        """What to begin with."""
        return Dialect(
            cap=self.cap,
            stream_usage=self.takes["stream_usage"] != "no",
            structured=self.takes["json_schema"] != "no",
        )


@cache
def profiles() -> Mapping[str, Profile]:
    """All of them by name, in the order of the file; the last one is `unknown`."""
    text = files("rlm.models").joinpath("profiles.toml").read_text(encoding="utf-8")
    return {entry["name"]: Profile(**_frozen(entry)) for entry in tomllib.loads(text)["provider"]}


def _frozen(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}


def profile_of(base_url: str, provider: str = "auto") -> Profile:
    """The profile of this name; with `auto`, the one that the URL is recognised by: its host, else its port."""
    known = profiles()
    if provider != "auto":
        return known[provider]
    try:
        url = URL(base_url.strip())
    except ValueError:
        return known[UNKNOWN]
    host = (url.host or "").rstrip(".").lower()
    by_host = (each for each in known.values() for name in each.hosts if host == name or host.endswith(f".{name}"))
    by_port = (each for each in known.values() if url.explicit_port in each.ports)
    return next(by_host, None) or next(by_port, known[UNKNOWN])
