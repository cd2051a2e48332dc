"""Models behind the Responses API, whole and streamed, against a real endpoint."""

from __future__ import annotations

from typing import Any

import pytest

from rlm.errors import AuthError, BadReply, EndpointError, ModelError, PromptTooLong, RateLimited
from rlm.models import ChatModel, HttpModel, ResponsesModel, RetryPolicy
from rlm.models.limiter import limiter_for
from rlm.protocols import Completion, Delta, Message, Tokens
from rlm.testing import Fault, Reply

QUICK = RetryPolicy(base_delay=0.001, max_delay=0.01)
ASK: list[Message] = [{"role": "user", "content": "y" * 400}]
TOOL = {"type": "function", "function": {"name": "python", "parameters": {"type": "object"}}}


@pytest.fixture
async def model_of():
    models: list[HttpModel] = []

    def make(server, name="m", kind: type[HttpModel] = ResponsesModel, **options):
        model = kind(name, base_url=server.base_url, **{"retry": QUICK, **options})
        models.append(model)
        return model

    yield make
    for model in models:
        await model.aclose()


async def whole(model: HttpModel, messages=ASK, **options) -> Completion:
    """A streamed reply put together."""
    text, calls, last = "", dict[int, dict[str, str]](), Delta()
    attempts = 0
    async for delta in model.stream(messages, **options):
        last, attempts, text = delta, attempts or delta.attempts, text + delta.text
        if piece := delta.tool_call:
            call = calls.setdefault(piece["index"], {"id": "", "name": "", "arguments": ""})
            for name in call:
                call[name] += piece[name]
    tool_calls = tuple(
        {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
        for call in calls.values()
    )
    assert last.tokens is not None
    return Completion(text, last.tokens, model.name, last.finish_reason, attempts, tool_calls)


async def complete(model: HttpModel, messages=ASK, **options) -> Completion:
    return await model.complete(messages, **options)


both = pytest.mark.parametrize("ask", [complete, whole])


@both
async def test_what_is_sent_and_what_comes_back(scripted_model, model_of, ask):
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}
    calls: list[dict[str, Any]] = [
        {"id": "a", "name": "python", "arguments": {"code": "x" * 40}},
        {"id": "b", "name": "f", "arguments": ""},
    ]
    server = scripted_model(Reply(text="hi there", usage=usage, tool_calls=calls))
    model = model_of(server, api_key="k", headers={"X-Team": "a"}, params={"temperature": 0.5})
    talk = [{"role": "system", "content": "be brief"}, *ASK]
    reply = await ask(model, talk, max_tokens=77, params={"seed": 2})
    assert (reply.text, reply.model, reply.finish_reason, reply.attempts) == ("hi there", "m", "tool_calls", 1)
    assert reply.tokens == Tokens(input=9, output=3, cached_input=4)
    assert reply.tool_calls == tuple(Reply(tool_calls=calls).calls())
    request = server.requests[0]
    assert (request.api, request.messages) == ("responses", talk)
    assert (request.headers["authorization"], request.headers["x-team"]) == ("Bearer k", "a")
    streamed = {"stream": True} if ask is whole else {}
    assert request.body == {
        "model": "m",
        "instructions": "be brief",
        "input": ASK,
        "temperature": 0.5,
        "seed": 2,
        "max_output_tokens": 77,
        "store": False,
        **streamed,
    }


@both
async def test_instructions_of_the_users_own(scripted_model, model_of, ask):
    server = scripted_model()
    await ask(model_of(server), [{"role": "system", "content": "a"}, *ASK], params={"instructions": "b"})
    assert [message["content"] for message in server.requests[0].messages[:2]] == ["b", "a"]


@both
async def test_usage_is_estimated_where_none_is_reported(scripted_model, model_of, ask):
    reply = await ask(model_of(scripted_model(Reply(text="z" * 40, usage=False))))
    assert reply.tokens == Tokens(input=101, output=10, estimated=True)


@both
async def test_a_reply_that_was_cut_off_says_so(scripted_model, model_of, ask):
    reply = await ask(model_of(scripted_model(Reply(text="so fa", finish_reason="length"))))
    assert (reply.text, reply.finish_reason) == ("so fa", "length")


async def test_pieces_come_one_by_one(scripted_model, model_of):
    server = scripted_model(Reply(text="one two", chunk_size=4))
    deltas = [delta async for delta in model_of(server).stream(ASK)]
    assert [delta.text for delta in deltas] == ["one ", "two", ""]


