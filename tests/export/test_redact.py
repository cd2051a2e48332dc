"""What of a run may be shown to others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rlm import ConfigError, RunResult
from rlm.export.redact import placeholder, redactor
from rlm.trace.reader import Trace
from tests.export.rich import SECRET


@pytest.fixture(scope="module")
def events(rich_result: RunResult) -> list[dict[str, Any]]:
    assert rich_result.trace is not None
    return list(Trace(rich_result.trace.parent).events())


def test_no_text_of_the_document_is_left(events: list[dict[str, Any]]) -> None:
    redact = redactor()
    told = [redact(event) for event in events]
    assert sum(SECRET in json.dumps(event) for event in events) > 20
    assert [event["type"] for event in told if SECRET in json.dumps(event)] == []
    assert [event["type"] for event in told if "filler" in json.dumps(event)] == []
    assert [event.keys() - {"blobs"} for event in told] == [event.keys() - {"blobs"} for event in events]


def test_code_question_sizes_and_times_stay(events: list[dict[str, Any]]) -> None:
    redact = redactor()
    stays = ("code", "question", "seq", "ts", "seconds", "input_tokens", "output_tokens", "turn", "batch", "index")
    for event in events:
        told = redact(event)
        for name in stays:
            assert told.get(name) == event.get(name)
        if event["type"] == "cell.completed" and event["output"]:
            assert told["output"] == f"[redacted: {len(event['output']):,} characters]"


def test_replies_keep_their_code_also_where_they_are_sent_back(events: list[dict[str, Any]]) -> None:
    told = list(map(redactor(), events))
    first = next(event for event in told if event["type"] == "root.completed")
    assert first["text"] == f"[redacted: 13 characters]\n```repl\n{first['code']}\n```"
    sent = [event["messages"] for event in told if event["type"] == "root.requested"]
    assert sent[1][0] == {"role": "assistant", "content": first["text"]}


def test_a_reply_that_has_its_code_elsewhere_loses_all_of_its_text() -> None:
    call = {"id": "c", "name": "python", "arguments": '{"code": "print(1)"}', "code": "print(1)", "broken": None}
    event = {"type": "root.completed", "text": f"{SECRET} print(2)", "code": "print(1)", "tool_call": call}
    told = redactor()(event)
    assert SECRET not in json.dumps(told)
    assert told["tool_call"]["code"] == "print(1)"
    in_prose = {"type": "root.completed", "text": f"{SECRET} print(1)", "code": "print(1)"}
    assert SECRET not in json.dumps(redactor()(in_prose))


@pytest.mark.parametrize(
    "event",
    [
        {"type": "of.later.versions", "words": SECRET, "numbers": [1, SECRET]},
        {"type": "call.completed", "data": {SECRET: 1}},
        {"type": "tool.completed", "name": f"I call {SECRET}"},
        {"type": "cell.completed", "variables": [f"{SECRET} is not a name"]},
        {"type": "call.replied", "tool_calls": [{"function": {"name": "f", "arguments": SECRET}}, SECRET]},
        {"type": "root.requested", "messages": [{"role": "user", "content": [{"type": "text", "text": SECRET}]}]},
        {"type": "call.completed", "error": {"kind": "invalid", "message": SECRET, "text": SECRET}},
        {"type": "function.completed", "failed": SECRET},
    ],
)
def test_what_is_not_known_to_be_harmless_goes(event: dict[str, Any]) -> None:
    told = redactor()(event)
    assert SECRET not in json.dumps(told)
    assert told["type"] == event["type"]


def test_placeholders_tell_lengths_only() -> None:
    assert placeholder("x" * 1234) == placeholder("y" * 1234) == "[redacted: 1,234 characters]"
    assert (placeholder(""), placeholder(None), placeholder([1, 2])) == ("", None, "[redacted: 6 characters]")


def test_patterns_blot_out_matches_and_leave_the_rest(events: list[dict[str, Any]]) -> None:
    redact = redactor(content=False, patterns=[r"ZEBRA-\d+", "animals"])
    told = list(map(redact, events))
    assert SECRET not in json.dumps(told)
    assert "animals" not in json.dumps(told)
    assert told[-1]["result"]["answer"] == "It is [redacted]"
    assert [event["seq"] for event in told] == [event["seq"] for event in events]


def test_patterns_reach_what_content_would_leave(events: list[dict[str, Any]]) -> None:
    redact = redactor(patterns=["llm_batch"])
    assert "llm_batch" not in json.dumps(list(map(redact, events)))


def test_a_pattern_that_is_none() -> None:
    with pytest.raises(ConfigError, match="regular expression"):
        redactor(patterns=["("])
