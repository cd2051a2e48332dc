"""Recursion: children of any depth, with contexts of any kind, decided on the host."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.tree.conftest import FINISH, Stage, cell

pytestmark = [pytest.mark.timeout(110), pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")]

LOOK = cell("answer['content'] = f'{type(context).__name__}:{str(context)[:40]}'\n" + FINISH)
"""A child that says what its context is."""


def by_depth(root: str, child: Any, leaf: Any = "leaf") -> dict[str, Any]:
    return {"root": root, "child": child, "leaf": leaf}


MODELS = ("root", "child", "leaf")

CONTEXTS = """
import pandas as pd
contexts = [context, context[6:11], ["a", 1], {"k": [1, 2]}, pd.DataFrame({"x": [1, 2]}), "", None, 3.5, (1, "z")]
results = rlm_batch("what is it?", contexts)
answer["content"] = "\\n".join(str(r) for r in results)
"""


async def test_a_context_may_be_almost_anything(stage: Stage, sandbox: str) -> None:
    result = await stage.run(
        by_depth(cell(CONTEXTS + FINISH), LOOK), context="hello world", sandbox=sandbox, depth=2, models=MODELS
    )
    assert result.answer.splitlines()[:4] == [
        "str:hello world",
        "str:world",
        "list:['a', 1]",
        "dict:{'k': [1, 2]}",
    ]
    assert result.answer.splitlines()[4].startswith("DataFrame:")
    assert [line for line in result.answer.splitlines() if ":" in line][-4:] == [
        "str:",
        "NoneType:None",
        "float:3.5",
        "tuple:(1, 'z')",
    ]
    assert len(stage.of("child.completed")) == 9
    assert "Columns: ['x']" in stage.prompts("child")[4]


PARTS = """
import os
big = context["big.txt"]
results = rlm_batch("?", [context, context["docs"], context["docs"]["a.md"], big, big[3:2_000_000], [big[:2_000_000]]])
written = [f for f in os.listdir("/tmp") if f.startswith("rlm-contexts-") for f in os.listdir(f"/tmp/{f}")]
answer["content"] = "\\n".join(map(str, results)) + f"\\n{written}"
"""
KIND = cell(
    "def kind(v): return f'{type(v).__name__} {len(v):,}'\n"
    "answer['content'] = kind(context) + (' of ' + kind(context[0]) if isinstance(context, list) else '')\n" + FINISH
)


async def test_parts_of_the_input_go_by_descriptor(stage: Stage, sandbox: str, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a.md").write_text("alpha")
    (tmp_path / "docs/b.md").write_text("beta")
    with (tmp_path / "big.txt").open("w") as file:
        for _ in range(120):
            file.write("x" * (1 << 20))
    result = await stage.run(
        by_depth(cell(PARTS + FINISH), KIND),
        inputs=[tmp_path / "docs", tmp_path / "big.txt"],
        sandbox=sandbox,
        depth=2,
        models=MODELS,
        memory=256 << 20,
    )
    assert result.answer.splitlines() == [
        "dict 2",
        "Files 2",
        "str 5",
        "Text 125,829,120",
        "Text 1,999,997",
        "list 1 of Text 2,000,000",
        "[]",
    ]


async def test_a_grandchild_gets_what_the_child_passes_on(stage: Stage, sandbox: str) -> None:
    result = await stage.run(
        {
            "root": cell("answer['content'] = rlm_query('?', context[2:])\n" + FINISH),
            "child": cell("answer['content'] = 'child of ' + rlm_query('?', context)\n" + FINISH),
            "grandchild": cell("answer['content'] = f'{context} {rlm_query(1 * \"?\").depth_limited}'\n" + FINISH),
            "leaf": "leaf",
        },
        context="ab-the rest",
        sandbox=sandbox,
        depth=3,
        models=("root", "child", "grandchild", "leaf"),
    )
    assert result.answer == "child of -the rest True"
    assert [e["rollout"] for e in stage.of("child.started")] == ["0.1", "0.1.1"]
    assert [e["parent"] for e in stage.of("child.started")] == ["0", "0.1"]
    assert [e["depth"] for e in stage.of("child.started")] == [1, 2]


async def test_a_child_that_passes_its_very_question_on_does_not_wait_for_itself(stage: Stage) -> None:
    def sub(request: Any) -> Any:
        return cell("answer['content'] = 'x' + rlm_query('?', context)\n" + FINISH) if request.stream else "leaf"

    root = cell("answer['content'] = rlm_query('?', context)\n" + FINISH)
    result = await stage.run({"root": root, "sub": sub}, context="text", depth=4, timeout=30)
    assert result.answer == "xxxleaf"
    assert [e["rollout"] for e in stage.of("child.completed")] == ["0.1.1.1", "0.1.1", "0.1"]


async def test_each_child_has_a_namespace_and_an_answer_of_its_own(stage: Stage, sandbox: str) -> None:
    root = cell(
        "secret = 1\nanswer['content'] = 'mine'\n"
        "r = rlm_batch(['a', 'b'])\n"
        "print(r)\nassert answer['content'] == 'mine'\n"
        "answer['content'] = ' '.join(r) + ' ' + str('child_secret' in globals())\n" + FINISH
    )
    child = cell("child_secret = 2\nanswer['content'] = str('secret' in globals())\n" + FINISH)
    result = await stage.run(by_depth(root, child), sandbox=sandbox, depth=2, models=MODELS)
    assert result.answer == "False False False"
    assert {e["rollout"] for e in stage.of("answer.changed") if e["content"] == "False"} == {"0.1", "0.2"}


async def test_usage_counts_all_descendants_once(stage: Stage) -> None:
    root = cell("r = rlm_query('?', 'x')\nanswer['content'] = str(r.usage) + r\n" + FINISH)
    child = cell("answer['content'] = ' '.join(llm_batch(['p', 'q']))\n" + FINISH)
    result = await stage.run(by_depth(root, child), depth=2, models=MODELS)
    assert (result.usage.root.calls, result.usage.sub.calls) == (1, 3)
    figures = stage.of("root.completed", "0.1") + stage.of("call.completed", "0.1")
    assert len(figures) == 3
    assert result.usage.sub.input_tokens == sum(e["input_tokens"] for e in figures)
    (seen,) = stage.of("child.completed")
    assert (seen["input_tokens"], seen["turns"]) == (result.usage.sub.input_tokens, 1)
    assert f"'input_tokens': {seen['input_tokens']}" in result.answer
    (call,) = stage.of("call.completed", "0")
    assert (call["input_tokens"], call["child"], call["ready"]) == (0, "0.1", True)


# --- the limit ------------------------------------------------------------------------------------


async def test_at_the_limit_a_child_is_a_plain_call_with_the_context_pasted_in(stage: Stage, sandbox: str) -> None:
    root = cell(
        "r = rlm_query('how long?', ['x', 'y'])\n"
        "s = llm_query('plain')\n"
        "t = rlm_query('no context')\n"
        "answer['content'] = f'{r} {r.depth_limited} {s.depth_limited} {t.depth_limited}'\n" + FINISH
    )
    result = await stage.run({"root": root, "sub": "reply"}, sandbox=sandbox)
    assert result.answer == "reply True False True"
    assert stage.prompts("sub")[0] == 'how long?\n\n<context>\n["x", "y"]\n</context>'
    assert stage.prompts("sub")[2] == "no context"
    assert stage.of("child.started") == []
    assert "depth limit is reached" in stage.of("cell.completed")[0]["notices"][0]


async def test_at_the_limit_a_context_that_does_not_fit_is_an_error(stage: Stage) -> None:
    root = cell(
        "r = rlm_query('?', context)\nq = rlm_query('?', 'x' * 20_000_000)\n"
        "answer['content'] = f'{r.kind} {bool(r)} {q.kind}'\n" + FINISH
    )
    result = await stage.run({"root": root, "sub": "x"}, context="word " * 40_000, sub_context_window=20_000)
    assert result.answer == "too_long False too_long"
    assert stage.prompts("sub") == []


HOSTILE = """
import json, os, struct, time
bridge = get_ipython().kernel.guest.bridge
seen = []
def ask(options, items):
    number = bridge.open(seen.append)
    bridge.send({"op": "batch", "id": number, "n": len(items), "opts": options})
    bridge.send({"op": "prompts", "id": number, "start": 0, "items": items})
    while not any(m["op"] in ("done", "closed") for m in seen): time.sleep(0.01)
    found, seen[:] = list(seen), []
    return found
