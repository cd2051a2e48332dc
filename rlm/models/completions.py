"""Chat Completions: what is sent, and how a reply is read.

A reply's text is its `content`, or its `refusal` where that is all there is; a null content without a
tool call is an empty text. Reasoning that an endpoint sends beside `content` is not part of the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rlm.errors import BadReply, EndpointError
from rlm.models.endpoint import Endpoint
from rlm.models.failures import AttemptFailed, from_reply_error
from rlm.models.wire import (
    CAPS,
    Dialect,
    StreamReader,
    call_piece,
    estimate_tokens,
    text_of,
    to_bytes,
    to_event,
    to_object,
    to_tokens,
)
from rlm.protocols import Completion, Delta, Message, Tokens


class ChatWire:
    """A `rlm.models.wire.Wire`."""

    path = "chat/completions"

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
        body: dict[str, Any] = {**params, "model": model, "messages": messages}
        if not dialect.structured:
            body.pop("response_format", None)
        if max_tokens is not None and not any(cap in params for cap in CAPS):
            body[dialect.cap] = max_tokens
        if stream:
            body["stream"] = True
            if dialect.stream_usage:
                body.setdefault("stream_options", {"include_usage": True})
        return to_bytes(body)

    def decode(
        self, raw: bytes, endpoint: Endpoint, *, model: str, messages: Sequence[Message], attempts: int
    ) -> Completion:
        reply = to_object(raw, endpoint)
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
        reported, reason = reply.get("model"), choice.get("finish_reason")
        return Completion(
            text=text,
            tokens=tokens_of(reply.get("usage")) or estimate_tokens(messages, text, tool_calls),
            model=reported if isinstance(reported, str) and reported else model,
            finish_reason=reason if isinstance(reason, str) else None,
            attempts=attempts,
            tool_calls=tool_calls,
        )

    def reader(self, endpoint: Endpoint) -> StreamReader:
        return ChatReader(endpoint)


def tokens_of(usage: object) -> Tokens | None:
    """The token counts of a `usage` object; None if there is none that can be read."""
    if not isinstance(usage, dict):
        return None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return to_tokens(usage.get("prompt_tokens"), usage.get("completion_tokens"), cached)


class ChatReader:
    """A `rlm.models.wire.StreamReader`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._finish: str | None = None
        self._tokens: Tokens | None = None
        self._seen_event = False
        self._seen_choice = False
        self._text: list[str] = []

    def read(self, event: object) -> Iterator[Delta]:
        self._seen_event = True
        event = to_event(event, self._endpoint)
        if event.get("error"):
            raise from_reply_error(event["error"], self._endpoint)
        self._tokens = tokens_of(event.get("usage")) or self._tokens
        choices = event.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return
        self._seen_choice = True
        reason = choice.get("finish_reason")
        if isinstance(reason, str):
            self._finish = reason
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return
        text = text_of(delta)
        if text:
            self._text.append(text)
            yield Delta(text=text)
        calls = delta.get("tool_calls")
        for position, call in enumerate(calls if isinstance(calls, list) else ()):
            if isinstance(call, dict):
                piece = _piece(call, position)
                self._text.append(piece["name"] + piece["arguments"])
                yield Delta(tool_call=piece)

    def end(self, messages: Sequence[Message]) -> Delta:
        if self._finish is None:
            if self._seen_event and not self._seen_choice:
                raise AttemptFailed(BadReply(f"{self._endpoint.key} sent a reply without a message in it"))
            raise AttemptFailed(EndpointError(f"{self._endpoint.key} broke off its reply"), retry=True)
        tokens = self._tokens or estimate_tokens(messages, "".join(self._text))
        return Delta(tokens=tokens, finish_reason=self._finish)


def _piece(call: Mapping[str, Any], position: int) -> dict[str, Any]:
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    index = call.get("index")
    place = index if isinstance(index, int) else position
    return call_piece(place, call.get("id"), function.get("name"), function.get("arguments"))
