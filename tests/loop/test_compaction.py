"""A conversation that outgrows its window: what is kept, what is handed over, what it costs."""

from __future__ import annotations

from typing import Any

import pytest

from rlm.conversation import Conversation
from rlm.errors import PromptTooLong
from rlm.reply import Reply
from rlm.testing import Fault, ScriptedModelServer, ScriptedRequest
from tests.loop.test_rollout import Play, cell

HANDOVER = "Found: the name is Ann. Next: count the years."
PAD = "print('" + "filler " * 150 + "')"


def is_handover(request: ScriptedRequest) -> bool:
    return "This is not a turn" in request.prompt


class Model:
    """Writes `turns` cells that print much, then answers; writes a handover when it is asked for one."""

    def __init__(self, turns: int, handover: Any = HANDOVER) -> None:
        self.turns = turns
        self.handover = handover
        self.cells = 0

    def __call__(self, request: ScriptedRequest) -> Any:
        if is_handover(request):
            return self.handover
        self.cells += 1
        if self.cells > self.turns:
            return cell("answer['content'] = 'done'\nanswer['ready'] = True")
        return f"step {self.cells}\n" + cell(f"n = {self.cells}\n{PAD}")


@pytest.fixture
def play(local_kernel):
    servers: list[ScriptedModelServer] = []

    def make(model: Any, **options: Any) -> Play:
        servers.append(ScriptedModelServer({"root": model}).start())
        options = {"context_window": 4000, "output_limit": 2000, **options}
        return Play(servers[-1], local_kernel, **options)

    yield make
    for server in servers:
        server.close()


async def test_older_turns_become_a_handover_and_the_rest_stays_byte_for_byte(play) -> None:
    run = play(Model(14))
    outcome = await run()
    assert (outcome.answer, outcome.stop_reason, outcome.turns) == ("done", "answered", 15)
    compactions = run.of("compaction.completed")
    assert len(compactions) >= 2
    requests = run.server.requests
    asked = [number for number, request in enumerate(requests) if is_handover(request)]
    first = asked[0]
    before, after = requests[first - 1].messages, requests[first + 1].messages
    assert requests[first].messages[:-1] == before[: len(requests[first].messages) - 1], "the same prefix as ever"
    assert after[:2] == before[:2], "the limits and the question"
    assert after[2] == {"role": "assistant", "content": HANDOVER}
    assert "replaces your replies 1 to" in after[3]["content"]
    kept = after[4:-1]
    assert kept == before[-len(kept) :] or kept == [*before, *after][-len(kept) - 1 : -1]
    assert "step" in kept[0]["content"]
    roles = [message["role"] for message in after[1:]]
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
    assert all(e["tokens_after"] < e["tokens_before"] for e in compactions)
    assert compactions[1]["first_turn"] == 1, "the first handover is handed over again"
    assert run.ledger.usage().root.calls == len(requests)
    assert max(len(str(request.messages)) for request in requests if not is_handover(request)) < 4000 * 4


async def test_the_kernel_hears_all_that_was_said(play) -> None:
    run = play(Model(6))
    await run()
    assert [said.split("\n")[0] for said in run.kernel.said[:6]] == [f"step {n}" for n in range(1, 7)]


@pytest.mark.parametrize("options", [{"compact_at": 0}, {"context_window": None}])
async def test_it_can_be_switched_off_and_needs_a_window(play, options) -> None:
    run = play(Model(12), **options)
    assert (await run()).answer == "done"
    assert run.of("compaction.completed") == []


async def test_the_endpoints_own_figure_counts(play) -> None:
    """A tokenizer that makes three times as many tokens as are estimated."""

    def model(request: ScriptedRequest) -> Any:
        tokens = 3 * sum(len(str(message["content"])) for message in request.messages) // 4
        return {"text": scripted(request), "usage": {"prompt_tokens": tokens, "completion_tokens": 10}}

    scripted = Model(5)
    run = play(model, context_window=6000)
    await run()
    assert run.of("compaction.completed")


async def test_an_endpoint_that_refuses_the_prompt_is_asked_again_with_a_shorter_one(play) -> None:
    scripted = Model(9)

    def model(request: ScriptedRequest) -> Any:
        size = sum(len(str(message["content"])) for message in request.messages)
        if size > 7000 and not is_handover(request):
            return Fault.http(400, "This model's maximum context length is 1750 tokens", code="context_length_exceeded")
        return scripted(request)

    run = play(model, context_window=None)
    outcome = await run()
    assert (outcome.answer, outcome.turns) == ("done", 10)
    assert len(run.of("compaction.completed")) >= 1
    assert [e["turn"] for e in run.of("turn.started")] == list(range(1, 11))


async def test_a_prompt_that_is_too_long_from_the_start_is_an_error(play) -> None:
    run = play(Fault.http(400, "maximum context length", code="context_length_exceeded"), context_window=None)
    outcome = await run()
    assert outcome.stop_reason == "error"
    assert isinstance(outcome.error, PromptTooLong)


@pytest.mark.parametrize("handover", ["", Fault.http(400, "no")])
async def test_a_handover_that_fails_costs_a_notice(play, handover) -> None:
    run = play(Model(8, handover), compact_at=0.3)
    assert (await run()).answer == "done"
    asked = sum(is_handover(request) for request in run.server.requests)
    assert asked == 2, "it is not tried for ever"


async def test_a_handover_stays_within_the_budget(play) -> None:
    run = play(Model(14), max_tokens=9000)
    await run()
    usage = run.ledger.usage().root
    assert usage.input_tokens + usage.output_tokens <= 9000


async def test_native_tool_calls_are_cut_in_pairs(play) -> None:
    scripted = Model(10)

    def model(request: ScriptedRequest) -> Any:
        text = scripted(request)
        if is_handover(request):
            assert request.body["tool_choice"] == "none"
            return text
        code = text.split("```repl\n")[1].split("\n```")[0]
        return {"text": "", "tool_calls": [{"name": "python", "arguments": {"code": code}}]}

    run = play(model, native_tools=True, context_window=2500)
    assert (await run()).answer == "done"
    assert run.of("compaction.completed")
    for request in run.server.requests:
        ids = [call["id"] for m in request.messages for call in m.get("tool_calls") or ()]
        assert ids == [m["tool_call_id"] for m in request.messages if m["role"] == "tool"]


def test_turns_are_counted_across_handovers() -> None:
    talk = Conversation("system")
    for number in range(1, 6):
        talk.say(f"told {number}")
        talk.accept(Reply(f"reply {number}", None, None, None))
    assert talk.older_turns(5, most=10**6) is None
    older = talk.older_turns(2, most=10**6)
    assert older == (1, 3)
    talk.hand_over(older, "handover", "note")
    assert [m["content"] for m in talk.request()] == [
        *("system", "told 1", "handover", "note", "reply 4", "told 5", "reply 5", ""),
    ]
    assert talk.older_turns(2, most=10**6) == (1, 3)
    assert talk.older_turns(2, most=0) == (1, 4)
