"""The Chat Completions protocol as bytes and plain dicts: what is sent, and how a reply is read.

A reply's text is its `content`, or its `refusal` where that is all there is; a null content without a
tool call is an empty text. Reasoning that an endpoint sends beside `content` is not part of the text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rlm.errors import BadReply
from rlm.models.endpoint import Endpoint
from rlm.models.failures import AttemptFailed, from_reply_error
from rlm.protocols import Completion, Message, Tokens

_CAPS = ("max_tokens", "max_completion_tokens")
MOST_TOKENS = 10**9
"""Of one request. A usage figure beyond it is a mistake, which must not use up a budget: it is not believed."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """Where endpoints differ. A model starts with the default and learns from refusals."""

    cap: str = "max_tokens"
    """The name of the output cap; OpenAI's reasoning models want `max_completion_tokens`."""
    stream_usage: bool = True
    """Whether `stream_options` may ask for the usage of a stream."""
    structured: bool = True
    """Whether `response_format` may ask for a JSON Schema; who sends one must be content with any text."""

    def adapted(self, refusal: str) -> Dialect:
        """The dialect to try after a 400 or 422 that said `refusal`; this one if it teaches nothing."""
        if self.cap == "max_tokens" and "max_completion_tokens" in refusal:
            return replace(self, cap="max_completion_tokens")
        if self.stream_usage and ("stream_options" in refusal or "include_usage" in refusal):
            return replace(self, stream_usage=False)
        if self.structured and ("response_format" in refusal or "json_schema" in refusal):
            return replace(self, structured=False)
        return self


def encode_request(
    model: str,
    messages: Sequence[Message],
    params: Mapping[str, Any],
    *,
    max_tokens: int | None,
    dialect: Dialect,
    stream: bool,
) -> bytes:
    """The request body. A cap in `params` wins over `max_tokens`.

    Raises `BadReply` when it cannot be written as JSON. Lone surrogates, which JSON text cannot
    carry, become question marks.
    """
    body: dict[str, Any] = {**params, "model": model, "messages": messages}
    if not dialect.structured:
        body.pop("response_format", None)
    if max_tokens is not None and not any(cap in params for cap in _CAPS):
        body[dialect.cap] = max_tokens
    if stream:
        body["stream"] = True
        if dialect.stream_usage:
            body.setdefault("stream_options", {"include_usage": True})
    try:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    except (TypeError, ValueError, RecursionError) as exc:
        raise BadReply(f"the request cannot be written as JSON: {exc}", attempts=0) from exc


def decode_completion(
    raw: bytes, endpoint: Endpoint, *, model: str, messages: Sequence[Message], attempts: int
) -> Completion:
    """Read a whole reply. Raises `AttemptFailed`."""
    reply = _object(raw, endpoint)
    choices = reply.get("choices")
    if reply.get("error") and not choices:
        raise from_reply_error(reply["error"], endpoint)
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if choice is None or not isinstance(message, dict):
        raise AttemptFailed(BadReply(f"{endpoint.key} sent a reply without a message in it"))
    text = text_of(message)
    calls = message.get("tool_calls")
    tool_calls = tuple(call for call in calls if isinstance(call, dict)) if isinstance(calls, list) else ()
    tokens = tokens_of(reply.get("usage"))
    if tokens is None:
        tokens = estimate_tokens(messages, text, tool_calls)
    reported, reason = reply.get("model"), choice.get("finish_reason")
    return Completion(
        text=text,
        tokens=tokens,
        model=reported if isinstance(reported, str) and reported else model,
        finish_reason=reason if isinstance(reason, str) else None,
        attempts=attempts,
        tool_calls=tool_calls,
    )


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a reply's message or delta."""
    content = message.get("content")
    if content is None:
        content = message.get("refusal")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(part for part in parts if isinstance(part, str))
    return ""


def tokens_of(usage: object) -> Tokens | None:
    """The token counts of a `usage` object; None if there is none that can be read."""
    if not isinstance(usage, dict):
        return None
    asked, answered = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    if asked is None or answered is None:
        return None
    details = usage.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
    return Tokens(input=asked, output=answered, cached_input=min(cached or 0, asked))


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


def _object(raw: bytes, endpoint: Endpoint) -> dict[str, Any]:
    try:
        reply = json.loads(raw)
    except (ValueError, RecursionError) as exc:
        raise AttemptFailed(BadReply(f"{endpoint.key} sent a reply that is not JSON")) from exc
    if not isinstance(reply, dict):
        raise AttemptFailed(BadReply(f"{endpoint.key} sent a reply that is not a JSON object"))
    return reply


def _count(value: object) -> int | None:
    """A token count as an int; None for anything that is not one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS else None
