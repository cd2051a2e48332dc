"""Plain calls in the place of runs: when, with what, and what is told of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlm import RLM, ConfigError, RunResult, Settings, Value
from rlm.export.messages import transcripts
from rlm.route import answer_of
from rlm.testing import Fault, ScriptedModelServer
from rlm.trace.reader import Trace

pytestmark = pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")
CELL = "```repl\nanswer['content'] = 'by code'\nanswer['ready'] = True\n```"


def scripted(request: Any) -> Any:
    return CELL if request.stream else "<answer>plainly</answer>"


def play(folder: Path, script: Any, *inputs: Any, **options: Any) -> tuple[RunResult, ScriptedModelServer]:
    with ScriptedModelServer(script) as server:
        options = {"model": "m", "sandbox": "process", "trace_dir": folder, "route": "auto", **options}
        result = RLM(settings=Settings(base_url=server.base_url, **options)).run("What is it?", inputs=list(inputs))
    assert server.errors == []
    return result, server


def events(result: RunResult) -> list[dict[str, Any]]:
    assert result.trace is not None
    return [json.loads(line) for line in result.trace.read_text().splitlines()]


def test_a_short_text_is_pasted(tmp_path: Path) -> None:
    result, server = play(tmp_path, scripted, Value("a {{ short }} text"))
    assert (result.answer, result.stop_reason, result.turns, result.exit_code) == ("plainly", "answered", 1, 0)
    assert "<context>\na {{ short }} text\n</context>\n\nWhat is it?" in server.requests[0].prompt
    assert result.usage.root.calls == 1
    assert "max_tokens" not in server.requests[0].body
    assert (result.metrics["root_turns"], result.metrics["reminders"]) == (1, 0)
    told = events(result)
    assert [event["type"] for event in told if event["type"].startswith(("root", "kernel"))] == [
        "root.requested",
        "root.completed",
    ]
    assert told[0]["route"] == "llm"
    assert result.trace is not None
    (line,) = transcripts(Trace(result.trace.parent).events())
    assert [message["role"] for message in line["messages"]] == ["user", "assistant"]


def test_several_texts_are_named(tmp_path: Path) -> None:
    _, server = play(tmp_path, scripted, Value("one", name="a.txt"), Value("two", name="b.txt"))
    assert (
        '<context name="a.txt">\none\n</context>\n\n<context name="b.txt">\ntwo\n</context>'
        in server.requests[0].prompt
    )


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ("x" * 301, {"route_chars": 300}),
        ("x" * 3000, {"context_window": 1500}),
        ("x" * 12_500, {}),  # more than a window is assumed to hold, where it is not known
        (b"\0binary", {}),
        ("short", {"tools": [len]}),
        ("short", {"functions": {"size": len}}),
        ("short", {"route": "rlm"}),
    ],
)
def test_all_else_is_a_run(tmp_path: Path, given: Any, options: dict[str, Any]) -> None:
    result, _ = play(tmp_path, scripted, Value(given), **options)
    assert result.answer == "by code"
    assert events(result)[0]["route"] == "rlm"


def test_a_window_that_is_known_counts(tmp_path: Path) -> None:
    result, _ = play(tmp_path, scripted, Value("x" * 12_500), context_window=100_000)
    assert result.answer == "plainly"


def test_tools_are_native_calls_and_the_last_turn_has_none(tmp_path: Path) -> None:
    def look(word: str) -> str:
        """Look a word up."""
        return f"{word}!"

    def script(request: Any) -> Any:
        if request.body.get("tools"):
            return {"tool_calls": [{"name": "look", "arguments": {"word": "hay"}}]}
        return f"after {request.turn} turns: {request.messages[-2]['content']}"

    result, server = play(tmp_path, script, route="llm", tools=[look], max_turns=3)
    assert (result.answer, result.turns) == ("after 2 turns: hay!", 3)
    assert [bool(request.body.get("tools")) for request in server.requests] == [True, True, False]
    calls = [event for event in events(result) if event["type"] == "function.completed"]
    assert [(call["name"], call["kwargs"], call["result"]) for call in calls] == [("look", {"word": "hay"}, "hay!")] * 2
    assert result.trace is not None
    (line,) = transcripts(Trace(result.trace.parent).events())
    roles = [message["role"] for message in line["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "tool", "user", "assistant"]


def test_what_cannot_be_pasted_is_an_error_where_a_plain_call_was_asked_for(tmp_path: Path) -> None:
    result, server = play(tmp_path, scripted, Value(b"\0"), route="llm")
    assert result.error is not None
    assert (result.error.type, result.stop_reason, server.request_count) == ("PromptTooLong", "error", 0)
    assert [event["type"] for event in events(result)] == ["run.started", "run.completed"]


def test_limits_hold(tmp_path: Path) -> None:
    result, server = play(tmp_path, scripted, Value("x" * 4000), max_tokens=900)
    assert (result.stop_reason, result.answer, server.request_count) == ("max_tokens", "", 0)
    result, server = play(tmp_path, scripted, Value("x" * 4000), max_tokens=2000)
    assert result.answer == "plainly"
    assert 256 <= server.requests[0].body["max_tokens"] <= 1000


def test_a_slow_model_is_a_timeout(tmp_path: Path) -> None:
    result, _ = play(tmp_path, lambda request: {"text": "late", "delay": 20}, Value("x"), timeout=0.5)
    assert (result.stop_reason, result.answer) == ("timeout", "")


def test_a_plain_call_is_not_taken_up_again(tmp_path: Path) -> None:
    result, server = play(tmp_path, Fault.http(401), Value("x"))
    assert result.stop_reason == "error"
    options: dict[str, Any] = {"model": "m", "sandbox": "process", "trace_dir": tmp_path, "route": "auto"}
    with pytest.raises(ConfigError, match="a plain call"):
        RLM(settings=Settings(base_url=server.base_url, **options)).resume(result.run_id)


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("  just this \n", "just this"),
        ("I think <answer>42</answer> fits.", "42"),
        ("<answer>\n  indented\n\n</answer>", "  indented\n"),
        ("<answer>{a} <answer>x</answer> \\boxed{b}</answer>", "{a} <answer>x</answer> \\boxed{b}"),
        ("<answer>cut off", "cut off"),
        ("<answer></answer>", ""),
        ("", ""),
    ],
)
def test_the_answer_within_a_reply(reply: str, answer: str) -> None:
    assert answer_of(reply) == answer
