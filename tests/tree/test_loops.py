"""Serial-looking loops in whole runs: one wave of calls, told in the trace; side effects of tools keep their order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rlm import Tool
from tests.tree.conftest import FINISH, Stage, cell

pytestmark = [pytest.mark.timeout(110), pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")]

LOOP = "out = []\nfor part in context.split():\n    out.append(llm_query(f'read {part}'))\n"
ANSWER = "answer['content'] = ' '.join(out)\n"


def slowly(request: Any) -> Any:
    return {"text": request.prompt.split()[-1].upper(), "delay": 0.2}


async def test_a_loop_is_one_wave_and_the_trace_says_so(stage: Stage, sandbox: str) -> None:
    root = cell(LOOP + ANSWER + FINISH)
    result = await stage.run({"root": root, "sub": slowly}, context="a b c d e f g h", sandbox=sandbox)
    assert result.answer == "A B C D E F G H"
    (batch,) = stage.of("batch.started")
    assert (batch["size"], batch["loop"]) == (8, 2)
    assert stage.server is not None
    assert stage.server.max_in_flight == 8


async def test_switched_off_it_runs_as_written_with_the_same_result(stage: Stage, sandbox: str) -> None:
    root = cell(LOOP + ANSWER + FINISH)
    options: dict[str, Any] = {"context": "a b c", "sandbox": sandbox, "auto_parallel": False}
    result = await stage.run({"root": root, "sub": slowly}, **options)
    assert result.answer == "A B C"
    assert [(batch["size"], "loop" in batch) for batch in stage.of("batch.started")] == [(1, False)] * 3
    assert stage.server is not None
    assert stage.server.max_in_flight == 1


async def test_a_loop_that_was_looked_ahead_of_finds_its_replies_in_the_memo(stage: Stage) -> None:
    root = [cell(LOOP), cell("import os; os._exit(1)"), cell(LOOP + ANSWER + FINISH)]
    result = await stage.run({"root": root, "sub": slowly}, context="a b a")
    assert result.answer == "A B A"
    assert (result.usage.sub.calls, result.usage.sub.cached_calls) == (3, 3)


async def test_a_loop_within_the_budget_asks_what_it_may(stage: Stage) -> None:
    root = cell(
        LOOP.replace("context.split()", "range(40)")
        + "answer['content'] = str([getattr(x, 'kind', 'ok') for x in out].count('ok'))\n"
        + FINISH
    )
    result = await stage.run({"root": root, "sub": "x"}, max_sub_calls=10)
    assert result.answer == "10"
    assert stage.server is not None
    assert stage.server.request_counts["sub"] == 10


@pytest.mark.parametrize("read_only", [False, True])
async def test_tools_with_side_effects_are_called_in_the_order_of_the_code(stage: Stage, read_only: bool) -> None:
    running = most = 0

    async def note(text: str) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.1)
        running -= 1
        return text

    def sub(request: Any) -> Any:
        if request.messages[-1]["role"] == "tool":
            return request.prompt
        return {"tool_calls": [{"name": "note", "arguments": {"text": request.prompt[-1]}}]}

    root = cell(LOOP + ANSWER + FINISH)
    tools = [Tool(note, read_only=read_only)]
    result = await stage.run({"root": root, "sub": sub}, context="a b c d", tools=tools)
    assert result.answer == "a b c d"
    assert most == (4 if read_only else 1)
