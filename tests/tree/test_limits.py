"""One ledger, one memo and one conversation for a run: budgets hold, nothing is paid twice, windows are kept."""

from __future__ import annotations

from typing import Any

import pytest

from rlm.testing import Turns
from tests.tree.conftest import FINISH, Stage, cell

pytestmark = [pytest.mark.timeout(110), pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")]


async def test_a_thousand_prompts_with_ten_calls_left_make_exactly_ten(stage: Stage, sandbox: str) -> None:
    root = cell(
        "r = llm_batch([f'p{i}' for i in range(1000)])\n"
        "kinds = [x.kind if isinstance(x, CallError) else str(x) for x in r]\n"
        "answer['content'] = f'{kinds.count(\"ok\")} {kinds.count(\"budget\")} {budget()}'\n" + FINISH
    )
    result = await stage.run({"root": root, "sub": "ok"}, sandbox=sandbox, max_sub_calls=10)
    assert result.answer.startswith("10 990 {'turns': 29, 'sub_calls': 0, 'tokens': None, 'cost': None, 'seconds': 35")
    assert stage.server is not None
    assert stage.server.request_counts["sub"] == result.usage.sub.calls == 10
    assert result.stop_reason == "answered"


async def test_children_draw_on_the_same_ledger(stage: Stage, sandbox: str) -> None:
    """Eight children that want 100 calls each, and 50 for all of them: children count too."""
    root = cell("answer['content'] = str(sum(map(int, rlm_batch('?', [None] * 8))))\n" + FINISH)
    child = cell(
        "r = llm_batch([f'{budget()} {i}' for i in range(100)], cache=False)\n"
        "answer['content'] = str(sum(bool(x) for x in r))\n" + FINISH
    )

    def sub(request: Any) -> Any:
        return child if request.stream else "ok"

    result = await stage.run({"root": root, "sub": sub}, sandbox=sandbox, depth=2, max_sub_calls=50)
    assert result.answer == "42"
    assert stage.server is not None
    assert stage.server.request_counts["sub"] == 8 + 42


async def test_a_cap_among_the_parameters_is_what_is_reserved_and_sent(stage: Stage) -> None:
    root = cell("r = llm_batch(['p' * 400] * 8)\nanswer['content'] = str(sum(bool(x) for x in r))\n" + FINISH)
    options = {"sub_params": {"max_completion_tokens": 100, "top_p": 0.5}, "max_tokens": 9000}
    result = await stage.run({"root": root, "sub": "ok"}, **options)
    assert result.answer == "8", "not one reserve of 4,096 tokens would fit"
    assert stage.server is not None
    assert {(r.body["max_tokens"], r.body["top_p"]) for r in stage.server.requests[1:]} == {(100, 0.5)}
    assert all("max_completion_tokens" not in r.body for r in stage.server.requests)


async def test_what_is_left_is_told_from_the_half_way_point_on(stage: Stage) -> None:
    root = Turns([cell(f"llm_batch(['{n}'] * 2)") for n in range(4)] + [cell("answer['content'] = 'x'\n" + FINISH)])
    await stage.run({"root": root, "sub": "ok"}, max_sub_calls=10, max_turns=30)
    left = [prompt.rsplit("[", 1)[1].split("]")[0] for prompt in stage.prompts("root")]
    assert left[:3] == ["turn 1 of 30", "turn 2 of 30", "turn 3 of 30"]
    assert left[3].startswith("turn 4 of 30; left: 4 sub-calls, ")
    assert left[4].startswith("turn 5 of 30; left: 2 sub-calls, ")


async def test_the_same_cell_again_is_answered_from_the_memo(stage: Stage, sandbox: str) -> None:
    ask = "r = llm_batch(['a', 'a', 'b'])\nprint([f'{x}{x.cached}' for x in r])"
    root = Turns(
        [
            cell(ask),
            cell(ask),
            cell("import os; os._exit(1)"),
            cell(ask),
            cell(
                "s = [llm_query('a') for _ in range(3)]\nanswer['content'] = str([f'{x}{x.cached}' for x in s])\n"
                + FINISH
            ),
        ]
    )
    result = await stage.run({"root": root, "sub": list("1234")}, sandbox=sandbox)
    outputs = [event["output"] for event in stage.of("cell.completed")]
    assert outputs[0].strip() == "['1False', '2False', '3False']"
    assert outputs[1].strip() == outputs[3].strip() == "['1True', '2True', '3True']"
    assert result.answer == "['1True', '2True', '4False']", "a third time was not asked before"
    assert (result.usage.sub.calls, result.usage.sub.cached_calls) == (4, 8)


async def test_replies_that_came_before_an_interrupt_are_not_paid_again(stage: Stage, sandbox: str) -> None:
    def sub(request: Any) -> Any:
        return {"text": request.prompt, "delay": 60 if request.prompt == "slow" and request.index < 4 else 0}

    ask = "r = llm_batch(['a', 'b', 'c', 'slow'])\n"
    stop = "import os, signal as s\ns.signal(s.SIGALRM, lambda *_: os.kill(os.getpid(), s.SIGINT))\ns.alarm(2)\n"
    root = Turns(
        [cell(stop + ask), cell(ask + "answer['content'] = ' '.join(f'{x}{x.cached}' for x in r)\n" + FINISH)],
    )
    result = await stage.run({"root": root, "sub": sub}, sandbox=sandbox)
    assert result.answer == "aTrue bTrue cTrue slowFalse"
    assert stage.server is not None
    assert stage.server.request_counts["sub"] == 5


async def test_compaction_leaves_the_kernel_and_its_history_alone(stage: Stage, sandbox: str) -> None:
    def root(request: Any) -> Any:
        if "This is not a turn" in request.prompt:
            return "handover: twelve numbers are in the variables n1 to n12"
        done = int(request.prompt.split("[turn ")[1].split()[0]) - 1
        if done < 12:
            return f"Step {done}.\n" + cell(f"n{done} = {done}\nprint('filler ' * 150)")
        return cell(
            "total = sum(globals()[f'n{i}'] for i in range(12))\n"
            "answer['content'] = f'{total} {len(history)} {history[0][\"said\"][:7]} {len(history[1][\"output\"])}'\n"
            + FINISH
        )

    result = await stage.run({"root": root, "sub": "x"}, sandbox=sandbox, context_window=4000, output_limit=2000)
    assert result.answer == "66 12 Step 0. 1051"
    assert len(stage.of("compaction.completed")) >= 1
    assert all(event["done"] for event in stage.of("compaction.completed"))
    assert stage.server is not None
    systems = {str(request.messages[:2]) for request in stage.server.requests}
    assert len(systems) == 1, "the limits and the question are never touched"
