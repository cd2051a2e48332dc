"""Which values of the settings must never be written down."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

from rlm.config import Settings, names_a_secret


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """The keys, and values of headers, of the endpoints' queries and of MCP servers' environments that are one by
    their name; for traces."""
    return tuple(dict.fromkeys(value for value in _secrets(settings) if value))


def _secrets(settings: Settings) -> Iterator[str]:
    yield settings.api_key.get_secret_value()
    yield settings.sub_key
    # Servers of tools have headers and an environment of their own; a text names nothing of the kind.
    others = [getattr(server, kind, {}) for server in settings.mcp for kind in ("headers", "env")]
    named = [pair for pairs in (settings.headers, *others) for pair in pairs.items()]
    named += [pair for url in (settings.base_url, settings.sub_base_url) for pair in _query(url or "")]
    for name, value in named:
        if names_a_secret(name):
            yield value
            yield value.rpartition(" ")[2]  # the key of `Bearer …`, which an endpoint may quote alone


def _query(url: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(urlsplit(url).query)
    except ValueError:  # no URL: refused where it would be used
        return []
