"""`RLM` from question to result, with a real kernel in a real process and a real endpoint."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import rlm
from rlm import RLM, ConfigError, InputError, Settings
from rlm.testing import Fault, Reply, ScriptedModelServer, ScriptedRequest, Turns

pytestmark = [pytest.mark.timeout(100), pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")]


def cell(code: str) -> str:
    return f"```repl\n{code}\n```"


COUNT = cell(
    "parts = context.split()\n"
    "votes = llm_batch([f'is {part} a number?' for part in parts])\n"
    "answer['content'] = str(sum(vote == 'yes' for vote in votes))\n"
    "answer['ready'] = True"
)


def judge(request: ScriptedRequest) -> str:
    return "yes" if request.prompt.split()[1].isdigit() else "no"


@pytest.fixture
def agent(tmp_path: Path):
    servers: list[ScriptedModelServer] = []

    def make(root: Any, **options: Any) -> RLM:
        server = ScriptedModelServer({"root": root, "sub": judge}).start()
        servers.append(server)
        options = {"sandbox": "process", "trace_dir": tmp_path / "traces", **options}
        return RLM(settings=Settings(model="root", sub_model="sub", base_url=server.base_url, **options))

    yield make
    for server in servers:
        server.close()
        assert server.errors == []


def test_a_blocking_run(agent) -> None:
    result = agent(COUNT).run("How many numbers?", "a 1 b 2 3")
    assert (result.answer, result.ready, result.stop_reason, result.turns, result.exit_code) == (
        "3",
        True,
        "answered",
        1,
        0,
    )
    assert (result.usage.root.calls, result.usage.sub.calls) == (1, 5)
    assert result.cost is None
    events = [json.loads(line) for line in result.trace_path.read_text().splitlines()]
    assert [event["seq"] for event in events] == sorted(event["seq"] for event in events)
    assert (events[0]["type"], events[-1]["type"]) == ("run.started", "run.completed")
    assert events[-1]["result"] == result.to_dict()
    assert sum(event["type"] == "call.completed" for event in events) == 5


async def test_inside_a_running_loop_a_blocking_run_works(agent) -> None:
    assert agent(COUNT).run("How many numbers?", "a 1").answer == "1"


async def test_many_runs_at_once(agent) -> None:
    async with agent(COUNT) as shared:
        results = await asyncio.gather(*(shared.arun("How many?", " 7" * number) for number in range(1, 5)))
    assert [result.answer for result in results] == ["1", "2", "3", "4"]
    assert [result.usage.sub.calls for result in results] == [1, 2, 3, 4]
    assert len({result.run_id for result in results}) == 4


async def test_a_stream_of_events_ends_with_the_result(agent, tmp_path: Path) -> None:
    (tmp_path / "numbers.txt").write_text("5 6 x")
    events = [event async for event in agent(COUNT).stream("How many?", inputs=[tmp_path / "numbers.txt"])]
    assert events[-1]["type"] == "run.completed"
    assert events[-1]["result"]["answer"] == "2"
    assert {"turn.started", "root.delta", "cell.completed", "batch.completed", "kernel.started"} <= {
        event["type"] for event in events
    }


async def test_leaving_a_stream_ends_the_run(agent) -> None:
    model = agent(Reply(text="never", delay=60))
    begun = time.monotonic()
    stream = model.stream("What?", "x")
    async for event in stream:
        if event["type"] == "turn.started":
            break
    await stream.aclose()
    assert time.monotonic() - begun < 20
    assert model._live == {}


async def test_an_interrupt_returns_the_best_draft(agent) -> None:
    model = agent(Turns([cell("answer['content'] = 'draft'"), cell("import time\nwhile True: time.sleep(0.1)")]))
    task = asyncio.create_task(model.arun("What?", "x"))
    await _until_trace(model, '"turn":2,"code"')
    threading.Thread(target=model.interrupt).start()
    result = await task
    assert (result.answer, result.stop_reason, result.exit_code) == ("draft", "interrupted", 130)


async def test_a_cancelled_run_leaves_its_result_in_the_trace(agent) -> None:
    model = agent(Turns([cell("answer['content'] = 'draft'"), Reply(text="never", delay=60)]))
    task = asyncio.create_task(model.arun("What?", "x"))
    await _until_trace(model, '"turn.started"', count=2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (trace,) = model.settings.trace_dir.glob("*/events.jsonl")
    last = json.loads(trace.read_text().splitlines()[-1])
    assert (last["result"]["answer"], last["result"]["stop_reason"]) == ("draft", "interrupted")


def test_a_refused_key_is_a_result_with_an_error(agent) -> None:
    result = agent(Fault.http(401)).run("What?", "x")
    assert (result.stop_reason, result.exit_code, result.error.type) == ("error", 4, "AuthError")


def test_a_limit_is_exit_code_3(agent) -> None:
    result = agent(cell("answer['content'] = 'draft'"), max_turns=1).run("What?", "x")
    assert (result.answer, result.stop_reason, result.exit_code) == ("draft", "max_turns", 3)


def test_mistakes_raise_before_anything_is_spent(agent, tmp_path: Path) -> None:
    model = agent(COUNT)
    with pytest.raises(InputError, match="absent"):
        model.run("What?", inputs=[str(tmp_path / "absent.txt")])
    with pytest.raises(ConfigError, match="either"):
        model.run("What?", "x", inputs=["y"])
    with pytest.raises(ConfigError, match="empty"):
        model.run("  ", "x")
    with pytest.raises(ConfigError, match="price"):
        agent(COUNT, max_cost=1.0).run("What?", "x")
    with pytest.raises(ConfigError, match="prompt"):
        agent(COUNT, prompt="no/such/file.md").run("What?", "x")
    (tmp_path / "broken.md").write_text("{{ 1 / 0 }}")
    with pytest.raises(ConfigError, match="division"):
        agent(COUNT, prompt=str(tmp_path / "broken.md")).run("What?", "x")
    with pytest.raises(ConfigError, match="not a package"):
        agent(COUNT, packages=["../evil"]).run("What?", "x")
    with pytest.raises(ConfigError, match="not a name alone"):
        agent(COUNT, allow_install=["six==1.17.0"]).run("What?", "x")
    with pytest.raises(ConfigError, match="model"):
        RLM(settings=Settings()).run("What?", "x")
    assert list((tmp_path / "traces").glob("*")) == []


def test_no_trace_leaves_nothing(agent, tmp_path: Path) -> None:
    result = agent(COUNT, no_trace=True).run("How many?", "1 2")
    assert (result.answer, result.trace) == ("2", None)
    assert not (tmp_path / "traces").exists()


def test_an_unknown_option_is_one_clear_line() -> None:
    with pytest.raises(ConfigError, match="'mdoel'; did you mean 'model'"):
        RLM(mdoel="x")


def test_own_prompt_and_tips_reach_the_model(agent, tmp_path: Path) -> None:
    (tmp_path / "mine.md").write_text("Prompt of mine, {{ limits }}.{% if tips %} {{ tips }}{% endif %}")
    seen: list[Any] = []

    def root(request: ScriptedRequest) -> str:
        seen.extend(request.messages)
        return COUNT

    agent(root, prompt=str(tmp_path / "mine.md"), tips="Count twice.").run("How many?", "1")
    assert seen[0]["content"].startswith("Prompt of mine, 30 turns")
    assert seen[0]["content"].endswith("Count twice.")


def test_the_root_prompt_tells_what_may_be_installed_and_which_limits_there_are(agent) -> None:
    seen: list[str] = []

    def root(request: ScriptedRequest) -> str:
        seen.append(request.messages[0]["content"])
        return COUNT

    agent(root).run("How many?", "1")
    agent(root, allow_install=["six"], timeout=90, max_turns=1, native_tools=True).run("How many?", "1")
    assert "%pip" not in seen[0]
    assert "`%pip install NAME` can add six." in seen[1]
    assert "Limits of this run: 1 turn, 90 seconds." in seen[1]
    assert "block" not in seen[1]


async def test_a_run_that_is_interrupted_before_its_input_is_there_has_a_result(agent, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "endless")
    model = agent(COUNT)
    task = asyncio.create_task(model.arun("What?", inputs=[str(tmp_path / "endless")]))
    while not model._live:  # noqa: ASYNC110
        await asyncio.sleep(0)
    await asyncio.sleep(0.1)
    model.interrupt()
    result = await asyncio.wait_for(task, 5)
    assert (result.stop_reason, result.exit_code) == ("interrupted", 130)
    with open(tmp_path / "endless", "wb"):  # noqa: ASYNC230
        pass  # the thread that was left behind ends


def test_ctrl_c_ends_a_run_that_blocks_a_running_loop(agent) -> None:
    model = agent(Turns([cell("answer['content'] = 'draft'"), Reply(text="never", delay=60)]))

    async def notebook() -> None:
        model.run("What?", "x")

    def interrupt() -> None:
        asyncio.run(_until_trace(model, '"turn.started"', count=2))
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    loop = asyncio.new_event_loop()  # as in a notebook: Ctrl-C raises where the code is, and cancels no task
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(notebook())
    finally:
        loop.close()
    assert model._live == {}
    (trace,) = model.settings.trace_dir.glob("*/result.json")
    assert json.loads(trace.read_text())["answer"] == "draft"


PUBLIC = """
RLM AuthError BadReply BatchTask Citation ConfigError EndpointError Failure Function InputError KernelDied McpServer
ModelError ModelTimeout Price PromptTooLong ProtocolError RLMError RateLimited RunError RunResult RunUsage SandboxError
SandboxUnavailable Settings Tool Usage UserError Value read_tasks register_loader run_batch
"""


def test_the_public_names() -> None:
    assert sorted(rlm.__all__) == sorted(PUBLIC.split())
    for name in rlm.__all__:
        assert getattr(rlm, name).__name__ == name
    with pytest.raises(AttributeError):
        rlm.nothing  # noqa: B018


async def _until_trace(model: RLM, text: str, *, count: int = 1) -> None:
    """Wait until the trace of the model's only run holds `text` so often."""
    async with asyncio.timeout(30):
        while True:
            traces = [path.read_text() for path in model.settings.trace_dir.glob("*/events.jsonl")]  # type: ignore[union-attr]
            if traces and traces[0].count(text) >= count:
                return
            await asyncio.sleep(0.05)