async def test_an_endpoint_that_does_not_stream(scripted_model, model_of):
    call = {"id": "a", "name": "python", "arguments": "{}"}
    reply = await whole(model_of(scripted_model(Reply(text="whole", tool_calls=[call]), streaming=False)))
    assert (reply.text, reply.tool_calls[0]["id"]) == ("whole", "a")


@both
@pytest.mark.parametrize(
    "fault",
    [Fault.http(500), Fault.http(408), Fault.rate_limit(), Fault.drop()],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
async def test_what_may_pass_is_tried_again(scripted_model, model_of, ask, fault):
    server = scripted_model([fault, fault, "at last"])
    reply = await ask(model_of(server))
    assert (reply.text, reply.attempts, server.request_count) == ("at last", 3, 3)


@both
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
async def test_what_cannot_pass_is_not(scripted_model, model_of, ask, fault, error):
    server = scripted_model(fault)
    with pytest.raises(error) as caught:
        await ask(model_of(server))
    assert type(caught.value) is error
    assert (caught.value.attempts, server.request_count) == (1, 1)


@pytest.mark.parametrize("fault", [Fault.truncated(), Fault.drop(mid_body=True)], ids=lambda fault: fault.kind)
async def test_a_stream_that_breaks_off_is_an_error_not_an_answer(scripted_model, model_of, fault):
    server = scripted_model(fault)
    stream = model_of(server).stream(ASK)
    assert (await anext(stream)).text == "half a reply, an"
    with pytest.raises(EndpointError):
        await anext(stream)
    assert server.request_count == 1


FAILED: list[tuple[dict[str, Any] | None, type[ModelError], bool]] = [
    ({"code": "server_error", "message": "it broke"}, EndpointError, True),
    ({"code": "rate_limit_exceeded", "message": "slower"}, RateLimited, True),
    (None, EndpointError, True),
    ({"code": "invalid_prompt", "message": "no"}, BadReply, False),
    ({"code": "context_length_exceeded", "message": "too much"}, PromptTooLong, False),
]


@pytest.mark.parametrize(("error", "kind", "again"), FAILED)
async def test_a_reply_that_failed_after_it_was_accepted(scripted_model, model_of, error, kind, again):
    failed = {"status": "failed", "error": error, "output": []}
    for ask, body in (
        (complete, failed),
        (whole, {"type": "response.failed", "response": failed}),
        (whole, {"type": "error", **(error or {})}),
    ):
        server = scripted_model([Fault.event(body), "ok"])
        if again:
            assert (await ask(model_of(server))).text == "ok"
            continue
        with pytest.raises(kind) as caught:
            await ask(model_of(server))
        assert type(caught.value) is kind
        assert server.request_count == 1


@pytest.mark.parametrize("status", ["queued", "in_progress"])
async def test_a_reply_that_is_not_there_yet_is_none(scripted_model, model_of, status):
    with pytest.raises(BadReply, match=status):
        await complete(model_of(scripted_model(Fault.event({"status": status, "output": []}))))


async def test_a_stream_that_sends_the_whole_at_its_end_only(scripted_model, model_of):
    """As endpoints do that translate from an API without pieces."""
    call = {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}
    message = {"type": "message", "content": [{"type": "output_text", "text": "all"}]}
    response = {"status": "completed", "output": [message, call]}
    server = scripted_model(Fault.event({"type": "response.completed", "response": response}))
    reply = await whole(model_of(server))
    assert (reply.text, reply.tool_calls[0]["id"], reply.finish_reason) == ("all", "a", "tool_calls")


@both
async def test_a_refusal_is_the_text_where_it_is_all_there_is(scripted_model, model_of, ask):
    message = {"type": "message", "content": [{"type": "refusal", "refusal": "I will not"}]}
    response = {"status": "completed", "output": [message]}
    body = response if ask is complete else {"type": "response.completed", "response": response}
    assert (await ask(model_of(scripted_model(Fault.event(body))))).text == "I will not"


# --- reasoning


def called(id_: str) -> list[Message]:
    """A conversation in which the tool was called, and answered."""
    call = {"id": id_, "type": "function", "function": {"name": "python", "arguments": "{}"}}
    answer = {"role": "tool", "tool_call_id": id_, "content": "4"}
    return [*ASK, {"role": "assistant", "content": "let me see", "tool_calls": [call]}, answer]


def calling(id_: str, reasoning: str) -> Reply:
    return Reply(text="let me see", tool_calls=[{"id": id_, "name": "python", "arguments": {}}], reasoning=reasoning)


@both
async def test_reasoning_goes_back_with_the_call_that_it_led_to(scripted_model, model_of, ask):
    server = scripted_model([calling("call_a", "opaque a"), calling("call_b", "opaque b"), "four"])
    model = model_of(server)
    for talk in (ASK, [{"role": "user", "content": "another conversation"}], called("call_a")):
        await ask(model, talk, params={"tools": [TOOL]})
    assert server.requests[0].body["include"] == ["reasoning.encrypted_content"]
    told = [item.get("type", item.get("role")) for item in server.requests[2].body["input"]]
    assert told == ["user", "reasoning", "assistant", "function_call", "function_call_output"]
    assert server.requests[2].body["input"][1]["encrypted_content"] == "opaque a"


async def test_reasoning_is_not_asked_for_where_there_are_no_tools(scripted_model, model_of):
    server = scripted_model()
    await complete(model_of(server))
    assert "include" not in server.requests[0].body


async def test_an_id_that_comes_twice_brings_no_thoughts_into_another_conversation(scripted_model, model_of):
    server = scripted_model([calling("call_0", "one's"), calling("call_0", "another's"), "four"])
    model = model_of(server)
    for talk in (ASK, ASK, called("call_0")):
        await complete(model, talk, params={"tools": [TOOL]})
    assert not any(item.get("type") == "reasoning" for item in server.requests[2].body["input"])


@both
@pytest.mark.parametrize(
    "refusal",
    [
        "Encrypted content is not supported with this model.",
        "The encrypted content gAAA could not be verified.",
        "Item 'rs_1' of type 'reasoning' was provided without its required following item.",
    ],
)
async def test_a_model_without_encrypted_reasoning_is_asked_without(scripted_model, model_of, ask, refusal):
    def reply(request):
        thinks = "include" in request.body or any(i.get("type") == "reasoning" for i in request.body["input"])
        return Fault.http(400, refusal) if thinks else "ok"

    server = scripted_model(reply)
    model = model_of(server)
    assert (await ask(model, params={"tools": [TOOL]})).attempts == 2
    assert (await ask(model, called("a"), params={"tools": [TOOL]})).attempts == 1


async def test_a_schema_is_left_out_where_it_is_refused(scripted_model, model_of):
    def reply(request):
        return Fault.http(400, "Unsupported: text.format json_schema") if "format" in request.body["text"] else "{}"

    schema = {"type": "json_schema", "json_schema": {"name": "reply", "schema": {"type": "object"}}}
    params = {"response_format": schema, "verbosity": "low"}
    server = scripted_model(reply)
    assert (await complete(model_of(server), params=params)).text == "{}"
    assert [request.body["text"].keys() for request in server.requests] == [{"format", "verbosity"}, {"verbosity"}]


async def test_images(scripted_model, model_of):
    server = scripted_model()
    parts = [
        {"type": "text", "text": "what?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
    ]
    await complete(model_of(server), [{"role": "user", "content": parts}])
    assert server.requests[0].body["input"][0]["content"] == [
        {"type": "input_text", "text": "what?"},
        {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "auto"},
    ]


async def test_both_apis_share_the_limit_of_their_endpoint(scripted_model, model_of):
    server = scripted_model("ok", max_concurrency=1)
    for kind in (ChatModel, ResponsesModel):
        assert (await complete(model_of(server, kind=kind, concurrency=3))).text == "ok"
    assert limiter_for(server.base_url, 3).ceiling == 3
    assert [request.api for request in server.requests] == ["chat", "responses"]


async def test_large_and_odd_prompts(scripted_model, model_of):
    server = scripted_model(lambda request: str(len(request.prompt)))
    for prompt in ("x" * 3_000_000, "lone \ud800 surrogate"):
        for ask in (complete, whole):
            assert (await ask(model_of(server), [{"role": "user", "content": prompt}])).text == str(len(prompt))


def test_what_the_official_client_reads(scripted_model):
    """The scripted server is an endpoint like another to it."""
    from openai import OpenAI

    server = scripted_model(Reply(text="hello", tool_calls=[{"name": "f", "arguments": {"a": 1}}], reasoning="opaque"))
    with OpenAI(api_key="k", base_url=server.base_url) as client:
        ask: dict[str, Any] = {"model": "m", "input": "hi", "include": ["reasoning.encrypted_content"]}
        reply = client.responses.create(**ask)
        kinds = ["reasoning", "message", "function_call"]
        assert ([item.type for item in reply.output], reply.output_text) == (kinds, "hello")
        assert reply.usage is not None
        assert reply.usage.input_tokens == 1
        with client.responses.stream(**ask) as stream:
            pieces = [event.delta for event in stream if event.type == "response.output_text.delta"]
            final = stream.get_final_response()
        assert "".join(pieces) == "hello"
        assert final.output[2].model_dump()["arguments"] == '{"a": 1}'
