"""A run that was recorded with schema version 1: every later version reads it, whole, and executes it again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rlm import InputError
from rlm.past import Exchange
from rlm.record import Record
from rlm.replay import replay
from rlm.result import RunResult
from rlm.trace.reader import Trace, find, traces
from tests.trace import rich

pytestmark = pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")

DATA = Path(__file__).resolve().parents[1] / "data" / "run-schema-1"


@pytest.fixture
def trace(tmp_path: Path) -> Trace:
    """A copy, as a run's folder that was moved to another machine."""
    shutil.copytree(DATA, tmp_path / "runs" / "20261124-000000-000-0badcafe")
    return find("0badcafe", tmp_path / "runs")


def test_it_is_read_whole(trace: Trace) -> None:
    events = list(trace.events())
    assert [event["seq"] for event in events] == sorted(event["seq"] for event in events)
    calls = [event for event in events if event["type"] == "call.completed"]
    assert "long " * 4000 in [call.get("prompt") for call in calls], "large texts come from their files"
    result = trace.result()
    assert result is not None
    assert RunResult.from_dict(result).to_dict() == {"citations": None, "metrics": {}, **result}
    assert result["answer"] == rich.ANSWER
    assert not trace.goes_on()


def test_it_is_the_record_of_a_run(trace: Trace) -> None:
    record = Record(trace)
    assert record.end is not None
    assert record.question == rich.QUESTION
    assert len(record.past.spendings) == 29
    steps = record.past.rollout("0").steps
    assert [type(step) for step in steps] == [Exchange] * 7
    assert sorted(record.past.rollouts) == ["0", "0.1", "0.2"]


async def test_it_is_executed_again(trace: Trace, tmp_path: Path) -> None:
    settings = rich.settings("http://127.0.0.1:9/v1", tmp_path, tools=(), functions={})
    outcome = await replay(settings, Record(trace, offline=True))
    assert outcome.identical, outcome.to_dict()
    assert outcome.cells == 10


def test_an_input_that_is_not_the_recorded_one_is_refused(trace: Trace) -> None:
    next((trace.folder / "input" / "shared").rglob("1")).write_text("something else")
    with pytest.raises(InputError, match="has changed since the run began"):
        Record(trace).prepared()


def test_half_a_last_line_is_not_an_event(trace: Trace) -> None:
    whole = list(trace.events())
    with trace.path.open("a") as file:
        file.write('{"type":"cell.sta')
    assert list(trace.events()) == whole


@pytest.mark.parametrize("line", ["not json", "[]", '{"seq": 1}', "{" * 2000])
def test_what_is_no_trace_is_one_error(trace: Trace, line: str) -> None:
    trace.path.write_text(f"{line}\n")
    with pytest.raises(InputError, match="line 1: not an event"):
        list(trace.events())


def test_a_later_schema_is_told(trace: Trace) -> None:
    first, *rest = trace.path.read_text().splitlines(keepends=True)
    trace.path.write_text("".join([first.replace('"schema_version":1', '"schema_version":2'), *rest]))
    with pytest.raises(InputError, match="later version"):
        list(trace.events())


@pytest.mark.parametrize("digest", ["../events.jsonl", "/etc/passwd", "", "0" * 64, "A" * 64])
def test_nobody_but_the_host_decides_which_files_are_read(trace: Trace, digest: str) -> None:
    first, *rest = trace.path.read_text().splitlines()
    event = {**json.loads(first), "question": "excerpt…", "blobs": {"/question": digest}}
    trace.path.write_text("\n".join([json.dumps(event), *rest, ""]))
    assert next(trace.events())["question"] == "excerpt…"
    assert trace.blob(digest) is None


def test_a_blob_that_was_changed_is_not_shown(trace: Trace) -> None:
    (blob, *_) = (trace.folder / "blobs").iterdir()
    blob.write_text("something else")
    assert trace.blob(blob.name) is None


def test_runs_are_found_by_what_tells_them_apart(trace: Trace, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(trace.folder, runs / "20261124-000001-000-0badbeef")
    assert [each.run_id[-8:] for each in traces(runs)] == ["0badbeef", "0badcafe"]
    assert find(None, runs).run_id.endswith("beef")
    assert find("last", runs).run_id.endswith("beef")
    assert find("20261124-000000", runs).run_id.endswith("cafe")
    assert find(str(trace.folder)).run_id == find(str(trace.path)).run_id == trace.run_id
    with pytest.raises(InputError, match="2 runs are called '20261124'"):
        find("20261124", runs)
    with pytest.raises(InputError, match="no run 'x'"):
        find("x", runs)
    with pytest.raises(InputError, match="no runs"):
        find(None, tmp_path / "nowhere")
