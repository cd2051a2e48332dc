"""Streamed replies through `ChatModel.stream`, against a real endpoint."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Any

import pytest

from rlm.errors import AuthError, BadReply, EndpointError, ModelTimeout, PromptTooLong, RateLimited
from rlm.models import ChatModel, RetryPolicy
from rlm.models.limiter import limiter_for
from rlm.protocols import Delta, Tokens
from rlm.testing import Fault, Reply

QUICK = RetryPolicy(base_delay=0.001, max_delay=0.01)
ASK = [{"role": "user", "content": "y" * 400}]


@pytest.fixture
async def model_of():
    models: list[ChatModel] = []

    def make(server, name="m", **options):
        model = ChatModel(name, base_url=server.base_url, **{"retry": QUICK, **options})
        models.append(model)
        return model

    yield make
    for model in models:
        await model.aclose()


async def collect(model, into=None, **options):
    pieces = [] if into is None else into
    async for delta in model.stream(ASK, **options):
        pieces.append(delta)
    return pieces


async def until(condition):
    for _ in range(200):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to pass within 2 s")


def text(deltas):
    return "".join(delta.text for delta in deltas)


async def test_pieces_usage_and_parameters(scripted_model, model_of):
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}
    server = scripted_model(Reply(text="one two three", chunk_size=4, usage=usage))
    model = model_of(server, api_key="k", headers={"X-Team": "a"}, params={"temperature": 0.5})
    deltas = await collect(model, max_tokens=77, params={"seed": 2})
    assert [delta.text for delta in deltas] == ["one ", "two ", "thre", "e", ""]
    assert deltas[-1].tokens == Tokens(input=9, output=3, cached_input=4)
    assert deltas[-1].finish_reason == "stop"
    assert [delta.attempts for delta in deltas] == [1, 0, 0, 0, 0]
    request = server.requests[0]
    assert request.headers["authorization"] == "Bearer k"
    assert request.headers["x-team"] == "a"
    assert request.body == {
        "model": "m",
        "messages": ASK,
        "temperature": 0.5,
        "seed": 2,
        "max_tokens": 77,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_nothing_is_taken_from_the_environment(scripted_model, model_of, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin")
    monkeypatch.setenv("OPENAI_ORG_ID", "org")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project")
    server = scripted_model()
    assert text(await collect(model_of(server, api_key=""))) == "ok"
    headers = server.requests[0].headers
    assert not {"authorization", "openai-organization", "openai-project"} & set(headers)


async def test_an_authorization_header_of_the_users_wins(scripted_model, model_of):
    server = scripted_model()
    model = model_of(server, api_key="k", headers={"Authorization": "Basic abc"})
    await collect(model)
    await model.complete(ASK)
    assert [request.headers["authorization"] for request in server.requests] == ["Basic abc"] * 2


async def test_tool_calls_come_in_pieces(scripted_model, model_of):
    calls: list[dict[str, Any]] = [
        {"name": "python", "arguments": {"code": "print(1) " * 5}},
        {"name": "other", "arguments": "{}"},
    ]
    deltas = await collect(model_of(scripted_model(Reply(text="so:", tool_calls=calls))))
    pieces = [delta.tool_call for delta in deltas if delta.tool_call is not None]
    assert [piece["name"] for piece in pieces if piece["name"]] == ["python", "other"]
    assert pieces[0]["id"] == "call_0"
    first = "".join(piece["arguments"] for piece in pieces if piece["index"] == 0)
    assert json.loads(first) == {"code": "print(1) " * 5}
    assert deltas[-1].finish_reason == "tool_calls"


async def test_usage_is_estimated_where_none_is_reported(scripted_model, model_of):
    deltas = await collect(model_of(scripted_model(Reply(text="z" * 40, usage=False))))
    assert deltas[-1].tokens == Tokens(input=101, output=10, estimated=True)


async def test_an_endpoint_without_stream_options_is_asked_without(scripted_model, model_of):
    server = scripted_model(unsupported_params=["stream_options", "max_tokens"])
    model = model_of(server)
    first = await collect(model, max_tokens=5)
    assert (text(first), first[0].attempts) == ("ok", 3)
    assert (await collect(model, max_tokens=5))[0].attempts == 1


async def test_warming_up_sends_nothing_and_changes_nothing(scripted_model, model_of):
    server = scripted_model()
    model = model_of(server)
    await asyncio.gather(model.warm(), model.warm())
    assert server.request_count == 0
    assert text(await collect(model)) == "ok"


async def test_an_endpoint_that_does_not_stream(scripted_model, model_of):
    call = {"name": "python", "arguments": {"code": "1"}}
    server = scripted_model(Reply(text="whole", tool_calls=[call]), streaming=False)
    deltas = await collect(model_of(server))
    assert text(deltas) == "whole"
    assert deltas[1].tool_call == {"index": 0, "id": "call_0", "name": "python", "arguments": '{"code": "1"}'}
    assert deltas[-1].tokens == Tokens(input=100, output=4)


@pytest.mark.parametrize(
    "fault",
    [Fault.http(500), Fault.http(408), Fault.rate_limit(), Fault.drop()],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
async def test_what_fails_before_the_first_piece_is_tried_again(scripted_model, model_of, fault):
    server = scripted_model([fault, fault, "at last"])
    deltas = await collect(model_of(server))
    assert (text(deltas), deltas[0].attempts, server.request_count) == ("at last", 3, 3)


@pytest.mark.parametrize("fault", [Fault.truncated(), Fault.drop(mid_body=True)], ids=lambda fault: fault.kind)
async def test_a_stream_that_breaks_off_is_an_error_not_an_answer(scripted_model, model_of, fault):
    server = scripted_model(fault)
    pieces: list[Delta] = []
    with pytest.raises(EndpointError):
        await collect(model_of(server), into=pieces)
    assert text(pieces) == "half a reply, an"
    assert server.request_count == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.http(400), BadReply),
        (Fault.http(401), AuthError),
        (Fault.http(404), BadReply),
        (Fault.http(429, code="insufficient_quota"), RateLimited),
        (Fault.http(400, code="context_length_exceeded"), PromptTooLong),
        (Fault.malformed(), BadReply),
        (Fault.empty_choices(), BadReply),
    ],
    ids=lambda value: getattr(value, "kind", getattr(value, "__name__", "")),
)
async def test_errors_are_those_of_the_hot_path(scripted_model, model_of, fault, error):
    server = scripted_model(fault)
    model = model_of(server)
    with pytest.raises(error) as streamed:
        await collect(model)
    with pytest.raises(error) as whole:
        await model.complete(ASK)
    assert type(streamed.value) is type(whole.value) is error
    assert streamed.value.attempts == 1
    if fault.kind == "http":
        assert str(streamed.value) == str(whole.value)


async def test_null_content_is_an_empty_text(scripted_model, model_of):
    deltas = await collect(model_of(scripted_model(Fault.null_content())))
    assert (text(deltas), len(deltas)) == ("", 1)


async def test_closing_early_ends_the_request_and_frees_the_slot(scripted_model, model_of):
    server = scripted_model(Reply(text="x" * 10_000, chunk_size=1, chunk_delay=0.01))
    async with aclosing(model_of(server, concurrency=1).stream(ASK)) as deltas:
        async for delta in deltas:
            assert delta.text == "x"
            break
    assert limiter_for(server.base_url, 1).in_flight == 0
    await until(lambda: server.in_flight == 0)


async def test_times(scripted_model, model_of):
    server = scripted_model([Fault.stall(), "ok"])
    deltas = await collect(model_of(server, request_timeout=0.2))
    assert (text(deltas), deltas[0].attempts) == ("ok", 2)
    with pytest.raises(ModelTimeout):
        await collect(model_of(scripted_model(Fault.stall())), timeout=0.2)
    slow = model_of(scripted_model(Reply(text="x" * 100, chunk_size=1, chunk_delay=0.02)), request_timeout=0.3)
    pieces: list[Delta] = []
    with pytest.raises(ModelTimeout):
        await collect(slow, into=pieces)
    assert 5 <= len(pieces) <= 15


async def test_the_root_is_served_before_a_queue_of_sub_calls(scripted_model, model_of):
    order: list[str] = []

    async def reply(request):
        order.append(request.model)
        await asyncio.sleep(0.02)
        return "ok"

    server = scripted_model(reply)
    sub, root = model_of(server, "sub", concurrency=2), model_of(server, "root", concurrency=2)
    calls = [asyncio.create_task(sub.complete(ASK)) for _ in range(40)]
    await asyncio.sleep(0.01)
    await collect(root)
    assert order.index("root") <= 4
    await asyncio.gather(*calls)


async def test_large_and_odd_prompts(scripted_model, model_of):
    server = scripted_model(lambda request: str(len(request.prompt)))
    model = model_of(server)
    for prompt in ("x" * 3_000_000, "lone \ud800 surrogate"):
        deltas = [delta async for delta in model.stream([{"role": "user", "content": prompt}])]
        assert text(deltas) == str(len(prompt))
        assert int(server.requests[-1].headers["content-length"]) > len(prompt)


async def test_an_error_inside_a_stream_is_an_error(scripted_model, model_of):
    raw = {"error": {"message": "the upstream is overloaded", "code": 429}}
    server = scripted_model([Fault.event(raw), "ok"])
    deltas = await collect(model_of(server))
    assert (text(deltas), deltas[0].attempts) == ("ok", 2)


async def test_a_refused_connection_says_so(model_of):
    model = ChatModel("m", base_url="http://127.0.0.1:9/v1", retry=QUICK)
    with pytest.raises(EndpointError, match="cannot connect to http://127"):
        await collect(model)
    await model.aclose()
