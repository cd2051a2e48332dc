"""Streamed replies through the official `openai` client, as plain dicts: no object per chunk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

from rlm.models.endpoint import Endpoint
from rlm.models.failures import from_openai
from rlm.models.wire import Wire, call_piece
from rlm.protocols import Completion, Delta, Message

if TYPE_CHECKING:
    from openai import AsyncOpenAI, AsyncStream

_END = object()
_PIECE = 1 << 18


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """What one streamed attempt needs."""

    wire: Wire
    model: str
    messages: Sequence[Message]
    body: bytes
    endpoint: Endpoint


async def read_stream(client: AsyncOpenAI, request: StreamRequest, until: float) -> AsyncGenerator[Delta, None]:
    """One attempt at a streamed reply; `until` is in the running loop's time. Raises `AttemptFailed`."""
    import openai

    endpoint = request.endpoint
    stream: AsyncStream[object] | None = None
    reader = request.wire.reader(endpoint)
    try:
        async with asyncio.timeout_at(until):
            stream = await _open(client, request, until)
        if stream.response.headers.get("Content-Type", "").startswith("application/json"):
            async with asyncio.timeout_at(until):
                raw = await stream.response.aread()
            for delta in whole_deltas(raw, request):
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
        f"/{request.wire.path}",
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


def whole_deltas(raw: bytes, request: StreamRequest) -> Iterator[Delta]:
    """The deltas of a reply that came in one piece, from an endpoint that does not stream. Raises `AttemptFailed`."""
    reply: Completion = request.wire.decode(
        raw, request.endpoint, model=request.model, messages=request.messages, attempts=0
    )
    if reply.text:
        yield Delta(text=reply.text)
    for index, call in enumerate(reply.tool_calls):
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        yield Delta(tool_call=call_piece(index, call.get("id"), function.get("name"), function.get("arguments")))
    yield Delta(tokens=reply.tokens, finish_reason=reply.finish_reason)
