"""OpenAI's Responses API, stateless: all of the conversation each time, and nothing is to be stored.

Reasoning comes back encrypted where tools are offered, and goes along with the calls that it led to; see
`rlm.models.reasoning`. `rlm.models.items` has the shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rlm.errors import BadReply, EndpointError
from rlm.models.endpoint import Endpoint
from rlm.models.failures import AttemptFailed, from_error_object, from_reply_error
from rlm.models.items import said_by, to_call, to_input, to_params
from rlm.models.reasoning import Kept
from rlm.models.wire import (
    Dialect,
    StreamReader,
    call_piece,
    estimate_tokens,
    to_bytes,
    to_event,
    to_object,
    to_string,
    to_tokens,
)
from rlm.protocols import Completion, Delta, Message, Tokens

_ENCRYPTED = "reasoning.encrypted_content"
_STATUS = {"rate_limit_exceeded": 429, "server_error": 500, "vector_store_timeout": 500, "": 500}
"""What the codes of failed replies amount to; all others are faults of the request."""
_REASONS = {"max_output_tokens": "length"}
_OPEN = ("queued", "in_progress")


class ResponsesWire:
    """A `rlm.models.wire.Wire`, of one model: it keeps that model's reasoning."""

    path = "responses"

    def __init__(self) -> None:
        self._kept = Kept()

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
        body = to_params(params, max_tokens)
        if not dialect.structured and isinstance(body.get("text"), dict):
            body["text"].pop("format", None)
        told = to_input(messages, self._kept.recalled) if dialect.reasoning else to_input(messages)
        instructions, items = told
        if instructions is not None and "instructions" in body:
            items = [{"role": "system", "content": instructions}, *items]
        elif instructions is not None:
            body["instructions"] = instructions
        body |= {"model": model, "input": items}
        body.setdefault("store", False)
        if dialect.reasoning and body.get("tools"):
            asked = body.get("include")
            body["include"] = (
                [*(each for each in asked if each != _ENCRYPTED), _ENCRYPTED]
                if isinstance(asked, list)
                else [_ENCRYPTED]
            )
        if stream:
            body["stream"] = True
        return to_bytes(body)

    def decode(
        self, raw: bytes, endpoint: Endpoint, *, model: str, messages: Sequence[Message], attempts: int
    ) -> Completion:
        reply = to_object(raw, endpoint)
        _check(reply, endpoint)
        said, refused, thoughts = [], [], []
        tool_calls = []
        for item in reply["output"]:
            if not isinstance(item, dict):
                continue
            if item.get("type") == "reasoning":
                thoughts.append(item)
            elif item.get("type") == "function_call":
                self._kept.keep(to_string(item.get("call_id")), thoughts)
                thoughts = []
                tool_calls.append(to_call(item))
            elif item.get("type") == "message":
                text, refusal = said_by(item)
                said.append(text)
                refused.append(refusal)
        text = "".join(said) or "".join(refused)
        reported = reply.get("model")
        return Completion(
            text=text,
            tokens=tokens_of(reply.get("usage")) or estimate_tokens(messages, text, tool_calls),
            model=reported if isinstance(reported, str) and reported else model,
            finish_reason=_finish_reason(reply, called=bool(tool_calls)),
            attempts=attempts,
            tool_calls=tuple(tool_calls),
        )

    def reader(self, endpoint: Endpoint) -> StreamReader:
        return ResponsesReader(endpoint, self._kept)


