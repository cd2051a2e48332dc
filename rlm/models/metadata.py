"""What an endpoint tells of its models without being paid: its list of them, and what Ollama's own API adds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import httpx
from yarl import URL

from rlm.models.endpoint import Endpoint
from rlm.models.profiles import Profile, profiles

TIMEOUT = 10.0
MOST_BYTES = 16 << 20


class Listing(NamedTuple):
    """An answer to the question for its models."""

    status: int
    """0 if there was no answer."""
    entries: tuple[Mapping[str, Any], ...] = ()
    problem: str = ""

    def entry(self, model: str) -> Mapping[str, Any] | None:
        """What is said of a model; a name without a tag stands for its latest."""
        names = (model, f"{model}:latest")
        return next((each for each in self.entries if each.get("id") in names), None)

    @property
    def provider(self) -> Profile | None:
        """Who says to own the models."""
        owners = {owner for each in self.entries if isinstance(owner := each.get("owned_by"), str)}
        return next((profile for profile in profiles().values() if owners & set(profile.owned_by)), None)


class Window(NamedTuple):
    """A context window, and where it is told."""

    tokens: int
    told_by: str
    sure: bool = True
    """Whether it is the window as it is served, not only what the model was made for."""


async def list_models(endpoint: Endpoint) -> Listing:
    """Ask for the list of models."""
    try:
        status, body = await _ask(endpoint, endpoint.url("models"))
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        return Listing(0, problem=endpoint.clean(str(error)) or type(error).__name__)
    data = body.get("data") if isinstance(body, dict) else None
    entries = tuple(each for each in data if isinstance(each, dict)) if isinstance(data, list) else ()
    return Listing(status, entries)


def listed_window(entry: Mapping[str, Any], profile: Profile) -> Window | None:
    """The window in an entry of the list."""
    for name in dict.fromkeys((*profile.window, *profiles()["unknown"].window)):
        value: Any = entry
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if tokens := _tokens(value):
            return Window(tokens, f"`{name}` in the list of models")
    return None


async def ollama_window(endpoint: Endpoint, model: str) -> Window | None:
    """The window that Ollama has allotted to a model that is loaded, else what the model could read."""
    base = str(endpoint.base).removesuffix("/v1")
    names = (model, f"{model}:latest")
    try:
        _, running = await _ask(endpoint, URL(f"{base}/api/ps"))
        loaded = running.get("models") if isinstance(running, dict) else None
        for each in loaded if isinstance(loaded, list) else ():
            if isinstance(each, dict) and each.get("name") in names and (tokens := _tokens(each.get("context_length"))):
                return Window(tokens, "/api/ps, of the loaded model")
        _, shown = await _ask(endpoint, URL(f"{base}/api/show"), {"model": model})
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError):
        return None
    info = shown.get("model_info") if isinstance(shown, dict) else None
    for name, value in info.items() if isinstance(info, dict) else ():
        if name.endswith(".context_length") and (tokens := _tokens(value)):
            return Window(tokens, "/api/show", sure=False)
    return None


async def _ask(endpoint: Endpoint, url: URL, body: Mapping[str, Any] | None = None) -> tuple[int, object]:
    """Status and JSON; None for what is not JSON, or longer than anybody's list."""
    async with (
        httpx.AsyncClient(headers=dict(endpoint.headers), timeout=TIMEOUT, follow_redirects=False) as client,
        client.stream("GET" if body is None else "POST", str(url), json=body) as reply,
    ):
        raw = bytearray()
        async for piece in reply.aiter_bytes():
            raw += piece
            if len(raw) > MOST_BYTES:
                return reply.status_code, None
        try:
            return reply.status_code, json.loads(raw)
        except (ValueError, RecursionError):
            return reply.status_code, None


def _tokens(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
