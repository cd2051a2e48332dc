"""Children that fail, take long, are interrupted, or return data."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from rlm import RLM, Settings
from rlm.testing import Fault, ScriptedModelServer, Turns
from tests.tree.conftest import FINISH, Stage, cell

pytestmark = [pytest.mark.timeout(110), pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")]

TWO = {"depth": 2}


def told(request: Any) -> str:
    return "\n".join(str(message["content"]) for message in request.messages)


# --- what a child may do to itself ----------------------------------------------------------------


async def test_a_child_that_crashes_goes_on_in_a_fresh_kernel_and_harms_nobody(stage: Stage, sandbox: str) -> None:
    root = cell("kept = 7\nr = rlm_batch('?', ['x' * 5, 'y' * 6])\nanswer['content'] = f'{r} {kept}'\n" + FINISH)
    child = Turns(
        [
            cell("lost = 1\nimport os, signal\nos.kill(os.getpid(), signal.SIGSEGV)"),
            cell("answer['content'] = f'{context} {\"lost\" in globals()}'\n" + FINISH),
        ]
    )
    result = await stage.run({"root": root, "sub": child}, sandbox=sandbox, **TWO)
    assert result.answer == "['xxxxx False', 'yyyyyy False'] 7"
    assert {e["rollout"] for e in stage.of("kernel.died")} == {"0.1", "0.2"}
    assert all(e["sandbox_lost"] is False for e in stage.of("kernel.restarted"))


@pytest.mark.parametrize(
    "walled", [pytest.param("docker", marks=pytest.mark.docker), pytest.param("bwrap", marks=pytest.mark.bwrap)]
)
async def test_out_of_memory_takes_the_child_and_not_the_root(stage: Stage, sandbox_env, walled: str) -> None:
    root = cell(
        "kept = bytearray(b'x') * (150 << 20)\n"
        "r = rlm_query('?', 'c')\n"
        "answer['content'] = f'{r} {len(kept)}'\n" + FINISH
    )
    child = Turns(
        [
            cell("hog = [bytearray(b'x') * (10 << 20) for _ in range(60)]"),
            cell("answer['content'] = f'{context} survived'\n" + FINISH),
        ]
    )
    result = await stage.run({"root": root, "sub": child}, sandbox=walled, memory=400 << 20, **TWO)
    assert result.answer == f"c survived {150 << 20}"
    assert [(e["rollout"], e["reason"]) for e in stage.of("kernel.died")] == [("0.1", "oom")]


async def test_a_childs_cell_has_a_time_limit_and_the_parents_stands_still(stage: Stage, sandbox: str) -> None:
    root = cell("answer['content'] = rlm_query('?', 'c')\n" + FINISH)
    child = Turns(
        [
            cell("x = 1\nwhile True: pass"),
            cell("import time\ntime.sleep(0.5)\nanswer['content'] = f'{x}'\n" + FINISH),
        ]
    )
    result = await stage.run({"root": root, "sub": child}, sandbox=sandbox, cell_timeout=1, **TWO)
    assert result.answer == "1"
    assert [(e["rollout"], e["status"]) for e in stage.of("cell.completed")] == [
        ("0.1", "timeout"),
        ("0.1", "ok"),
        ("0", "ok"),
    ]
    assert stage.of("cell.completed", "0")[0]["active_seconds"] < 1


# --- how a child ends -----------------------------------------------------------------------------


async def test_a_draft_at_the_limit_says_that_it_is_one(stage: Stage) -> None:
    root = cell(
        "r = rlm_query('?', max_turns=2)\nanswer['content'] = f'{r} {r.ready} {r.stop_reason} {r.turns}'\n" + FINISH
    )
    child = Turns([cell("answer['content'] = 'first'"), cell("answer['content'] = 'second'")])
    result = await stage.run({"root": root, "sub": child}, **TWO)
    assert result.answer == "second False max_turns 2"


async def test_a_child_without_an_answer_is_an_error(stage: Stage) -> None:
    root = cell(
        "r = rlm_batch(['a', 'b'], max_turns=1)\n"
        "try: rlm_query('c', max_turns=1, strict=True)\n"
        "except SubCallError as e: print(e.results)\n"
        "answer['content'] = f'{[x.kind for x in r]} {any(r)} {r[0].message}'\n" + FINISH
    )
    result = await stage.run({"root": root, "sub": cell("1")}, **TWO)
    assert result.answer.startswith("['budget', 'budget'] False the child ended without an answer after 1 turns")
    assert "CallError(kind='budget'" in stage.of("cell.completed", "0")[0]["output"]


async def test_a_child_whose_endpoint_fails_is_an_error_with_its_draft(stage: Stage) -> None:
    root = cell("r = rlm_query('?')\nanswer['content'] = f'{r.kind} {r.text}'\n" + FINISH)
    child = [{"text": cell("answer['content'] = 'draft'")}, Fault.http(401)]
    result = await stage.run({"root": root, "sub": child}, **TWO)
    assert result.answer == "auth draft"
    assert result.stop_reason == "answered"


async def test_a_context_that_cannot_be_passed_on_is_an_error_of_that_child_alone(stage: Stage, sandbox: str) -> None:
    root = cell(
        "class Mine: pass\n"
        "r = rlm_batch('?', [Mine(), 'fine', open('/dev/null'), [lambda: 1]])\n"
        "answer['content'] = str([getattr(x, 'kind', x) for x in r]) + r[0].message\n" + FINISH
    )
    child = cell("answer['content'] = context\n" + FINISH)
    result = await stage.run({"root": root, "sub": child}, sandbox=sandbox, **TWO)
    assert result.answer.startswith("['invalid', 'fine', 'invalid', 'invalid']")
    assert "Mine is a class of your own" in result.answer


async def test_mistakes_in_the_call_are_told_at_once(stage: Stage) -> None:
    root = cell(
        "for call in (lambda: rlm_batch('q'), lambda: rlm_batch(['q'], 'text'), lambda: rlm_batch(['q'], [1, 2]),\n"
        "             lambda: rlm_batch([1]), lambda: rlm_query('q', returns=open), lambda: rlm_query('q', bad=1)):\n"
        "    try: print(call())\n"
        "    except Exception as e: print(type(e).__name__)\n"
        "answer['content'] = str(rlm_batch([]))\n" + FINISH
    )
    result = await stage.run({"root": root, "sub": "x"}, **TWO)
    assert stage.of("cell.completed")[0]["output"].split() == ["TypeError"] * 2 + ["ValueError"] + ["TypeError"] * 3
    assert result.answer == "[]"


async def test_children_share_what_tokens_there_are(stage: Stage) -> None:
    root = cell(
        "r = rlm_batch([f'{i}' for i in range(40)])\n"
        "answer['content'] = str(sum(bool(x) for x in r)) + ' ' + str({x.kind for x in r if not x})\n" + FINISH
    )
    child = cell("answer['content'] = 'yes'\n" + FINISH)
    limit = 60_000
    result = await stage.run({"root": root, "sub": child}, max_tokens=limit, sub_max_tokens=1000, **TWO)
    assert result.stop_reason == "answered"
    assert sum(u.input_tokens + u.output_tokens for u in (result.usage.root, result.usage.sub)) <= limit
    assert int(result.answer.split()[0]) > 10


async def test_children_count_as_sub_calls(stage: Stage) -> None:
    root = cell(
        "r = rlm_batch([f'{i}' for i in range(6)])\n"
        'answer[\'content\'] = f\'{[getattr(x, "kind", "ok") for x in r]} {budget()["sub_calls"]}\'\n' + FINISH
    )
    child = cell("answer['content'] = 'yes'\n" + FINISH)
    result = await stage.run({"root": root, "sub": child}, max_sub_calls=4, **TWO)
    assert result.answer == "['ok', 'ok', 'ok', 'ok', 'budget', 'budget'] 0"


# --- remembered, interrupted ----------------------------------------------------------------------


async def test_a_childs_answer_is_remembered_within_the_run(stage: Stage, sandbox: str) -> None:
    ask = "r = rlm_batch(['q', 'q'], [['big', 1], context])\n"
    root = Turns(
        [
            cell(ask),
            cell("import os; os._exit(1)"),
            cell(ask + "print([x.cached for x in r], [x.usage for x in r])"),
            cell(ask + "s = rlm_query('q', ['big', 1], cache=False)\nanswer['content'] = f'{s.cached}'\n" + FINISH),
        ]
    )
    child = cell("answer['content'] = llm_query('leaf')\n" + FINISH)

    def sub(request: Any) -> Any:
        return child if request.stream else "leaf"

    result = await stage.run({"root": root, "sub": sub}, context="text", sandbox=sandbox, **TWO)
    assert "[True, True]" in stage.of("cell.completed", "0")[2]["output"]
    assert result.answer == "False"
    assert stage.server is not None
    # Two children with one leaf call, which the second found in the memo; then one anew, whose leaf was known.
    assert stage.server.request_counts["sub"] == 4
    assert result.usage.sub.cached_calls == 4 + 2


async def test_an_interrupted_run_leaves_no_child_behind(tmp_path: Path, sandbox: Any) -> None:
    root = cell("answer['content'] = 'draft'\nrlm_batch([f'{i}' for i in range(4)])")
    with ScriptedModelServer({"root": root, "sub": cell("import time\ntime.sleep(600)")}) as server:
        settings = Settings(
            model="root", sub_model="sub", base_url=server.base_url, depth=2, sandbox=sandbox, trace_dir=tmp_path
        )
        rlm = RLM(settings=settings)
        task = asyncio.create_task(rlm.arun("?"))
        async with asyncio.timeout(60):
            while _cells(tmp_path) < 5:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        rlm.interrupt()
        result = await asyncio.wait_for(task, 20)
    assert (result.answer, result.stop_reason) == ("draft", "interrupted")
    assert result.trace is not None
    events = [json.loads(line) for line in result.trace.read_text().splitlines()]
    ended = [e for e in events if e["type"] == "child.completed"]
    assert len(ended) == 4
    assert {e["stop_reason"] for e in ended} == {"interrupted"}


def _cells(folder: Path) -> int:
    return sum(trace.read_text().count('"cell.started"') for trace in folder.glob("*/events.jsonl"))


async def test_an_interrupt_in_the_cell_ends_its_children(stage: Stage) -> None:
    root = Turns(
        [
            cell(
                "import signal, os\nsignal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))\n"
                "signal.alarm(2)\nrlm_query('?')"
            ),
            cell("answer['content'] = 'after'\n" + FINISH),
        ]
    )
    result = await stage.run({"root": root, "sub": cell("import time\ntime.sleep(600)")}, **TWO)
    assert result.answer == "after"
    assert [e["stop_reason"] for e in stage.of("child.completed")] == ["interrupted"]
    assert stage.of("cell.completed", "0")[0]["error"]["name"] == "KeyboardInterrupt"


async def test_the_time_of_a_child_is_bounded(stage: Stage) -> None:
    root = cell("r = rlm_query('?', timeout=2)\nanswer['content'] = f'{r.kind}'\n" + FINISH)
    child = cell("import time\ntime.sleep(30)")
    result = await stage.run({"root": root, "sub": child}, **TWO)
    assert result.answer == "timeout"
    assert result.seconds < 15


# --- data -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("returns", "assigned", "expected"),
    [
        ("list[int]", "[1, 2]", "[1, 2]"),
        ("bool", "True", "True"),
        ("float", "2", "2.0"),
        ("str", "'plain text'", "'plain text'"),
        ("{'a': int}", "'{\"a\": 3}'", "{'a': 3}"),
        ("{'type': 'array', 'items': {'enum': ['x']}}", "['x']", "['x']"),
        ("tuple[int, str]", "(1, 'b')", "(1, 'b')"),
    ],
)
async def test_a_child_may_return_data(stage: Stage, returns: str, assigned: str, expected: str) -> None:
    root = cell(f"r = rlm_query('?', returns={returns})\nanswer['content'] = repr(r)\n" + FINISH)
    child = cell(f"answer['content'] = {assigned}\n" + FINISH)
    result = await stage.run({"root": root, "sub": child}, **TWO)
    assert result.answer == expected
    assert "fits this JSON Schema" in stage.prompts("sub")[0]


async def test_data_that_does_not_fit_is_repaired_once(stage: Stage, sandbox: str) -> None:
    root = cell(
        "class Point:\n    pass\n"
        "from dataclasses import dataclass\n"
        "@dataclass\nclass Point:\n    x: int\n    tags: list[str]\n"
        "r = rlm_query('?', 'c', returns=list[Point])\nanswer['content'] = repr(r)\n" + FINISH
    )
    child = Turns(
        [
            cell("answer['content'] = [{'x': 'one', 'tags': []}]\n" + FINISH),
            cell("answer['content'] = [{'x': 1, 'tags': ['t']}]"),
        ]
    )
    result = await stage.run({"root": root, "sub": child}, sandbox=sandbox, **TWO)
    assert result.answer == "[Point(x=1, tags=['t'])]"
    assert "[0]['x']: 'one' is not of type 'integer'" in stage.prompts("sub")[1]


async def test_data_that_does_not_fit_twice_is_an_error_with_the_text(stage: Stage) -> None:
    root = cell("r = rlm_query('?', returns=int)\nanswer['content'] = f'{r.kind} {r.text}'\n" + FINISH)
    child = Turns([cell("answer['content'] = 'one'\n" + FINISH), cell("answer['content'] = 'two'\n" + FINISH)])
    result = await stage.run({"root": root, "sub": child}, **TWO)
    assert result.answer == "invalid two"
    assert stage.of("child.completed")[0]["turns"] == 2
