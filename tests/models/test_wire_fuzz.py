"""What endpoints may send, made up by hypothesis: replies, streams and errors are read, or refused as typed errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlm.errors import ModelError
from rlm.models import ChatModel, HttpModel, ResponsesModel, RetryPolicy
from rlm.models.completions import ChatWire, tokens_of
from rlm.models.endpoint import Endpoint
from rlm.models.failures import AttemptFailed, from_status, retry_after
from rlm.models.responses import ResponsesWire
from rlm.models.sdk import StreamRequest, whole_deltas
from rlm.models.wire import MOST_TOKENS, Dialect, Wire
from rlm.protocols import Delta, Tokens
from rlm.reply import ReplyReader

ENDPOINT = Endpoint.parse("http://127.0.0.1:9/v1", api_key="sk-0123456789", headers=None)
ASK = [{"role": "user", "content": "x"}]

# Values of any type where another was expected, deep enough to stand for each other.
PLAIN: st.SearchStrategy[Any] = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)


def _around(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3))


ODD = st.recursive(PLAIN, _around)


def some(**fields: Any) -> Any:
    """An object that has each of these fields as it should be, as it should not be, or not at all."""
    return st.fixed_dictionaries({}, optional={name: value | ODD for name, value in fields.items()}) | ODD


COUNT = st.integers(-(10**30), 10**30) | st.sampled_from([10**400, True, 1.5, "7"])
USAGE = some(prompt_tokens=COUNT, completion_tokens=COUNT, prompt_tokens_details=some(cached_tokens=COUNT))
FUNCTION = some(name=st.text(max_size=9), arguments=st.text(max_size=20))
CALLS = st.lists(some(index=st.integers(-3, 10**20), id=st.text(max_size=5), function=FUNCTION), max_size=3)
PARTS = st.lists(some(type=st.just("text"), text=st.text(max_size=9)), max_size=3)
MESSAGE = some(content=st.text(max_size=40) | PARTS, refusal=st.text(max_size=9), tool_calls=CALLS)
ERROR = some(message=st.text(max_size=20), code=st.integers(0, 999), type=st.text(max_size=9))
REPLY = some(
    choices=st.lists(some(message=MESSAGE, finish_reason=st.text(max_size=9)), max_size=2),
    usage=USAGE,
    model=st.text(max_size=9),
    error=ERROR,
)
CHAT_EVENT = some(
    choices=st.lists(some(delta=MESSAGE, finish_reason=st.just("stop")), max_size=2), usage=USAGE, error=ERROR
)

OUTPUT_USAGE = some(input_tokens=COUNT, output_tokens=COUNT, input_tokens_details=some(cached_tokens=COUNT))
OUTPUT_PARTS = st.lists(some(type=st.sampled_from(["output_text", "refusal"]), text=st.text(), refusal=st.text()))
ITEM = some(
    type=st.sampled_from(["message", "function_call", "reasoning"]),
    content=OUTPUT_PARTS,
    call_id=st.text(max_size=3),
    name=st.text(max_size=9),
    arguments=st.text(max_size=20),
    encrypted_content=st.text(max_size=9),
)
RESPONSE = some(
    status=st.sampled_from(["completed", "incomplete", "failed", "queued", "cancelled"]),
    output=st.lists(ITEM, max_size=3),
    usage=OUTPUT_USAGE,
    model=st.text(max_size=9),
    error=some(code=st.sampled_from(["server_error", "invalid_prompt"]) | st.integers(0, 999), message=st.text()),
    incomplete_details=some(reason=st.just("max_output_tokens")),
)
RESPONSE_EVENT = some(
    type=st.just("error")
    | st.sampled_from(
        ["output_text.delta", "refusal.delta", "function_call_arguments.delta", "completed", "failed"]
    ).map("response.{}".format)
    | st.sampled_from(["response.output_item.added", "response.output_item.done"]),
    delta=st.text(max_size=9),
    output_index=st.integers(-1, 2),
    item=ITEM,
    response=RESPONSE,
    error=ERROR,
)
REPLIES = st.one_of(st.tuples(st.just(ChatWire()), REPLY), st.tuples(st.just(ResponsesWire()), RESPONSE))


def check(tokens: Tokens) -> None:
    assert 0 <= tokens.cached_input <= tokens.input <= MOST_TOKENS
    assert 0 <= tokens.output <= MOST_TOKENS


@given(REPLIES.map(lambda pair: (pair[0], json.dumps(pair[1]).encode())) | st.tuples(st.just(ChatWire()), st.binary()))
def test_a_reply_is_read_or_refused(sent: tuple[Wire, bytes]) -> None:
    wire, raw = sent
    try:
        completion = wire.decode(raw, ENDPOINT, model="m", messages=ASK, attempts=1)
    except AttemptFailed:
        return
    assert isinstance(completion.text, str)
    assert all(isinstance(call, dict) for call in completion.tool_calls)
    assert completion.finish_reason is None or isinstance(completion.finish_reason, str)
    check(completion.tokens)


@given(USAGE)
def test_usage_is_believed_within_reason_or_not_at_all(usage: Any) -> None:
    tokens = tokens_of(usage)
    if tokens is not None:
        check(tokens)
        assert not tokens.estimated
        assert (tokens.input, tokens.output) == (usage["prompt_tokens"], usage["completion_tokens"])


@given(
    st.tuples(st.just(ChatWire()), st.lists(CHAT_EVENT, max_size=6))
    | st.tuples(st.just(ResponsesWire()), st.lists(RESPONSE_EVENT, max_size=6))
)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_a_stream_of_events_is_a_reply_or_refused(sent: tuple[Wire, list[Any]]) -> None:
    wire, events = sent
    reader = wire.reader(ENDPOINT)

    async def stream() -> AsyncIterator[Delta]:
        for event in events:
            for delta in reader.read(event):
                yield delta
        yield reader.end(ASK)

    said: list[str] = []
    reply = ReplyReader(said.append)
    try:
        whole = asyncio.run(reply.read(stream()))
    except AttemptFailed:
        return
    assert "".join(said).startswith(whole.text) or whole.text == "".join(said)
    check(reply.tokens(10))


@given(st.integers(300, 599), ODD | ERROR.map(lambda error: {"error": error}), st.dictionaries(st.text(), st.text()))
def test_an_error_is_one_clean_line(status: int, body: Any, headers: dict[str, str]) -> None:
    failed = from_status(status, headers, json.dumps(body).encode(), ENDPOINT)
    text = str(failed.error)
    assert isinstance(failed.error, ModelError)
    assert text.isprintable()
    assert len(text) < 500
    assert "sk-0123456789" not in text


@given(st.text(max_size=40))
def test_any_retry_after_is_seconds_or_none(value: str) -> None:
    for name in ("Retry-After", "Retry-After-Ms"):
        seconds = retry_after({name: value})
        assert seconds is None or seconds >= 0


@given(st.dictionaries(st.text(max_size=9), ODD, max_size=4), st.text(max_size=40))
def test_any_request_is_json_or_refused(params: dict[str, Any], content: str) -> None:
    messages = [{"role": "user", "content": content}]
    try:
        body = ChatWire().encode("m", messages, params, max_tokens=7, dialect=Dialect(), stream=True)
    except ModelError:
        return
    assert json.loads(body)["messages"][0]["content"] == content.encode("utf-8", "replace").decode()


@given(REPLIES)
def test_a_reply_that_came_whole_where_a_stream_was_asked_for(sent: tuple[Wire, Any]) -> None:
    wire, reply = sent
    request = StreamRequest(wire=wire, model="m", messages=ASK, body=b"", endpoint=ENDPOINT)
    try:
        deltas = list(whole_deltas(json.dumps(reply).encode(), request))
    except AttemptFailed:
        return
    assert deltas[-1].tokens is not None


SSE = st.lists(
    st.sampled_from(
        [
            *(b"data: ", b"data:", b"\n\n", b"\n", b"\r\n", b": ping\n\n", b"event: x\n", b"id: 1\n", b"retry: 5\n"),
            *(b"data: [DONE]\n\n", b"data: {}\n\n", b"\xef\xbb\xbf", b"\xff\xfe", b"data: null\n\n", b"data: []\n\n"),
            b'data: {"choices": [{"delta": {"content": "hi"}}]}\n\n',
            b'data: {"choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]}\n\n',
            b'data: {"error": {"message": "no"}}\n\n',
            b'data: {"type": "response.output_text.delta", "delta": "hi"}\n\n',
            b'event: error\ndata: {"type": "error", "code": "server_error", "message": "no"}\n\n',
            b'data: {"type": "response.completed", "response": {"status": "completed", "output": []}}\n\n',
        ]
    )
    | st.binary(max_size=20),
    max_size=8,
).map(b"".join)


@given(st.sampled_from([ChatModel, ResponsesModel]), st.lists(SSE, min_size=5, max_size=10))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_bytes_as_a_stream_through_the_official_client_are_a_reply_or_a_typed_error(
    kind: type[HttpModel], bodies: list[bytes]
) -> None:
    """Over HTTP, many to an event loop: what is between the socket and the events is the client's."""

    async def main() -> None:
        once = RetryPolicy(max_attempts=1, stale_retries=0)

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
            writer.write(head + bodies[len(seen) % len(bodies)])
            seen.append(1)
            await writer.drain()
            writer.close()

        seen: list[int] = []
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        model = kind("m", base_url=f"http://127.0.0.1:{port}/v1", retry=once)
        for _ in bodies:
            try:
                deltas = [delta async for delta in model.stream(ASK)]
            except ModelError:
                continue
            assert deltas[-1].tokens is not None
        await model.aclose()
        server.close()
        await server.wait_closed()

    asyncio.run(main())
