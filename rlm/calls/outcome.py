"""What the work on one sub-call takes, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rlm.protocols import Message, Tokens


@dataclass(slots=True)
class Spent:
    """What a call took so far, also if it fails or is cancelled later on."""

    attempts: int = 0
    """Requests made, retries included."""
    input: int = 0
    output: int = 0
    cached_input: int = 0
    estimated: bool = False
    child: str = ""
    """The rollout that it went to, whose turns count for themselves."""
    begun: float = 0.0
    """When a place was free for it, as of `time.monotonic`."""
    messages: list[Message] | None = None
    """The conversation of a sub-LLM that took more than one prompt and one reply."""

    def add(self, tokens: Tokens, attempts: int) -> None:
        self.attempts += attempts
        self.input += tokens.input
        self.output += tokens.output
        self.cached_input += tokens.cached_input
        self.estimated |= tokens.estimated


def cached_input(tokens: int) -> dict[str, int]:
    """The field of an event for input that the endpoint had in its cache; nothing if there was none."""
    return {"cached_input_tokens": tokens} if tokens else {}


@dataclass(slots=True)
class Reply:
    """One call's reply, as it is remembered and delivered."""

    text: str
    model: str
    extra: dict[str, Any] = field(default_factory=dict)
    """`data` of a reply that fits a schema; `turns`, `tool_calls` of a sub-LLM with tools; what a child adds."""
    took: tuple[int, int] | None = None
    """Tokens in and out that the guest is told of, if not those of the call itself."""


class CallFailed(Exception):
    """A call that came to nothing; becomes a `CallError` of the guest. `text` is a reply that was of no use."""

    def __init__(self, kind: str, message: str, text: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.text = text