def tokens_of(usage: object) -> Tokens | None:
    """The token counts of a `usage` object; None if there is none that can be read."""
    if not isinstance(usage, dict):
        return None
    details = usage.get("input_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return to_tokens(usage.get("input_tokens"), usage.get("output_tokens"), cached)


def _check(reply: Mapping[str, Any], endpoint: Endpoint) -> None:
    """Raises `AttemptFailed` for a reply that failed, that is not over, or that is none."""
    status = reply.get("status")
    if status == "failed" or (reply.get("error") and not isinstance(reply.get("output"), list)):
        raise _failure(reply.get("error"), endpoint)
    if status == "cancelled":
        raise AttemptFailed(EndpointError(f"{endpoint.key} cancelled its reply"), retry=True)
    if status in _OPEN:
        raise AttemptFailed(BadReply(f"{endpoint.key} sent a reply that is not finished: {status}"))
    if not isinstance(reply.get("output"), list):
        raise AttemptFailed(BadReply(f"{endpoint.key} sent a reply without an output in it"))


def _failure(error: object, endpoint: Endpoint) -> AttemptFailed:
    """The verdict on a reply that failed after it was accepted."""
    code = error.get("code") if isinstance(error, Mapping) else ""
    if isinstance(code, int):
        return from_reply_error(error, endpoint)
    return from_error_object(_STATUS.get(to_string(code), 400), error or "the reply failed", endpoint)


def _finish_reason(reply: Mapping[str, Any], *, called: bool) -> str:
    """In the words of Chat Completions."""
    if reply.get("status") == "incomplete":
        details = reply.get("incomplete_details")
        reason = to_string(details.get("reason")) if isinstance(details, dict) else ""
        return _REASONS.get(reason, reason) or "length"
    return "tool_calls" if called else "stop"


class ResponsesReader:
    """A `rlm.models.wire.StreamReader`."""

    def __init__(self, endpoint: Endpoint, kept: Kept) -> None:
        self._endpoint = endpoint
        self._kept = kept
        self._calls: dict[int, int] = {}
        """Characters of arguments that came so far, by the call's place in the output."""
        self._thoughts: list[dict[str, Any]] = []
        self._spoke = False
        self._text: list[str] = []
        self._over: Delta | None = None

    def read(self, event: object) -> Iterator[Delta]:
        event = to_event(event, self._endpoint)
        match event.get("type"):
            case "response.output_text.delta" | "response.refusal.delta":
                yield from self._said(to_string(event.get("delta")))
            case "response.output_item.added":
                yield from self._begun(event)
            case "response.function_call_arguments.delta":
                yield from self._argued(event, to_string(event.get("delta")))
            case "response.output_item.done":
                yield from self._done(event)
            case "response.completed" | "response.incomplete" | "response.failed":
                yield from self._ended(event.get("response"))
            case "error":
                raise _failure(event.get("error") or event, self._endpoint)
            case None if event.get("error"):
                raise from_reply_error(event["error"], self._endpoint)

    def end(self, messages: Sequence[Message]) -> Delta:
        if self._over is None:
            raise AttemptFailed(EndpointError(f"{self._endpoint.key} broke off its reply"), retry=True)
        tokens = self._over.tokens or estimate_tokens(messages, "".join(self._text))
        return Delta(tokens=tokens, finish_reason=self._over.finish_reason)

    def _said(self, text: str) -> Iterator[Delta]:
        if text:
            self._spoke = True
            self._text.append(text)
            yield Delta(text=text)

    def _begun(self, event: Mapping[str, Any]) -> Iterator[Delta]:
        item, place = _item(event), _place(event)
        if item.get("type") == "function_call" and place not in self._calls:
            arguments = to_string(item.get("arguments"))
            self._calls[place] = len(arguments)
            self._text.append(to_string(item.get("name")) + arguments)
            yield Delta(tool_call=call_piece(place, item.get("call_id"), item.get("name"), arguments))

    def _argued(self, event: Mapping[str, Any], piece: str) -> Iterator[Delta]:
        place = _place(event)
        if piece and place in self._calls:
            self._calls[place] += len(piece)
            self._text.append(piece)
            yield Delta(tool_call=call_piece(place, "", "", piece))

    def _done(self, event: Mapping[str, Any]) -> Iterator[Delta]:
        """An item is whole: what of a call's arguments did not come in pieces comes now."""
        item = _item(event)
        if item.get("type") == "reasoning":
            self._thoughts.append(item)
        elif item.get("type") == "function_call":
            self._kept.keep(to_string(item.get("call_id")), self._thoughts)
            self._thoughts = []
            yield from self._begun(event)
            if not self._calls[_place(event)]:
                yield from self._argued(event, to_string(item.get("arguments")))

    def _ended(self, response: object) -> Iterator[Delta]:
        reply = response if isinstance(response, dict) else {}
        # Where all came in pieces, the whole may be left out.
        _check({"output": [], **reply} if self._text else reply, self._endpoint)
        # What an endpoint does not send in pieces is here as a whole.
        spoke = self._spoke
        for place, item in enumerate(_items(reply)):
            if item.get("type") == "message" and not spoke:
                yield from self._said("".join(said_by(item)))
            elif item.get("type") == "function_call" and place not in self._calls:
                yield from self._done({"item": item, "output_index": place})
        reason = _finish_reason(reply, called=bool(self._calls))
        self._over = Delta(tokens=tokens_of(reply.get("usage")), finish_reason=reason)


def _items(reply: Mapping[str, Any]) -> list[dict[str, Any]]:
    output = reply.get("output")
    return [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []


def _item(event: Mapping[str, Any]) -> dict[str, Any]:
    item = event.get("item")
    return item if isinstance(item, dict) else {}


def _place(event: Mapping[str, Any]) -> int:
    place = event.get("output_index")
    return place if isinstance(place, int) else 0
