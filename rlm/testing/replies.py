"""What a scripted model can answer: a `Reply` in full, or a `Fault` in its place."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

FaultKind = Literal[
    "http", "event", "malformed", "empty_choices", "null_content", "truncated", "drop", "drop_mid_body", "stall"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One reply in full control. A plain string stands for `Reply(text=…)`, a dict for `Reply(**dict)`."""

    text: str | None = ""
    tool_calls: Sequence[Mapping[str, Any]] = ()
    """`{"name": str, "arguments": dict | str}`, or the Chat Completions shape in full."""
    usage: Mapping[str, Any] | Literal[False] | None = None
    """The `usage` object as sent; None estimates it at four characters a token, False leaves it out."""
    finish_reason: str | None = None
    """None means `tool_calls` where there are some, else `stop`."""
    reasoning: str | None = None
    """Encrypted reasoning, which goes before the rest through the Responses API where it is asked for."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float | None = None
    """Seconds before the reply's first byte; None takes the server's."""
    chunk_delay: float | None = None
    """Seconds before each chunk of a streamed reply; None takes the server's."""
    chunk_size: int | None = None
    """Characters per streamed chunk; None takes the server's."""

    def calls(self) -> list[dict[str, Any]]:
        """The tool calls in the Chat Completions shape."""
        return [_tool_call(index, call) for index, call in enumerate(self.tool_calls)]

    def reason(self) -> str:
        return self.finish_reason or ("tool_calls" if self.tool_calls else "stop")


def _tool_call(index: int, call: Mapping[str, Any]) -> dict[str, Any]:
    if "function" in call:
        return {"id": f"call_{index}", "type": "function", **call}
    arguments = call.get("arguments", "{}")
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments)
    return {
        "id": str(call.get("id", f"call_{index}")),
        "type": "function",
        "function": {"name": call["name"], "arguments": arguments},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that goes wrong in place of a reply. Made by the class methods below."""

    kind: FaultKind
    status: int = 200
    message: str = ""
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = "half a reply, and then"
    delay: float | None = None

    @classmethod
    def http(
        cls,
        status: int,
        message: str = "",
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | str | None = None,
        delay: float | None = None,
    ) -> Fault:
        """An error status with OpenAI's error object; `retry_after` in seconds or as an HTTP date."""
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        message = message or f"scripted status {status}"
        return cls(kind="http", status=status, message=message, code=code, param=param, headers=headers, delay=delay)

    @classmethod
    def rate_limit(cls, retry_after: float | str | None = None) -> Fault:
        """Status 429, with a `Retry-After` header if given."""
        return cls.http(429, "Rate limit reached", code="rate_limit_exceeded", retry_after=retry_after)

    @classmethod
    def event(cls, body: Mapping[str, Any]) -> Fault:
        """Status 200 with this JSON object as the body or, streamed, as the only event."""
        return cls(kind="event", text=json.dumps(body))

    @classmethod
    def malformed(cls) -> Fault:
        """Status 200 with a body (or, streamed, an event) that is not JSON."""
        return cls(kind="malformed")

    @classmethod
    def empty_choices(cls) -> Fault:
        """A well-formed reply without any choice in it."""
        return cls(kind="empty_choices")

    @classmethod
    def null_content(cls) -> Fault:
        """A reply whose `content` is null and that calls no tool."""
        return cls(kind="null_content")

    @classmethod
    def truncated(cls, text: str = "half a reply, and then") -> Fault:
        """The body ends early: a stream without its last events, or JSON shorter than announced."""
        return cls(kind="truncated", text=text)

    @classmethod
    def drop(cls, *, mid_body: bool = False, text: str = "half a reply, and then") -> Fault:
        """The connection is reset: before the headers, or after a part of the body."""
        return cls(kind="drop_mid_body" if mid_body else "drop", text=text)

    @classmethod
    def stall(cls) -> Fault:
        """No byte ever comes; it ends when the client goes away or the server stops."""
        return cls(kind="stall")
