"""What the wire formats share: a request as bytes, a reply as plain dicts, and where endpoints differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from rlm.errors import BadReply
from rlm.models.endpoint import Endpoint
from rlm.models.failures import AttemptFailed
from rlm.protocols import Completion, Delta, Message, Tokens

CAPS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
"""Parameters that cap a reply, in the spelling of one API or another."""
MOST_TOKENS = 10**9
"""Of one request. A usage figure beyond it is a mistake, which must not use up a budget: it is not believed."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """Where endpoints differ. A model starts with what is known of its provider and learns from refusals."""

    cap: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """The name of the output cap in Chat Completions; OpenAI's reasoning models want `max_completion_tokens`."""
    stream_usage: bool = True
    """Whether `stream_options` may ask for the usage of a stream."""
    structured: bool = True
    """Whether a JSON Schema may be asked for; who sends one must be content with any text."""
    reasoning: bool = True
    """Whether encrypted reasoning may be asked for, and sent back with the tool calls that it led to."""

    def adapted(self, refusal: str) -> Dialect:
        """The dialect to try after a 400 or 422 that said `refusal`; this one if it teaches nothing."""
        if self.cap == "max_tokens" and "max_completion_tokens" in refusal:
            return replace(self, cap="max_completion_tokens")
        if self.stream_usage and ("stream_options" in refusal or "include_usage" in refusal):
            return replace(self, stream_usage=False)
        if self.structured and any(name in refusal for name in ("response_format", "json_schema", "text.format")):
            return replace(self, structured=False)
        if self.reasoning and any(name in refusal.lower() for name in _OF_REASONING):
            return replace(self, reasoning=False)
        return self


_OF_REASONING = ("encrypted content", "encrypted_content", "type 'reasoning'")


class StreamReader(Protocol):
    """Turns the events of one stream into deltas."""

    def read(self, event: object) -> Iterator[Delta]:
        """Raises `AttemptFailed`."""
        ...

    def end(self, messages: Sequence[Message]) -> Delta:
        """The last delta. Raises `AttemptFailed` if the stream ended before the reply did."""
        ...


class Wire(Protocol):
    """An API as bytes. Messages, tool calls and parameters are in the Chat Completions shape on this side of it."""

    path: str
    """Of its requests, under the base URL."""

    def encode(
        self,
        model: str,
        messages: Sequence[Message],
        params: Mapping[str, Any],
        *,
        max_tokens: int | None,
        dialect: Dialect,
        stream: bool,
    ) -> bytes:
        """The request body. A cap in `params` wins over `max_tokens`. Raises `BadReply` when it cannot be written."""
        ...

    def decode(
        self, raw: bytes, endpoint: Endpoint, *, model: str, messages: Sequence[Message], attempts: int
    ) -> Completion:
        """Read a whole reply. Raises `AttemptFailed`."""
        ...

    def reader(self, endpoint: Endpoint) -> StreamReader:
        """For one stream."""
        ...


def to_bytes(body: Mapping[str, Any]) -> bytes:
    """A request body as JSON. Lone surrogates, which JSON text cannot carry, become question marks.

    Raises `BadReply` when it cannot be written as JSON.
    """
    try:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    except (TypeError, ValueError, RecursionError) as exc:
        raise BadReply(f"the request cannot be written as JSON: {exc}", attempts=0) from exc


def to_object(raw: bytes, endpoint: Endpoint) -> dict[str, Any]:
    """A reply's body. Raises `AttemptFailed`."""
    try:
        reply = json.loads(raw)
    except (ValueError, RecursionError) as exc:
        raise AttemptFailed(BadReply(f"{endpoint.key} sent a reply that is not JSON")) from exc
    if not isinstance(reply, dict):
        raise AttemptFailed(BadReply(f"{endpoint.key} sent a reply that is not a JSON object"))
    return reply


def to_event(event: object, endpoint: Endpoint) -> dict[str, Any]:
    """An event of a stream. Raises `AttemptFailed`."""
    if not isinstance(event, dict):
        raise AttemptFailed(BadReply(f"{endpoint.key} sent an event that is not a JSON object"))
    return event


def call_piece(index: int, id_: object, name: object, arguments: object) -> dict[str, Any]:
    """A piece of a tool call, as `Delta` carries it; what is not a string is an empty one."""
    return {"index": index, "id": to_string(id_), "name": to_string(name), "arguments": to_string(arguments)}


def to_string(value: object) -> str:
    """A string as it is; an empty one for anything else."""
    return value if isinstance(value, str) else ""


def to_tokens(asked: object, answered: object, cached: object) -> Tokens | None:
    """The counts of a usage object; None where there are none that can be believed."""
    asked, answered = _count(asked), _count(answered)
    if asked is None or answered is None:
        return None
    return Tokens(input=asked, output=answered, cached_input=min(_count(cached) or 0, asked))


def _count(value: object) -> int | None:
    """A token count as an int; None for anything that is not one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS else None


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a message or a delta: its `content`, or its `refusal` where that is all there is."""
    content = message.get("content")
    if content is None:
        content = message.get("refusal")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(part for part in parts if isinstance(part, str))
    return ""


def estimate_tokens(
    messages: Sequence[Message], text: str = "", tool_calls: Sequence[Mapping[str, Any]] = ()
) -> Tokens:
    """Token counts at four characters each, where an endpoint reports none; `estimated` is True."""
    asked = sum(len(text_of(message)) + 4 for message in messages)
    answered = len(text)
    for call in tool_calls:
        function = call.get("function")
        if isinstance(function, dict):
            answered += len(str(function.get("name") or "")) + len(str(function.get("arguments") or ""))
    return Tokens(input=-(-asked // 4), output=-(-answered // 4), estimated=True)
