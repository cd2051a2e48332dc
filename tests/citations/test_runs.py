"""Runs that are to cite: what the model is asked, told and given again, and what the user gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlm import RLM, ConfigError, RunResult, Settings
from rlm.testing import ScriptedModelServer

pytestmark = pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")

TEXT = "The lease ends in May.\nIt renews by itself for one year.\n"


def finish(answer: str) -> str:
    return f"```repl\nanswer['content'] = {answer!r}\nanswer['ready'] = True\n```"


async def run(folder: Path, replies: Any, *, context: Any = TEXT, **options: Any) -> tuple[RunResult, list[str]]:
    with ScriptedModelServer(replies) as server:
        settings = Settings(
            base_url=server.base_url, model="root", sandbox="process", trace_dir=folder, **{"cite": True, **options}
        )
        result = await RLM(settings=settings).arun("When?", context)
        assert server.errors == []
        return result, [request.prompt for request in server.requests]


async def test_quotations_are_checked_and_numbered(tmp_path):
    result, prompts = await run(tmp_path, [finish("In May: <quote>ends in May</quote>.")])
    assert result.answer == "In May: “ends in May” [1]."
    assert result.citations is not None
    (citation,) = result.citations
    assert (citation.status, citation.start, citation.end, citation.line) == ("found", 10, 21, 1)
    assert "<quote source=" in prompts[0]
    assert json.loads(json.dumps(result.to_dict()))["citations"][0]["file"] == "context"
    assert RunResult.from_dict(result.to_dict()).citations == result.citations


async def test_the_model_is_told_once_of_what_is_not_there(tmp_path):
    wrong, right = finish("<quote>ends in June</quote>"), finish("<quote>ends in May</quote>")
    result, prompts = await run(tmp_path, [wrong, right])
    assert result.answer == "“ends in May” [1]"
    assert "- ends in June" in prompts[1]
    assert result.turns == 2


async def test_what_is_never_mended_is_reported(tmp_path):
    result, prompts = await run(tmp_path, [finish("<quote>ends in June</quote>"), finish("<quote>in July</quote>")])
    assert result.ready
    assert result.answer == "“in July” [1: not in the input]"
    assert [citation.status for citation in result.citations or ()] == ["missing"]
    assert len(prompts) == 2


async def test_an_answer_without_quotations_is_asked_for_them(tmp_path):
    result, prompts = await run(tmp_path, [finish("In May."), finish("In May.")])
    assert "quotes nothing" in prompts[1]
    assert (result.answer, result.citations) == ("In May.", ())


async def test_without_cite_nothing_is_touched(tmp_path):
    result, prompts = await run(tmp_path, [finish("<quote>ends in June</quote>")], cite=False)
    assert (result.answer, result.citations) == ("<quote>ends in June</quote>", None)
    assert "<quote" not in prompts[0]


async def test_a_draft_is_checked_too(tmp_path):
    replies = ["```repl\nanswer['content'] = '<quote>ends in June</quote>'\n```"] * 2
    result, _ = await run(tmp_path, replies, max_turns=1)
    assert result.stop_reason == "max_turns"
    assert [citation.status for citation in result.citations or ()] == ["missing"]


async def test_a_plain_call_cites(tmp_path):
    result, prompts = await run(tmp_path, ["<answer><quote>ends in May</quote></answer>"], route="llm")
    assert result.answer == "“ends in May” [1]"
    assert "<quote source=" in prompts[0]
    assert "answer[" not in prompts[0]


async def test_without_an_input_there_is_nothing_to_cite(tmp_path):
    with pytest.raises(ConfigError, match="no input"):
        await run(tmp_path, [finish("x")], context=None)


async def test_a_run_that_is_taken_up_again_cites(tmp_path):
    with ScriptedModelServer([finish("<quote>ends in May</quote>")]) as server:
        settings = Settings(base_url=server.base_url, model="root", sandbox="process", trace_dir=tmp_path, cite=True)
        rlm = RLM(settings=settings)
        first = await rlm.arun("When?", TEXT)
        assert first.trace is not None
        lines = first.trace.read_bytes().splitlines(keepends=True)
        first.trace.write_bytes(b"".join(lines[:-1]))  # as if it had been killed before its last word
        again = await rlm.aresume(first.run_id)
        assert server.request_count == 1
    assert (again.answer, again.citations) == (first.answer, first.citations)
