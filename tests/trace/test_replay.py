"""Runs that are executed again from their traces, with nobody to ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rlm import RLM, RunResult
from rlm.record import Record
from rlm.replay import replay
from rlm.testing import ScriptedModelServer
from rlm.trace.reader import Trace
from tests.cli.conftest import Ran
from tests.cli.conftest import rlm as rlm  # the fixture
from tests.trace import rich
from tests.tree.conftest import sandbox as sandbox  # the fixture

pytestmark = pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunResult]:
    with rich.server() as server:
        settings = rich.settings(server.base_url, tmp_path_factory.mktemp("runs"))
        yield RLM(settings=settings).run(rich.QUESTION, rich.CONTEXT)


def folder_of(result: RunResult) -> Path:
    assert result.trace is not None
    return result.trace.parent


async def test_the_answer_is_byte_identical_in_every_sandbox(recorded: RunResult, sandbox: str) -> None:
    before = sorted(path.stat().st_mtime_ns for path in folder_of(recorded).rglob("*"))
    settings = rich.settings("http://127.0.0.1:9/v1", Path("/nowhere"), sandbox=sandbox, tools=(), functions={})
    seen: list[dict[str, Any]] = []
    outcome = await replay(settings, Record(Trace(folder_of(recorded)), offline=True), sinks=[seen.append])
    assert outcome.diverged == []
    assert outcome.identical
    assert outcome.answer == rich.ANSWER == recorded.answer
    assert (outcome.turns, outcome.cells, outcome.unknown_calls) == (6, 10, 0), "the children's cells, too"
    assert outcome.calls == 16
    assert next(e for e in seen if e["type"] == "run.completed")["result"]["usage"] == recorded.usage.to_dict()
    assert before == sorted(path.stat().st_mtime_ns for path in folder_of(recorded).rglob("*")), "untouched"


@pytest.mark.parametrize("ended", ["answered", "killed"])
def test_the_command(recorded: RunResult, rlm: Callable[..., Ran], ended: str, tmp_path: Path) -> None:
    folder = folder_of(recorded)
    if ended == "killed":
        copy = tmp_path / folder.name
        copy.mkdir()
        for name in ("input.json", "input"):
            (copy / name).symlink_to(folder / name)
        (copy / "events.jsonl").write_bytes(b"".join((folder / "events.jsonl").read_bytes().splitlines(True)[:60]))
        folder = copy
    ran = rlm("replay", folder, "--sandbox", "process")
    assert ran.code == 0, ran
    assert ("the answer is identical" in ran.out) == (ended == "answered")
    assert ("the run had no end" in ran.out) == (ended == "killed")


def test_what_came_out_otherwise_is_told(rlm: Callable[..., Ran], tmp_path: Path) -> None:
    code = "import os\nx = os.urandom(4).hex()\nprint('\\x1b[31m' + x)\nanswer['content'] = x\nanswer['ready'] = True"
    with ScriptedModelServer({"root": rich.cell(code + "\nllm_query(x)"), "sub": "fine"}) as server:
        settings = rich.settings(server.base_url, tmp_path, depth=1, tools=(), functions={})
        result = RLM(settings=settings).run("q", "c")
        asked = server.request_count
        ran = rlm("replay", "--trace-dir", tmp_path, "--sandbox", "process")
        as_json = rlm("replay", "--trace-dir", tmp_path, "--sandbox", "process", "--json")
        assert server.request_count == asked
    assert ran.code == as_json.code == 1
    assert "rollout 0, turn 1: another output" in ran.out
    assert "1 sub-calls that are not in the trace" in ran.out
    assert "the answer is another one" in ran.out
    assert result.answer in ran.out
    assert "\x1b" not in ran.out
    assert '"identical": false' in as_json.out


def test_a_trace_from_elsewhere_says_neither_where_keys_go_nor_what_is_imported(
    recorded: RunResult, rlm: Callable[..., Ran], tmp_path: Path
) -> None:
    with ScriptedModelServer("ok") as server:
        rich_run = folder_of(recorded)
        copy = tmp_path / rich_run.name
        copy.mkdir()
        for name in ("input.json", "input"):
            (copy / name).symlink_to(rich_run / name)
        lines = (rich_run / "events.jsonl").read_text().splitlines(True)[:20]
        evil = lines[0].replace("tests.trace.rich:search", f"{tmp_path}/evil.py:run")
        (copy / "events.jsonl").write_text("".join([evil, *lines[1:]]))
        (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')\ndef run() -> str: ...\n")
        ran = rlm("resume", copy, "--base-url", server.base_url, "--sandbox", "process", RLM_API_KEY="secret-of-mine")
    assert ran.code == 2
    assert "tools: the run began with others (search)" in ran.err
    assert server.request_count == 0
    assert not (tmp_path / "imported").exists()
    ran = rlm("resume", copy, RLM_API_KEY="secret-of-mine")
    assert ran.code == 2
    assert "tools: the run began with" in ran.err
