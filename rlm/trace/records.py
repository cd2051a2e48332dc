"""One event as one line of JSON, free of secrets: the form of the trace file and of `--stream-json`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from rlm.events import Event

REDACTED = b"[redacted]"
SHORTEST_SECRET = 8
"""Characters. A shorter key is a placeholder (`none`, `EMPTY`, `ollama`): replacing it everywhere would
spoil the text and protect nothing."""

Encode = Callable[[Event], bytes]
Redact = Callable[[bytes], bytes]


def encoder(secrets: Iterable[str] = ()) -> Encode:
    """A function from an event to its line, newline included, with every one of `secrets` blotted out."""
    redact = redactor(secrets, inner=True)

    def encode(event: Event) -> bytes:
        return redact(_dumps(event)) + b"\n"

    return encode


def redactor(secrets: Iterable[str] = (), *, inner: bool = False) -> Redact:
    """A function that blots out every one of `secrets` in a text; `inner`: in one that is JSON."""
    kept = [secret for secret in secrets if len(secret) >= SHORTEST_SECRET]
    needles = sorted({_inner(s) if inner else s.encode("utf-8", "replace") for s in kept}, key=len, reverse=True)

    def redact(text: bytes) -> bytes:
        for needle in needles:
            text = text.replace(needle, REDACTED)
        return text

    return redact


def _inner(secret: str) -> bytes:
    """The secret as it looks inside a JSON string."""
    return _dumps(secret)[1:-1]


def _dumps(value: object) -> bytes:
    # A lone surrogate, which a sandbox may well send, has no UTF-8 form; written as `\udc80` it is valid JSON.
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return text.encode("utf-8", "backslashreplace")
