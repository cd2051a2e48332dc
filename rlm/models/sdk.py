"""Streamed replies through the official `openai` client, as plain dicts: no object per chunk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp

from rlm.errors import BadReply, EndpointError
from rlm.models.endpoint import Endpoint
from rlm.models.failures import AttemptFailed, from_openai, from_reply_error
from rlm.models.wire import decode_completion, estimate_tokens, text_of, tokens_of
from rlm.protocols import Completion, Delta, Message, Tokens

if TYPE_CHECKING:
    from openai import AsyncOpenAI, AsyncStream

_END = object()
_PIECE = 1 << 18


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """What one streamed attempt needs."""

    model: str
    messages: Sequence[Message]
    body: bytes
    endpoint: Endpoint


async def read_stream(client: AsyncOpenAI, request: StreamRequest, until: float) -> AsyncGenerator[Delta, None]:
    """One attempt at a streamed reply; `until` is in the running loop's time. Raises `AttemptFailed`."""
    import openai

    endpoint = request.endpoint
    stream: AsyncStream[object] | None = None
    reader = _Reader(endpoint)
    try:
        async with asyncio.timeout_at(until):
            stream = await _open(client, request, until)
        if stream.response.headers.get("Content-Type", "").startswith("application/json"):
            async with asyncio.timeout_at(until):
                raw = await stream.response.aread()
            for delta in _whole(raw, request):
                yield delta
            return
        events = aiter(stream)
        while True:
            async with asyncio.timeout_at(until):
                event = await anext(events, _END)
            if event is _END:
                break
            for delta in reader.read(event):
                yield delta
        yield reader.end(request.messages)
    except (openai.OpenAIError, aiohttp.ClientError, OSError, ValueError) as exc:
        raise from_openai(exc, endpoint) from (None if isinstance(exc, openai.APIStatusError) else exc)
    finally:
        if stream is not None:
            await stream.close()


async def _open(client: AsyncOpenAI, request: StreamRequest, until: float) -> AsyncStream[object]:
    from openai import AsyncStream, Omit

    headers: dict[str, str | Omit] = {"Content-Type": "application/json", "Accept": "text/event-stream"}
    if not request.endpoint.authorized:
        headers["Authorization"] = Omit()
    content: bytes | AsyncIterator[bytes] = request.body
    if len(request.body) > _PIECE:
        headers["Content-Length"] = str(len(request.body))
        content = _pieces(request.body)
    remaining = max(0.001, until - asyncio.get_running_loop().time())
    return await client.post(
        "/chat/completions",
        cast_to=object,
        content=content,
        options={"headers": headers, "timeout": remaining},
        stream=True,
        stream_cls=AsyncStream[object],
    )


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    """A large body in parts: `aiohttp` warns of one that is written at once."""
    for start in range(0, len(body), _PIECE):
        yield body[start : start + _PIECE]


def _whole(raw: bytes, request: StreamRequest) -> Iterator[Delta]:
    """The deltas of a reply that came in one piece, from an endpoint that does not stream."""
    reply: Completion = decode_completion(
        raw, request.endpoint, model=request.model, messages=request.messages, attempts=0
    )
    if reply.text:
        yield Delta(text=reply.text)
    for index, call in enumerate(reply.tool_calls):
        yield Delta(tool_call=_call_piece(call, index))
    yield Delta(tokens=reply.tokens, finish_reason=reply.finish_reason)


class _Reader:
    """Turns the events of one stream into deltas."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._finish: str | None = None
        self._tokens: Tokens | None = None
        self._seen_event = False
        self._seen_choice = False
        self._text: list[str] = []

    def read(self, event: object) -> Iterator[Delta]:
        self._seen_event = True
        if not isinstance(event, dict):
            raise AttemptFailed(BadReply(f"{self._endpoint.key} sent an event that is not a JSON object"))
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
                piece = _call_piece(call, position)
                self._text.append(piece["name"] + piece["arguments"])
                yield Delta(tool_call=piece)

    def end(self, messages: Sequence[Message]) -> Delta:
        """The last delta. Raises `AttemptFailed` if the stream ended before the reply did."""
        if self._finish is None:
            if self._seen_event and not self._seen_choice:
                raise AttemptFailed(BadReply(f"{self._endpoint.key} sent a reply without a message in it"))
            raise AttemptFailed(EndpointError(f"{self._endpoint.key} broke off its reply"), retry=True)
        tokens = self._tokens or estimate_tokens(messages, "".join(self._text))
        return Delta(tokens=tokens, finish_reason=self._finish)


def _call_piece(call: Mapping[str, Any], position: int) -> dict[str, Any]:
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    index = call.get("index")
    return {
        "index": index if isinstance(index, int) else position,
        "id": _string(call.get("id")),
        "name": _string(function.get("name")),
        "arguments": _string(function.get("arguments")),
    }


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""
