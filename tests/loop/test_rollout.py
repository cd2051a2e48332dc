"""The loop, with a real HTTP endpoint that plays the root model and a kernel in this process."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import Any

import pytest

from rlm.budget import Ledger, Limits
from rlm.config import Price, Settings
from rlm.errors import AuthError, EndpointError, SandboxError
from rlm.loop import Outcome, Rollout, Task
from rlm.models import ChatModel, RetryPolicy
from rlm.prices import PriceTable
from rlm.root import Role
from rlm.testing import Fault, Reply, ScriptedModelServer

pytestmark = pytest.mark.timeout(60)

DONE = '```repl\nanswer["content"] = "42"; answer["ready"] = True\n```'


def cell(code: str) -> str:
    return f"```repl\n{code}\n```"


class Play:
    """One rollout and all that it touched."""

    def __init__(self, server: ScriptedModelServer, kernel: Any, task: Any = None, **options: Any) -> None:
        self.server = server
        self.task = task or {}
        self.settings = Settings(model="root", **options)
        self.events: list[dict[str, Any]] = []
        self.cells_begun = 0
        self.ledger = Ledger(
            Limits(
                self.settings.max_tokens, self.settings.max_cost, self.settings.max_sub_calls, self.settings.timeout
            ),
            PriceTable(self.settings.prices),
        )
        self.kernel = kernel

    async def __call__(self) -> Outcome:
        model = ChatModel(
            "root",
            base_url=self.server.base_url,
            context_window=self.settings.context_window,
            retry=RetryPolicy(max_attempts=2, base_delay=0.01),
        )
        started = asyncio.create_task(self.kernel.start())
        self.ledger.start_clock()
        self.rollout = Rollout(
            Task(
                system="system prompt",
                question="What is it?",
                preview="a text",
                max_turns=self.settings.max_turns,
                deadline=self.ledger.deadline,
                **self.task,
            ),
            model=model,
            role=Role(params=self.settings.root_params),
            kernel=self.kernel,
            started=started,
            ledger=self.ledger,
            settings=self.settings,
            emit=self.emit,
            begin_cell=self.begin_cell,
        )
        self.kernel.on_answer = self.rollout.on_answer
        try:
            return await self.rollout.run()
        finally:
            await model.aclose()
            await started
            assert self.ledger.open_tokens == 0
            assert self.server.errors == []

    def emit(self, type_: str, /, **fields: Any) -> None:
        self.events.append({"type": type_, **fields})

    def begin_cell(self) -> None:
        self.cells_begun += 1

    def of(self, type_: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == type_]

    def sent(self, request: int = -1) -> list[dict[str, Any]]:
        return list(self.server.requests[request].body["messages"])

    def told(self, request: int = -1) -> str:
        return str(self.sent(request)[-1]["content"])


@pytest.fixture
def play(local_kernel):
    servers: list[ScriptedModelServer] = []

    def make(replies: Any, *, server: dict[str, Any] | None = None, **options: Any) -> Play:
        servers.append(ScriptedModelServer({"root": replies}, **(server or {})).start())
        return Play(servers[-1], local_kernel, **options)

    yield make
    for server in servers:
        server.close()


async def test_cells_and_observations_until_the_answer(play) -> None:
    game = play([cell("x = 6\nprint('six')"), cell("print(x * 7)"), DONE])
    outcome = await game()
    assert outcome == Outcome("42", True, "answered", 3)
    assert game.kernel.cells == [
        "x = 6\nprint('six')",
        "print(x * 7)",
        'answer["content"] = "42"; answer["ready"] = True',
    ]
    assert game.kernel.timeouts == [120.0] * 3
    assert game.cells_begun == 3
    messages = game.sent()
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert messages[0]["content"] == "system prompt"
    assert "What is it?" in messages[1]["content"]
    assert "turn 1 of 30" in messages[1]["content"]
    assert messages[3]["content"].startswith("six\n")
    assert "New or changed: x (int)" in messages[3]["content"]
    assert "42" in messages[5]["content"]
    assert [event["turn"] for event in game.of("turn.started")] == [1, 2, 3]
    assert [event["status"] for event in game.of("cell.completed")] == ["ok", "ok", "ok"]
    assert game.of("answer.changed")[-1]["content"] == "42"


async def test_messages_only_grow(play) -> None:
    game = play([cell(f"x = {i}") for i in range(6)] + ["no code", DONE])
    await game()
    for earlier, later in pairwise(game.server.requests):
        before, after = earlier.body["messages"], later.body["messages"]
        assert after[: len(before)] == before


async def test_reading_stops_at_the_first_block(play) -> None:
    endless = Reply(text=cell("print('real')") + "\nOutput: invented" + " tail" * 5000, chunk_delay=0.01, chunk_size=20)
    game = play([endless, DONE])
    begun = time.monotonic()
    await game()
    assert time.monotonic() - begun < 6  # the whole stream takes over ten seconds
    assert game.sent()[2]["content"] == cell("print('real')") + "\n"
    assert "invented" not in str(game.sent())
    first = game.of("root.completed")[0]
    assert first["estimated"] is True
    assert game.ledger.usage().root.estimated is True


async def test_usage_is_the_endpoints_where_it_comes_in_time(play) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 20}
    game = play([Reply(text=cell("1") + "\nmore", usage=usage), Reply(text=DONE, usage=usage)])
    await game()
    total = game.ledger.usage().root
    assert (total.input_tokens, total.output_tokens, total.calls, total.estimated) == (200, 40, 2, False)


async def test_retries_are_counted(play) -> None:
    game = play([Fault.http(500), DONE])
    await game()
    assert game.ledger.usage().root.calls == 2


async def test_native_tool_calls(play) -> None:
    calls = [
        Reply(text="Let me see.", tool_calls=[{"name": "python", "arguments": {"code": "print('via tool')"}}]),
        Reply(tool_calls=[{"name": "python", "arguments": '{"code": broken'}]),
        Reply(tool_calls=[{"name": "search", "arguments": {"q": "x"}}]),
        Reply(tool_calls=[{"name": "python", "arguments": {"code": 'answer.update(content="42", ready=True)'}}]),
    ]
    game = play(calls, native_tools=True)
    assert await game() == Outcome("42", True, "answered", 2)
    tools = game.server.requests[0].body["tools"]
    assert tools[0]["function"]["name"] == "python"
    messages = game.sent()
    assert [message["role"] for message in messages] == ["system", "user"] + ["assistant", "tool"] * 3
    for call, result in ((messages[2], messages[3]), (messages[4], messages[5]), (messages[6], messages[7])):
        assert result["tool_call_id"] == call["tool_calls"][0]["id"]
    assert messages[3]["content"].startswith("via tool")
    assert messages[4]["tool_calls"][0]["function"]["arguments"] == "{}"
    assert "could not be read" in messages[5]["content"]
    assert "no such tool" in messages[7]["content"]


async def test_a_reply_without_code_is_a_reminder_and_no_turn(play) -> None:
    game = play(["I think it is 42.", "", "Still thinking.\n" + cell("print(1)"), "Hm.", DONE], max_turns=3)
    outcome = await game()
    assert outcome == Outcome("42", True, "answered", 2)
    assert "held no code" in game.told(1)
    assert [message["role"] for message in game.sent()].count("assistant") == 3
    roles = [message["role"] for message in game.sent()][1:]
    assert all(a != b for a, b in pairwise(roles))  # they alternate, the empty reply is left out
    assert [event["turn"] for event in game.of("turn.started")] == [1, 2]


async def test_three_replies_without_code_end_the_run(play) -> None:
    game = play(["It is 41.", "It is 41!", "It is 42.", DONE])
    assert await game() == Outcome("It is 42.", False, "loop", 0)
    assert game.server.request_count == 3


async def test_a_reply_cut_off_within_its_code_is_told(play) -> None:
    game = play([Reply(text="```repl\nx = [1,\n2", finish_reason="length"), DONE])
    await game()
    assert game.kernel.cells == ['answer["content"] = "42"; answer["ready"] = True']
    assert "cut off" in game.told()


async def test_a_reply_cut_off_before_its_code_is_told(play) -> None:
    game = play([Reply(text="Let me think", finish_reason="length"), DONE])
    assert (await game()).ready
    assert "cut off before any code" in game.told()


async def test_empty_replies_are_reminded_in_one_message(play) -> None:
    game = play(["", Reply(text=None), DONE])
    assert (await game()).ready
    assert game.told().count("Your reply held no code") == 1
    assert [message["role"] for message in game.sent()] == ["system", "user"]


async def test_the_last_turn_says_so_and_its_cell_counts(play) -> None:
    game = play([cell("print(1)"), cell("print(2)"), DONE], max_turns=3)
    assert await game() == Outcome("42", True, "answered", 3)
    assert "last turn" in game.told()
    assert "last turn" not in game.told(1)


async def test_at_max_turns_the_draft_is_returned(play) -> None:
    game = play([cell('answer["content"] = "draft"'), cell("print(1)")], max_turns=2)
    assert await game() == Outcome("draft", False, "max_turns", 2)
    assert "draft of 5 characters" in game.told()


@pytest.mark.parametrize(("first", "expected"), [("print(1)", "It is 42."), ('answer["content"] = "draft"', "draft")])
async def test_prose_of_the_last_turn_counts_only_without_a_draft(play, first: str, expected: str) -> None:
    game = play([cell(first), "It is 42."], max_turns=2)
    assert await game() == Outcome(expected, False, "max_turns", 2)


async def test_ready_without_content_goes_on(play) -> None:
    game = play([cell('answer["ready"] = True'), DONE])
    assert await game() == Outcome("42", True, "answered", 2)
    assert 'answer["content"] is empty' in game.told()


async def test_an_error_keeps_variables_and_shows_its_end(play) -> None:
    game = play([cell("x = 41\n1 / 0"), cell('answer["content"] = str(x + 1); answer["ready"] = True')])
    assert await game() == Outcome("42", True, "answered", 2)
    assert "ZeroDivisionError: division by zero" in game.told()


async def test_the_same_cell_again_and_again_is_told_once_then_stopped(play) -> None:
    game = play([cell("print('again')")] * 20)
    outcome = await game()
    assert (outcome.stop_reason, outcome.turns) == ("loop", 4)
    assert "several times" in game.told()
    assert sum("several times" in str(message["content"]) for message in game.sent()) == 1


async def test_a_cycle_of_two_cells_is_a_loop_too(play) -> None:
    game = play([cell("print('a')"), cell("print('b')")] * 10)
    assert (await game()).stop_reason == "loop"


async def test_the_same_code_with_new_output_is_no_loop(play) -> None:
    step = cell("i = globals().get('i', 0) + 1\nprint(i)")
    game = play([step] * 10 + [DONE])
    assert await game() == Outcome("42", True, "answered", 11)


async def test_a_dead_kernel_is_explained_with_its_losses(play) -> None:
    game = play([cell("df = 1\nrows = 2"), cell('answer["content"] = "draft"\nDIE()'), DONE])
    assert await game() == Outcome("42", True, "answered", 3)
    assert "Lost are `history`, what was imported, and all variables: df, rows." in game.told()


async def test_max_tokens_ends_in_a_last_turn_that_is_paid_for(play) -> None:
    def reply(request: Any) -> str:
        if "last turn" in request.prompt:
            return DONE
        return cell(f"print('{request.index}' * 2000)")

    game = play(reply, max_tokens=20_000)
    outcome = await game()
    assert outcome.ready
    assert outcome.turns > 2
    usage = game.ledger.usage().root
    assert usage.input_tokens + usage.output_tokens <= 20_000
    assert "tokens for this run are nearly used up" in game.told()
    assert all(request.body["max_tokens"] <= 10_000 for request in game.server.requests)


async def test_max_cost_returns_the_draft_under_its_own_name(play) -> None:
    prices = {"root": Price(input=10, output=40)}
    game = play(lambda r: cell(f"answer['content'] = 'd{r.index}'; print('x' * 3000)"), max_cost=0.25, prices=prices)
    outcome = await game()
    assert (outcome.stop_reason, outcome.ready) == ("max_cost", False)
    assert outcome.answer == f"d{game.server.request_count - 1}"
    assert (game.ledger.cost() or 1) <= 0.25


async def test_a_limit_too_small_for_any_turn_spends_nothing(play) -> None:
    game = play([DONE], max_tokens=20)
    assert await game() == Outcome("", False, "max_tokens", 0)
    assert game.server.request_count == 0
    assert "the run has 20 left" in game.of("notice")[0]["text"]


async def test_the_timeout_stops_a_cell_and_leaves_time_for_a_last_turn(play) -> None:
    game = play([cell('answer["content"] = "draft"\nSLEEP(60)'), DONE], timeout=2)
    begun = time.monotonic()
    assert await game() == Outcome("42", True, "answered", 2)
    assert time.monotonic() - begun < 2.5
    assert (game.kernel.interrupted, game.kernel.cancelled) == (1, 0)
    assert game.of("cell.completed")[0]["status"] == "interrupted"
    assert "The cell was interrupted, since the time for this run is nearly over" in game.told()
    assert "draft of 5 characters" in game.told()
    assert "time for this run is nearly over" in game.told()


async def test_the_timeout_holds_for_a_silent_endpoint(play) -> None:
    game = play([cell('answer["content"] = "draft"'), Fault.stall(), Fault.stall()], timeout=2)
    begun = time.monotonic()
    outcome = await game()
    assert (outcome.answer, outcome.stop_reason) == ("draft", "timeout")
    assert time.monotonic() - begun < 3
    roles = [message["role"] for message in game.sent()][1:]
    assert all(a != b for a, b in pairwise(roles))


async def test_a_failing_endpoint_keeps_the_draft(play) -> None:
    game = play([cell('answer["content"] = "draft"'), Fault.http(401)])
    outcome = await game()
    assert (outcome.answer, outcome.ready, outcome.stop_reason) == ("draft", False, "error")
    assert isinstance(outcome.error, AuthError)
    assert game.ledger.usage().root.calls == 2


async def test_a_reply_that_breaks_off_is_asked_for_again(play, monkeypatch) -> None:
    monkeypatch.setattr("rlm.root.REASK_AFTER", (0.01, 0.01))
    game = play([Fault.drop(mid_body=True), cell("print(1)"), Fault.truncated(), Fault.truncated(), DONE])
    assert await game() == Outcome("42", True, "answered", 2)
    assert game.ledger.usage().root.calls == game.server.request_count == 5
    assert "broke off" in game.of("notice")[-1]["text"]


async def test_an_endpoint_that_breaks_off_every_reply_is_an_error(play, monkeypatch) -> None:
    monkeypatch.setattr("rlm.root.REASK_AFTER", (0.01, 0.01))
    game = play([Fault.drop(mid_body=True)])
    assert isinstance((await game()).error, EndpointError)
    assert game.server.request_count == 3


async def test_a_kernel_that_cannot_be_had_is_an_error(play) -> None:
    game = play([cell("1")])

    async def fail(code: str, *, timeout: float | None = None, said: str = "") -> Any:
        raise SandboxError("gone")

    game.kernel.execute = fail
    outcome = await game()
    assert (outcome.stop_reason, str(outcome.error)) == ("error", "gone")


async def test_cancelling_leaves_the_draft(play) -> None:
    game = play([cell('answer["content"] = "draft"'), cell("SLEEP(60)")])
    task = asyncio.create_task(game())
    async with asyncio.timeout(10):
        while len(game.of("cell.started")) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert game.rollout.outcome("interrupted") == Outcome("draft", False, "interrupted", 2)


async def test_deltas_are_shown_as_they_come(play) -> None:
    game = play([Reply(text=DONE, chunk_size=5)])
    await game()
    assert "".join(event["text"] for event in game.of("root.delta")).startswith("```repl\nanswer")
    assert len(game.of("root.delta")) > 3


@pytest.mark.parametrize(("native", "nudge"), [(False, "one ```repl block"), (True, "a call of the tool `python`")])
async def test_the_first_message_ends_with_how_to_begin(play, native: bool, nudge: str) -> None:
    game = play([DONE], native_tools=native)
    await game()
    assert game.told(0).endswith(f"Begin with {nudge}.")


async def test_a_cell_that_the_sandbox_is_too_late_for_is_not_run(play) -> None:
    game = play([cell('answer["content"] = "never"'), "prose in the last turn"], timeout=1)

    async def start() -> None:
        await asyncio.sleep(1.5)

    game.kernel.start = start
    outcome = await game()
    assert (outcome.stop_reason, outcome.answer) == ("timeout", "prose in the last turn")
    assert "the cell was not run" in game.told()
    assert game.kernel.cells == []
