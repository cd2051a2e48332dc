"""Endpoints that fail, in every way, under the root and under sub-calls: typed outcomes, and nothing paid twice."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from rlm.testing import Fault, Reply, ScriptedModelServer, ScriptedRequest
from tests.faults.conftest import DRAFT, FINISH, Play, cell, ended_well_recorded

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("quick"),
    pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning"),
]

STALL_SECONDS = 0.25
"""In the place of ten minutes."""
FAULTS: dict[str, tuple[Fault, str, str]] = {
    "500": (Fault.http(500), "EndpointError", "endpoint"),
    "503 with Retry-After": (Fault.http(503, retry_after=0.01), "EndpointError", "endpoint"),
    "429": (Fault.rate_limit(), "RateLimited", "endpoint"),
    "429 with Retry-After": (Fault.rate_limit(retry_after=0.05), "RateLimited", "endpoint"),
    "quota is spent": (Fault.http(429, code="insufficient_quota"), "RateLimited", "endpoint"),
    "401": (Fault.http(401), "AuthError", "auth"),
    "404": (Fault.http(404), "BadReply", "invalid"),
    "reset": (Fault.drop(), "EndpointError", "endpoint"),
    "reset in the middle": (Fault.drop(mid_body=True), "EndpointError", "endpoint"),
    "truncated": (Fault.truncated(), "EndpointError", "endpoint"),
    "malformed": (Fault.malformed(), "BadReply", "invalid"),
    "no choices": (Fault.empty_choices(), "BadReply", "invalid"),
    "an error with status 200": (Fault.event({"error": {"message": "overloaded"}}), "EndpointError", "endpoint"),
    "too long": (Fault.http(400, "…", code="context_length_exceeded"), "PromptTooLong", "too_long"),
    "stall": (Fault.stall(), "ModelTimeout", "timeout"),
}
PASSING = {"500", "503 with Retry-After", "429", "429 with Retry-After", "reset", "reset in the middle", "truncated"}
PASSING |= {"an error with status 200"}
SUB_PASSING = PASSING | {"stall"}
"""A request of a root is given its time once, one of a sub-LLM with each attempt."""


def _timeout(name: str) -> dict[str, Any]:
    return {"request_timeout": STALL_SECONDS} if name == "stall" else {}


@pytest.mark.parametrize("name", FAULTS)
def test_a_root_endpoint_that_fails_in_mid_run_costs_no_more_than_the_time(name: str, play: Play) -> None:
    fault, error, _ = FAULTS[name]
    mended = False

    def root(request: ScriptedRequest) -> Any:
        return DRAFT if request.turn == 0 else FINISH if mended else fault

    with ScriptedModelServer({"root": root}) as server:
        failed = play(server, **_timeout(name))
        asked, mended = server.request_count, True
        resumed = play(server, resume=True)
        assert server.request_count == asked + 1, "the first turn is paid for"
    assert failed.result.error is not None
    assert (failed.result.stop_reason, failed.result.error.type, failed.result.exit_code) == ("error", error, 4)
    assert (failed.result.answer, failed.result.ready, failed.result.turns) == ("the draft", False, 1)
    assert [event["output"] for event in failed.of("cell.completed")] == ["one\n"]
    assert failed.result.usage.root.calls == asked
    ended_well_recorded(failed)
    assert (resumed.result.answer, resumed.result.stop_reason) == ("the answer", "answered")
    ended_well_recorded(resumed)


def test_sub_calls_that_fail_are_typed_one_by_one_and_the_others_arrive(play: Play) -> None:
    names = [*FAULTS, "fine", "null content"]
    root = [
        cell(
            f"out = llm_batch({names!r})\n"
            "kinds = {n: getattr(o, 'kind', None) or repr(o) for n, o in zip(" + repr(names) + ", out)}\n"
            "answer['content'] = repr(kinds)\nanswer['ready'] = True"
        )
    ]

    def sub(request: ScriptedRequest) -> Any:
        if request.prompt == "null content":
            return Fault.null_content()
        return FAULTS[request.prompt][0] if request.prompt in FAULTS else "fine"

    with ScriptedModelServer({"root": root, "sub": sub}) as server:
        told = play(server, request_timeout=STALL_SECONDS * 2)
    expected = {name: kind for name, (_, _, kind) in FAULTS.items()} | {"fine": "'fine'", "null content": "''"}
    assert told.result.answer == repr({name: expected[name] for name in names})
    assert (told.result.stop_reason, told.result.exit_code) == ("answered", 0)
    recorded = {event["prompt"]: event for event in told.of("call.completed")}
    assert {name: recorded[name]["error"]["kind"] for name in FAULTS} == {n: k for n, (_, _, k) in FAULTS.items()}
    assert recorded["fine"]["text"] == "fine"
    assert told.result.usage.sub.calls == server.request_counts["sub"]
    ended_well_recorded(told)


@pytest.mark.parametrize("level", ["root", "sub", "child"])
def test_a_fault_that_passes_is_not_noticed(level: str, play: Play) -> None:
    """Every fault that can pass, one after the other, in one run."""
    faults = [FAULTS[name][0] for name in FAULTS if name in (SUB_PASSING if level == "sub" else PASSING)]
    seen: list[str] = []

    def flaky(reply: Any) -> Any:
        def answer(request: ScriptedRequest) -> Any:
            last = str(request.messages[-1]["content"])
            if last in seen or len(seen) == len(faults):
                return reply(request) if callable(reply) else reply
            seen.append(last)
            return faults[len(seen) - 1]

        return answer

    sub: Any = lambda request: f"re: {request.prompt}"  # noqa: E731
    many = f"out = llm_batch([str(i) for i in range({len(faults)})])"
    steps = [cell(f"print({i})") for i in range(len(faults))]
    turns: Any = lambda request: ([*steps, FINISH])[request.turn]  # noqa: E731
    if level == "root":
        replies = {"root": flaky(turns)}
    elif level == "sub":
        replies = {
            "root": cell(f"{many}\nanswer['content'] = ','.join(out)\nanswer['ready'] = True"),
            "sub": flaky(sub),
        }
    else:
        kid = "answer['content'] = rlm_query('which?', context='x')\nanswer['ready'] = True"
        replies = {"root": cell(kid), "sub": flaky(turns)}
    with ScriptedModelServer(replies) as server:
        told = play(server, depth=2 if level == "child" else 1, **_timeout("stall" if level == "sub" else ""))
    assert told.result.stop_reason == "answered", told.result.error
    assert len(seen) == len(faults)
    expected = ",".join(f"re: {i}" for i in range(len(faults))) if level == "sub" else "the answer"
    assert told.result.answer == expected
    spent = told.result.usage
    assert spent.root.calls + spent.sub.calls == server.request_count


@pytest.mark.parametrize("name", ["500", "truncated", "malformed", "stall"])
def test_a_childs_endpoint_that_fails_is_an_error_item_of_its_parent(name: str, play: Play) -> None:
    fault, _, kind = FAULTS[name]
    root = cell(
        "kid, other = rlm_batch(['broken', 'fine'], contexts=['x', 'y'])\n"
        "answer['content'] = f'{kid.kind}; {other}'\nanswer['ready'] = True"
    )

    def child(request: ScriptedRequest) -> Any:
        return fault if "broken" in str(request.messages) else FINISH

    with ScriptedModelServer({"root": root, "sub": child}) as server:
        told = play(server, depth=2, **_timeout(name))
    assert (told.result.answer, told.result.exit_code) == (f"{kind}; the answer", 0)
    ends = {event["stop_reason"] for event in told.of("child.completed")}
    assert ends == {"error", "answered"}


def test_an_endpoint_that_is_down_at_the_start(play: Play) -> None:
    down = ScriptedModelServer("ok").start()
    down.close()
    told = play(down.base_url)
    assert told.result.error is not None
    assert (told.result.error.type, told.result.exit_code) == ("EndpointError", 4)
    assert (told.result.answer, told.result.turns) == ("", 0)
    assert "cannot connect" in told.result.error.message
    ended_well_recorded(told)
    with ScriptedModelServer({"root": FINISH}) as server:
        assert play(server, resume=True).result.answer == "the answer"


@pytest.mark.parametrize("level", ["root", "sub"])
def test_an_endpoint_that_goes_away_in_the_middle(level: str, play: Play) -> None:
    """The port is closed while the second reply of the root, or one of its sub-calls, is awaited."""
    batch = "out = llm_batch(['a', 'b'])\nanswer['content'] = f'draft of {out[0]}'\nprint(out[1].kind)"
    server = ScriptedModelServer({})

    async def close(request: ScriptedRequest) -> Any:
        await asyncio.sleep(0.1)  # so that what came before has arrived
        threading.Thread(target=server.close, daemon=True).start()
        return Fault.stall()

    if level == "root":
        replies: dict[str, Any] = {"root": lambda request: close(request) if request.turn else DRAFT}
        draft, turns, kept = "the draft", 1, []
    else:
        replies = {"root": cell(batch), "sub": lambda request: close(request) if request.prompt == "b" else "a reply"}
        draft, turns, kept = "draft of a reply", 1, ["a reply", None]
    server = ScriptedModelServer(replies).start()
    failed = play(server)
    assert failed.result.error is not None
    assert (failed.result.error.type, failed.result.exit_code) == ("EndpointError", 4)
    assert (failed.result.answer, failed.result.turns) == (draft, turns)
    assert [event.get("text") for event in failed.of("call.completed")] == kept
    ended_well_recorded(failed)
    with ScriptedModelServer({"root": FINISH}) as mended:
        resumed = play(mended, resume=True)
        assert mended.request_counts == {"root": 1}
    assert resumed.result.answer == "the answer"


@pytest.mark.parametrize(
    "arguments", ['{"code": "print(1', "[]", '{"code": 7}', "", '{"\\ud800": "\\ud800"}', "[" * 5000]
)
@pytest.mark.parametrize("level", ["root", "sub"])
def test_tool_calls_with_broken_arguments_are_told_to_the_model(level: str, arguments: str, play: Play) -> None:
    name = "python" if level == "root" else "search"
    broken = {"text": "", "tool_calls": [{"name": name, "arguments": arguments}]}
    if level == "root":
        finish = {"code": "answer['content'] = 'the answer'\nanswer['ready'] = True"}
        whole = {"text": "", "tool_calls": [{"name": "python", "arguments": finish}]}
        with ScriptedModelServer({"root": lambda request: whole if request.turn else broken}) as server:
            told = play(server, native_tools=True)
        reply, *_ = told.of("root.completed")
        assert reply["broken"] == "arguments"
        assert told.result.answer == "the answer"
        return
    root = cell("answer['content'] = llm_query('find it')\nanswer['ready'] = True")
    sub = lambda request: "found without" if request.turn else broken  # noqa: E731
    with ScriptedModelServer({"root": root, "sub": sub}) as server:
        told = play(server, tools=("tests.trace.rich:search",))
    (tool,) = told.of("tool.completed")
    # A call without arguments is one without a query: told as such.
    assert tool["failed"]
    assert tool["output"].startswith("error: ")
    assert told.result.answer == "found without"


USAGES: dict[str, Any] = {
    "negative": {"prompt_tokens": -5, "completion_tokens": -7},
    "huge": {"prompt_tokens": 10**18, "completion_tokens": 10**18},
    "larger than a float": {"prompt_tokens": 10**400, "completion_tokens": 10**400},
    "strings": {"prompt_tokens": "12", "completion_tokens": "many"},
    "booleans": {"prompt_tokens": True, "completion_tokens": False},
    "fractions": {"prompt_tokens": 1.5, "completion_tokens": 2.5},
    "null": {"prompt_tokens": None, "completion_tokens": None},
    "half": {"prompt_tokens": 12},
    "cached beyond the input": {
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 10**30},
    },
    "missing": False,
}


@pytest.mark.parametrize("name", USAGES)
def test_wrong_usage_figures_spoil_neither_the_run_nor_its_books(name: str, play: Play) -> None:
    """For the root, a sub-call, and a sub-call with tools at once; priced, so that money is counted from them."""
    usage = USAGES[name]
    root = cell("answer['content'] = ' '.join(llm_batch(['a', 'b']))\nanswer['ready'] = True")
    price = {"input": 1.0, "output": 2.0}
    replies = {"root": Reply(text=root, usage=usage), "sub": Reply(text="fine", usage=usage)}
    with ScriptedModelServer(replies) as server:
        told = play(server, prices={"root": price, "sub": price}, max_tokens=200_000, max_cost=5.0)
    result = told.result
    assert (result.answer, result.stop_reason) == ("fine fine", "answered"), result.error
    estimated = name != "cached beyond the input"
    assert (result.usage.root.estimated, result.usage.sub.estimated) == (estimated, estimated)
    spent = [result.usage.root.input_tokens, result.usage.root.output_tokens]
    spent += [result.usage.sub.input_tokens, result.usage.sub.output_tokens]
    assert all(0 < tokens < 10_000 for tokens in spent)
    assert result.cost is not None
    assert 0 < result.cost < 0.1
