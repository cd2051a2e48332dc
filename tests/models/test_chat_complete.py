"""Whole replies through `ChatModel.complete`, against a real endpoint."""

from __future__ import annotations

import asyncio
import gc
import socket
import time

import pytest

from rlm.errors import AuthError, BadReply, EndpointError, ModelTimeout, PromptTooLong, RateLimited
from rlm.models import ChatModel, RetryPolicy
from rlm.models.limiter import limiter_for
from rlm.protocols import Model, Tokens
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


async def until(condition):
    for _ in range(200):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to pass within 2 s")


async def test_a_reply_with_what_was_reported(scripted_model, model_of):
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}
    call = {"name": "python", "arguments": {"code": "1"}}
    server = scripted_model(Reply(text="hi", usage=usage, tool_calls=[call]))
    model: Model = model_of(server, api_key="k", headers={"X-Team": "a"}, params={"temperature": 0.5, "seed": 1})
    reply = await model.complete(ASK, max_tokens=77, params={"seed": 2})
    assert (reply.text, reply.model, reply.finish_reason, reply.attempts) == ("hi", "m", "tool_calls", 1)
    assert reply.tokens == Tokens(input=9, output=3, cached_input=4)
    assert reply.tool_calls[0]["function"]["name"] == "python"
    request = server.requests[0]
    assert request.headers["authorization"] == "Bearer k"
    assert request.headers["x-team"] == "a"
    assert request.body == {"model": "m", "messages": ASK, "temperature": 0.5, "seed": 2, "max_tokens": 77}


async def test_no_key_means_no_authorization_header(scripted_model, model_of):
    server = scripted_model()
    for key in (None, ""):
        await model_of(server, api_key=key).complete(ASK)
    assert not any("authorization" in request.headers for request in server.requests)


@pytest.mark.parametrize("usage", [False, {}, {"prompt_tokens": "many"}, {"prompt_tokens": -1, "completion_tokens": 2}])
async def test_usage_is_estimated_where_none_is_reported(scripted_model, model_of, usage):
    reply = await model_of(scripted_model(Reply(text="z" * 40, usage=usage))).complete(ASK)
    assert reply.tokens == Tokens(input=101, output=10, estimated=True)


async def test_null_content_is_an_empty_text(scripted_model, model_of):
    assert (await model_of(scripted_model(Fault.null_content())).complete(ASK)).text == ""


@pytest.mark.parametrize(
    "fault",
    [
        Fault.http(500),
        Fault.http(409),
        Fault.http(408),
        Fault.rate_limit(),
        Fault.drop(),
        Fault.drop(mid_body=True),
        Fault.truncated(),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
async def test_what_may_pass_is_tried_again_and_counted(scripted_model, model_of, fault):
    server = scripted_model([fault, fault, "at last"])
    reply = await model_of(server).complete(ASK)
    assert (reply.text, reply.attempts, server.request_count) == ("at last", 3, 3)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.http(400), BadReply),
        (Fault.http(401), AuthError),
        (Fault.http(403), AuthError),
        (Fault.http(404), BadReply),
        (Fault.http(422), BadReply),
        (Fault.http(429, code="insufficient_quota"), RateLimited),
        (Fault.http(400, code="context_length_exceeded"), PromptTooLong),
        (Fault.malformed(), BadReply),
        (Fault.empty_choices(), BadReply),
    ],
    ids=lambda value: getattr(value, "kind", getattr(value, "__name__", "")),
)
async def test_what_cannot_pass_is_not(scripted_model, model_of, fault, error):
    server = scripted_model(fault)
    with pytest.raises(error) as caught:
        await model_of(server).complete(ASK)
    assert type(caught.value) is error
    assert (caught.value.attempts, server.request_count) == (1, 1)


@pytest.mark.parametrize(
    ("fault", "error"), [(Fault.http(503, "overloaded"), EndpointError), (Fault.drop(), EndpointError)]
)
async def test_it_gives_up_in_the_end(scripted_model, model_of, fault, error):
    server = scripted_model(fault)
    with pytest.raises(error) as caught:
        await model_of(server, retry=RetryPolicy(base_delay=0.001, max_attempts=3)).complete(ASK)
    assert caught.value.attempts == server.request_count >= 3


async def test_endless_rejections_end_with_the_patience(scripted_model, model_of):
    server = scripted_model(Fault.rate_limit())
    with pytest.raises(RateLimited) as caught:
        await model_of(server, retry=RetryPolicy(base_delay=0.01, max_delay=0.05, patience=0.5)).complete(ASK)
    assert caught.value.attempts == server.request_count > 6


async def test_retry_after_holds_the_call_and_the_endpoint_back(scripted_model, model_of):
    server = scripted_model([Fault.rate_limit(1), "ok"])
    model = model_of(server)
    begun = time.perf_counter()
    first = asyncio.create_task(model.complete(ASK))
    await until(lambda: server.request_count == 1)
    await asyncio.sleep(0.05)
    other = await model.complete(ASK)
    assert time.perf_counter() - begun > 0.9
    assert (other.attempts, (await first).attempts) == (1, 2)


