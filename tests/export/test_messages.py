"""Chat transcripts, compared with what the endpoint received."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlm import RLM, RunResult, Settings
from rlm.export.messages import transcripts
from rlm.testing import Fault, ScriptedModelServer
from rlm.trace.reader import Trace
from tests.export.rich import CHILD, ROOT, cell

pytestmark = pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")


def lines(result: RunResult, **options: Any) -> list[dict[str, Any]]:
    assert result.trace is not None
    return list(transcripts(Trace(result.trace.parent).events(), **options))


def test_a_rollout_is_a_line_and_a_handover_begins_another(rich_result: RunResult) -> None:
    first, second, *children = lines(rich_result)
    assert [line["rollout"] for line in children] == ["0.1", "0.2"]
    assert [line["messages"][-1] for line in children] == [{"role": "assistant", "content": CHILD}] * 2
    assert [(line["depth"], line["model"], line["outcome"]) for line in children] == [(1, "child", "answered")] * 2
    assert [(line["segment"], line["segments"]) for line in (first, second, children[0])] == [(1, 2), (2, 2), (1, 1)]
    assert first["messages"][-1]["content"] == ROOT[5]
    assert "Handover" in second["messages"][2]["content"]
    assert (second["answer"], second["ready"], second["turns"]) == (rich_result.answer, True, 6)
    spent = sum(line["input_tokens"] for line in (first, second))
    summing_up = rich_result.usage.root.input_tokens - spent
    assert 0 < summing_up < spent
    assert any(message.get("tool_calls") for message in first["messages"])


REPLIES: dict[str, Any] = {
    "root": [
        "Only prose at first.",
        cell("a = llm_batch(['one', {'messages': [{'role': 'user', 'content': 'two'}], 'system': 'Be brief.'}])"),
        cell("b = llm_query('three', schema=int)"),
        cell("answer['content'] = 'done'\nanswer['ready'] = True", "So:"),
    ],
    "sub": lambda request: "3" if "three" in str(request.messages) and request.turn else f"re: {request.prompt[:3]}",
}


async def run(tmp_path: Path, replies: Any) -> tuple[RunResult, list[Any]]:
    with ScriptedModelServer(replies) as server:
        settings = Settings(
            model="root", sub_model="sub", base_url=server.base_url, sandbox="process", trace_dir=tmp_path
        )
        return await RLM(settings=settings).arun("What?", "x"), list(server.requests)


async def test_the_messages_are_those_that_were_sent(tmp_path: Path) -> None:
    result, requests = await run(tmp_path, REPLIES)
    root, *calls = lines(result, sub_calls=True)
    last = [request for request in requests if request.model == "root"][-1]
    assert root["messages"] == [*last.messages, {"role": "assistant", "content": REPLIES["root"][-1]}]
    sent = [list(request.messages) for request in requests if request.model == "sub"]
    assert [call["messages"][:-1] for call in calls] == [sent[0], sent[1], sent[3]]
    assert [call["messages"][-1]["content"] for call in calls] == ["re: one", "re: two", "3"]
    assert [(call["batch"], call["index"], call["depth"]) for call in calls] == [
        ("0.b1", 0, 1),
        ("0.b1", 1, 1),
        ("0.b2", 0, 1),
    ]
    assert sum(call["input_tokens"] for call in calls) == result.usage.sub.input_tokens


async def test_outcomes_filter_rollouts_with_their_calls(tmp_path: Path) -> None:
    result, _ = await run(tmp_path, {"root": [cell("llm_query('one')"), Fault.http(401)], "sub": "x"})
    assert result.stop_reason == "error"
    assert lines(result, sub_calls=True, outcomes={"answered"}) == []
    assert [line["outcome"] for line in lines(result, sub_calls=True, outcomes={"error"})] == ["error", "error"]
