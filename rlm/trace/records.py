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


def encoder(secrets: Iterable[str] = ()) -> Encode:
    """A function from an event to its line, newline included, with every one of `secrets` blotted out."""
    needles = sorted(
        {_inner(secret) for secret in secrets if len(secret) >= SHORTEST_SECRET},
        key=len,
        reverse=True,
    )

    def encode(event: Event) -> bytes:
        line = _dumps(event)
        for needle in needles:
            line = line.replace(needle, REDACTED)
        return line + b"\n"

    return encode


def _inner(secret: str) -> bytes:
    """The secret as it looks inside a JSON string."""
    return _dumps(secret)[1:-1]


def _dumps(value: object) -> bytes:
    # A lone surrogate, which a sandbox may well send, has no UTF-8 form; written as `\udc80` it is valid JSON.
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return text.encode("utf-8", "backslashreplace")