async def test_a_refused_connection_gives_up_soon(scripted_model):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        model = ChatModel("m", base_url=url)
        begun = time.perf_counter()
        with pytest.raises(EndpointError, match="cannot connect to http://127"):
            await model.complete(ASK)
        assert time.perf_counter() - begun < 10
        await model.aclose()


async def test_each_attempt_has_its_time(scripted_model, model_of):
    server = scripted_model([Fault.stall(), "ok"])
    reply = await model_of(server, request_timeout=0.2).complete(ASK)
    assert (reply.text, reply.attempts) == ("ok", 2)
    server = scripted_model(Fault.stall())
    model = model_of(server, request_timeout=0.2, retry=RetryPolicy(base_delay=0.001, max_attempts=2))
    with pytest.raises(ModelTimeout) as caught:
        await model.complete(ASK)
    assert caught.value.attempts == 2


async def test_timeout_bounds_the_whole_call(scripted_model, model_of):
    model = model_of(scripted_model(Fault.stall()))
    with pytest.raises(ModelTimeout) as caught:
        await model.complete(ASK, timeout=0.2)
    assert caught.value.attempts == 1
    waiting = model_of(scripted_model(Fault.http(500)), retry=RetryPolicy(base_delay=20, jitter=lambda: 1.0))
    with pytest.raises(ModelTimeout):
        await waiting.complete(ASK, timeout=0.2)


async def test_cancelling_ends_the_request_and_frees_the_slot(scripted_model, model_of):
    server = scripted_model(Fault.stall())
    model = model_of(server, concurrency=3)
    calls = [asyncio.create_task(model.complete(ASK)) for _ in range(5)]
    await until(lambda: server.in_flight == 3)
    assert server.request_count == 3
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert limiter_for(server.base_url, 3).in_flight == 0
    await until(lambda: server.in_flight == 0)


async def test_the_output_cap_is_renamed_where_the_endpoint_wants_it(scripted_model, model_of):
    server = scripted_model(unsupported_params=["max_tokens"])
    model = model_of(server)
    reply = await model.complete(ASK, max_tokens=5)
    assert reply.attempts == 2
    replies = await asyncio.gather(*(model.complete(ASK, max_tokens=5) for _ in range(5)))
    assert {reply.attempts for reply in replies} == {1}
    assert server.requests[-1].body["max_completion_tokens"] == 5
    assert "max_tokens" not in server.requests[-1].body


async def test_a_cap_in_the_params_wins(scripted_model, model_of):
    server = scripted_model()
    await model_of(server, params={"max_completion_tokens": 9}).complete(ASK, max_tokens=5)
    assert server.requests[0].body.get("max_tokens") is None
    assert server.requests[0].body["max_completion_tokens"] == 9


async def test_an_idle_connection_closed_by_the_server_costs_no_waiting(scripted_model, model_of):
    server = scripted_model(["warm", Fault.drop(), "ok"])
    model = model_of(server, retry=RetryPolicy(base_delay=30, jitter=lambda: 1.0))
    await model.complete(ASK)
    reply = await asyncio.wait_for(model.complete(ASK), 5)
    assert (reply.text, reply.attempts) == ("ok", 2)


async def test_concurrency_shrinks_to_what_the_endpoint_bears_and_every_call_succeeds(scripted_model, model_of):
    server = scripted_model(delay=0.02, max_concurrency=10)
    model = model_of(server, concurrency=64, retry=RetryPolicy(base_delay=0.02, max_delay=0.2))
    replies = await asyncio.gather(*(model.complete(ASK) for _ in range(300)))
    assert {reply.text for reply in replies} == {"ok"}
    assert sum(reply.attempts for reply in replies) == server.request_count
    assert server.max_in_flight == 10
    assert server.rejected_count < 400
    assert limiter_for(server.base_url, 64).limit <= 32


async def test_large_and_odd_prompts(scripted_model, model_of):
    server = scripted_model(lambda request: str(len(request.prompt)))
    model = model_of(server)
    for prompt in ("x" * 3_000_000, "日本語🙂" * 10, "lone \ud800 surrogate", ""):
        reply = await model.complete([{"role": "user", "content": prompt}])
        assert reply.text == str(len(prompt))
    with pytest.raises(BadReply, match="JSON"):
        await model.complete([{"role": "user", "content": object()}])


async def test_a_redirect_is_not_followed_and_takes_no_key_along(scripted_model, model_of):
    elsewhere = scripted_model()
    away = {"status": 307, "text": "", "headers": {"Location": f"{elsewhere.base_url}/chat/completions"}}
    with pytest.raises(BadReply, match="redirects to"):
        await model_of(scripted_model({"m": away}), api_key="k").complete(ASK)
    assert elsewhere.request_count == 0


def test_one_model_in_several_event_loops(scripted_model):
    server = scripted_model()
    model = ChatModel("m", base_url=server.base_url)

    async def run():
        replies = await asyncio.gather(*(model.complete(ASK) for _ in range(3)))
        await model.aclose()
        await model.aclose()
        return [reply.text for reply in replies]

    assert asyncio.run(run()) == asyncio.run(run()) == ["ok"] * 3
    gc.collect()


def test_the_key_is_not_in_the_repr():
    assert "sk-secret" not in repr(ChatModel("m", base_url="http://h.test", api_key="sk-secret"))