child = {"query": "q", "context": {"as": "none"}, "key": "k", "look": "l"}
"""


async def test_nothing_inside_the_sandbox_raises_the_depth(stage: Stage, sandbox: str) -> None:
    root = cell(
        HOSTILE
        + "a = ask({'recursive': True}, [child])\n"
        + "b = ask({'recursive': True, 'depth': 5}, [child])\n"
        + "c = ask({'recursive': True, 'max_turns': 10**9}, [child])\n"
        + "get_ipython().kernel.guest.depth = os.environ['RLM_DEPTH'] = '9'\n"
        + "children = rlm_batch.__self__\nchildren._deeper = True\n"
        + "d = rlm_query('q', 'c')\n"
        + "answer['content'] = json.dumps([a, b, c, repr(d)])\n"
        + FINISH
    )
    result = await stage.run({"root": root, "sub": "x"}, sandbox=sandbox)
    assert result.answer.count("depth limit") == 2
    assert "unknown option 'depth'" in result.answer
    assert "max_turns: between" in result.answer
    assert "kind='invalid'" in result.answer
    assert stage.of("child.started") == []
    assert stage.prompts("sub") == []


async def test_what_is_nested_too_deep_harms_nobody(stage: Stage) -> None:
    root = cell(
        HOSTILE
        + "deep = '[' * 900 + ']' * 900\n"
        + "import guest.wire\n"
        + "def raw(options, items):\n"
        + "    number = bridge.open(seen.append)\n"
        + '    for body in (\'{"v":1,"op":"batch","id":%d,"n":1,"opts":%s}\' % (number, options),\n'
        + '                 \'{"v":1,"op":"prompts","id":%d,"start":0,"items":[%s]}\' % (number, items)):\n'
        + "        bridge._outgoing.put(struct.pack('>I', len(body)) + body.encode())\n"
        + "    while not any(m['op'] in ('done', 'closed') for m in seen): time.sleep(0.01)\n"
        + "    found, seen[:] = list(seen), []\n"
        + "    return json.dumps(found)\n"
        + "answer['content'] = ' | '.join([\n"
        + '    raw(\'{"recursive":true}\', \'{"query":"q","key":"k","look":"l","context":{"as":%s}}\' % deep),\n'
        + '    raw(\'{"schema":{"const":%s}}\' % deep, \'"p"\'),\n'
        + "    raw('{}', '{\"unusable\":%s}' % deep),\n"
        + "    raw('{}', '\"fine\"'),\n"
        + "])\n"
        + FINISH
    )
    result = await stage.run({"root": root, "sub": "reply"}, depth=2)
    assert result.answer.count("invalid") >= 2
    assert "nested too deep" in result.answer
    assert "reply" in result.answer.split(" | ")[3]
    assert stage.of("protocol.error") == []


async def test_depth_zero_is_a_plain_model_with_a_repl(stage: Stage, sandbox: str) -> None:
    names = "[n for n in ('llm_query', 'llm_batch', 'rlm_query', 'rlm_batch', 'CallError') if n in globals()]"
    root = cell(
        HOSTILE + f"print({names})\na = ask({{}}, ['prompt'])\nanswer['content'] = context.upper() + str(a)\n" + FINISH
    )
    result = await stage.run({"root": root}, context="text", sandbox=sandbox, depth=0)
    assert result.answer.startswith("TEXT")
    assert "depth is 0" in result.answer
    assert stage.of("cell.completed")[0]["output"] == "[]\n"
    assert stage.server is not None
    system = stage.server.requests[0].messages[0]["content"]
    assert "llm_" not in system
    assert "language model" not in system
    assert result.usage.sub.calls == 0


async def test_parents_that_wait_never_starve_their_children(stage: Stage, sandbox: str) -> None:
    """Depth 3, width 8, concurrency 4: 8 children, 64 grandchildren, 512 plain calls."""
    spread = "answer['content'] = str(sum(map(int, {}([f'{{context}}.{{i}}' for i in range(8)]{}))))\n" + FINISH
    recursive = cell(spread.format("rlm_batch", ", [f'{context}.{i}' for i in range(8)]"))
    began = time.monotonic()
    result = await stage.run(
        {
            "root": recursive,
            "child": recursive,
            "grandchild": cell(spread.format("llm_batch", "")),
            "leaf": "1",
        },
        context="0",
        sandbox=sandbox,
        depth=3,
        models=("root", "child", "grandchild", "leaf"),
        concurrency=4,
    )
    assert (result.answer, result.stop_reason) == ("512", "answered")
    assert stage.server is not None
    assert stage.server.request_counts == {"root": 1, "child": 8, "grandchild": 64, "leaf": 512}
    assert stage.server.max_in_flight <= 4
    assert time.monotonic() - began < 90


async def test_more_children_than_places_wait_for_one(stage: Stage) -> None:
    root = cell("answer['content'] = ' '.join(rlm_batch('?', list('abcdef')))\n" + FINISH)
    alive: list[int] = []

    async def child(request: Any) -> Any:
        assert stage.server is not None
        alive.append(stage.server.in_flight)
        return {"text": cell("answer['content'] = context\n" + FINISH), "delay": 0.2}

    result = await stage.run(by_depth(root, child), depth=2, models=MODELS, child_concurrency=2)
    assert result.answer == "a b c d e f"
    assert max(alive) == 2


# --- models ---------------------------------------------------------------------------------------


async def test_every_level_below_the_root_uses_the_sub_model(stage: Stage) -> None:
    def sub(request: Any) -> Any:
        return cell("answer['content'] = llm_query('plain')\n" + FINISH) if request.stream else "from sub"

    root = cell("answer['content'] = rlm_query('?')\n" + FINISH)
    result = await stage.run({"root": root, "sub": sub}, depth=2)
    assert result.answer == "from sub"
    assert stage.server is not None
    assert stage.server.request_counts == {"root": 1, "sub": 2}


async def test_a_child_may_be_asked_of_another_model(stage: Stage) -> None:
    root = cell(
        "answer['content'] = rlm_query('?', model='leaf')\n"
        "try: rlm_query('?', model='gpt')\n"
        "except ValueError as e: print(e)\n" + FINISH
    )
    result = await stage.run(
        by_depth(root, "no", cell("answer['content'] = 'leaf'\n" + FINISH)), depth=2, models=MODELS
    )
    assert result.answer == "leaf"
    assert "'gpt' is not available; there are: child, root, leaf" in stage.of("cell.completed", "0")[0]["output"]
