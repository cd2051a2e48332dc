"""What is known of an endpoint: its addresses, its headers, and what must never be printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from yarl import URL

from rlm.config import names_a_secret
from rlm.errors import ConfigError

_MESSAGE_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One OpenAI-compatible API, as a model sees it. Made by `Endpoint.parse`."""

    base: URL
    query: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    """Sent with every request, authorization included."""
    secrets: tuple[str, ...] = field(repr=False)

    @classmethod
    def parse(cls, base_url: str, *, api_key: str | None, headers: Mapping[str, str] | None) -> Endpoint:
        """Raises `ConfigError` for what is not an http or https URL, or headers that cannot be sent."""
        try:
            url = URL(base_url.strip())
        except ValueError:
            url = URL()
        if url.scheme not in ("http", "https") or not url.host:
            # Without what may hold a key: a user's password, and a query.
            shown = base_url.partition("?")[0].rpartition("@")[2]
            raise ConfigError(f"not an http or https URL: {_printable(shown)!r}")
        if url.user is not None or url.password is not None:
            raise ConfigError("the base URL must not hold a user name; send an Authorization header instead")
        api_key = (api_key or "").strip()
        sent = dict(headers or {})
        named = {name.lower() for name in sent}
        if api_key and "authorization" not in named:
            sent["Authorization"] = f"Bearer {api_key}"
        for name, value in sent.items():
            if not (name + value).isprintable() or not value.isascii():
                raise ConfigError(f"the header {_printable(name)!r} has a value that HTTP cannot carry")
        named_values = [*sent.items(), *url.query.items()]
        secret = [value for name, value in named_values if names_a_secret(name)]
        secrets = {api_key, *secret, *(value.rpartition(" ")[2] for value in secret)}
        base = url.with_query(None).with_fragment(None)
        return cls(
            base=base.with_path(base.path.rstrip("/")),
            query=dict(url.query),
            headers=sent,
            secrets=tuple(sorted((text for text in secrets if len(text) > 3), key=len, reverse=True)),
        )

    @property
    def key(self) -> str:
        """Names the endpoint among others; safe to print."""
        return str(self.base)

    @property
    def authorized(self) -> bool:
        """Whether an Authorization header is sent."""
        return any(name.lower() == "authorization" for name in self.headers)

    def url(self, path: str) -> URL:
        """Where requests of an API go, by its path under the base URL."""
        return self.base.joinpath(*path.split("/")).with_query(self.query)

    def clean(self, text: str) -> str:
        """`text` of a server on one short line, without secrets and control characters."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        text = _printable(text)
        return text if len(text) <= _MESSAGE_CHARACTERS else text[: _MESSAGE_CHARACTERS - 1] + "…"


def _printable(text: str) -> str:
    return "".join(char for char in " ".join(text.split()) if char.isprintable())
