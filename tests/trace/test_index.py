"""The index of runs: right whatever happens to it and to the folders, and quick."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from rlm.events import EventLog
from rlm.trace import summary
from rlm.trace.index import INDEX_FILE, VERSION, listing
from rlm.trace.writer import TraceWriter

USAGE = {"input_tokens": 1, "output_tokens": 1, "calls": 7, "cached_calls": 0, "estimated": False}
RESULT = {
    "answer": "a",
    "stop_reason": "answered",
    "turns": 3,
    "usage": {"root": USAGE, "sub": USAGE},
    "cost": 0.25,
    "seconds": 4.5,
}


def run(runs: Path, name: str, *, question: str = "what?", result: dict[str, object] | None = RESULT) -> TraceWriter:
    """A run's folder, written as by a run; the writer is still open."""
    writer = TraceWriter(runs / name)
    log = EventLog(name, writer)
    log.emit("run.started", schema_version=1, question=question, model="m")
    log.emit("turn.started", rollout="0", turn=1, max_turns=3)
    log.emit("turn.started", rollout="0.1", turn=8, max_turns=9)
    log.emit("call.completed", rollout="0", batch="0.b1", index=0, attempts=2)
    if result is not None:
        log.emit("run.completed", result=result)
    return writer


def ended(runs: Path, name: str, **options: object) -> None:
    run(runs, name, **options).close()  # type: ignore[arg-type]


def statuses(runs: Path) -> dict[str, str]:
    return {each.run_id: each.status for each in listing(runs)}


def test_what_is_told_of_each_run(tmp_path):
    ended(tmp_path, "20260101-a", question="which one?")
    ended(tmp_path, "20260102-b", result={**RESULT, "stop_reason": "max_turns", "cost": None})
    writing = run(tmp_path, "20260103-c", result=None)
    ended(tmp_path, "20260104-d", result=None)
    killed, goes_on, limit, answered = listing(tmp_path)
    assert answered.to_dict() == {
        "run_id": "20260101-a",
        "started": pytest.approx(time.time(), abs=30),
        "status": "answered",
        "turns": 3,
        "calls": 7,
        "cost": 0.25,
        "seconds": 4.5,
        "question": "which one?",
        "model": "m",
    }
    assert (limit.status, limit.cost) == ("max_turns", None)
    assert (goes_on.status, killed.status) == ("running", "killed")
    assert (killed.turns, killed.calls, killed.cost) == (1, 2, None)
    assert killed.seconds is not None
    # Its trace does not change when its process dies.
    writing.close()
    assert statuses(tmp_path)["20260103-c"] == "killed"


def test_a_run_that_was_taken_up_again_has_not_ended(tmp_path):
    ended(tmp_path, "r", result={**RESULT, "stop_reason": "interrupted"})
    assert statuses(tmp_path) == {"r": "interrupted"}
    writer = TraceWriter(tmp_path / "r")
    EventLog("r", writer).emit("run.resumed", turns=1, calls=1, seconds=1.0)
    assert statuses(tmp_path) == {"r": "running"}
    EventLog("r", writer).emit("run.completed", result=RESULT)
    writer.close()
    assert statuses(tmp_path) == {"r": "answered"}


def test_a_large_result_and_a_large_question(tmp_path):
    ended(tmp_path, "r", question="q" * 100_000, result={**RESULT, "answer": "a" * 100_000, "odd": ["x" * 9_000] * 30})
    (found,) = listing(tmp_path)
    assert found.status == "answered"
    assert found.question.startswith("qqq")


def test_only_what_has_changed_is_read_again(tmp_path, monkeypatch):
    for name in "abc":
        ended(tmp_path, name)
    first = listing(tmp_path)
    read = []
    real = summary.read

    def noted(folder):
        read.append(folder.name)
        return real(folder)

    monkeypatch.setattr("rlm.trace.summary.read", noted)
    assert listing(tmp_path) == first
    assert read == []
    with (tmp_path / "b" / "events.jsonl").open("a") as file:
        file.write('{"type":"notice","ts":1.0}\n')
    (tmp_path / "c" / "events.jsonl").unlink()
    assert statuses(tmp_path) == {"a": "answered", "b": "answered"}
    assert read == ["b"]
    with sqlite3.connect(tmp_path / INDEX_FILE) as db:
        assert sorted(row[0] for row in db.execute("SELECT run_id FROM runs")) == ["a", "b"]
    db.close()


def corrupt(path: Path) -> None:
    path.write_bytes(b"no database at all" * 1000)


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1500] + b"\xff" * 3000)


def age(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE runs")
        db.execute("CREATE TABLE runs (something_else)")
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()


def lie(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("UPDATE runs SET status = ?, turns = ?, question = ?", (b"\x00", "many", 7))
    db.close()


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("spoil", [corrupt, damage, age, lie, empty])
def test_an_index_that_cannot_be_used_is_made_anew(tmp_path, spoil):
    ended(tmp_path, "a")
    before = listing(tmp_path)
    spoil(tmp_path / INDEX_FILE)
    assert listing(tmp_path) == before
    assert listing(tmp_path) == before
    with sqlite3.connect(tmp_path / INDEX_FILE) as db:
        assert db.execute("SELECT run_id, status FROM runs").fetchall() == [("a", "answered")]
    db.close()


def link(path: Path) -> None:
    (path.parent / "mine.txt").write_text("mine")
    path.symlink_to(path.parent / "mine.txt")


@pytest.mark.parametrize("put", [link, Path.mkdir, os.mkfifo])
def test_what_stands_in_its_place_is_left_alone(tmp_path, put):
    put(tmp_path / INDEX_FILE)
    kind = stat.S_IFMT((tmp_path / INDEX_FILE).lstat().st_mode)
    ended(tmp_path, "a")
    assert statuses(tmp_path) == {"a": "answered"}
    assert stat.S_IFMT((tmp_path / INDEX_FILE).lstat().st_mode) == kind
    assert not (tmp_path / "mine.txt").exists() or (tmp_path / "mine.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_written():
    with tempfile.TemporaryDirectory() as name, as_somebody_else() as hand_over:
        runs = Path(name)
        ended(runs, "a")
        listing(runs)
        ended(runs, "b")
        hand_over(runs)
        assert statuses(runs) == {"a": "answered", "b": "answered"}


def test_a_folder_that_never_could_be_written():
    with tempfile.TemporaryDirectory() as name, as_somebody_else() as hand_over:
        ended(Path(name), "a")
        hand_over(Path(name))
        assert statuses(Path(name)) == {"a": "answered"}
        assert os.listdir(name) == ["a"]


@contextlib.contextmanager
def as_somebody_else():
    """Gives a function that makes a folder readable only; root, who may write anyway, goes on as nobody."""
    mine = os.geteuid()
    folders: list[Path] = []

    def hand_over(folder: Path) -> None:
        for path in (folder, *folder.rglob("*")):
            folders.extend([path] if path.is_dir() else [])
            path.chmod(0o555 if path.is_dir() else 0o444)
        if mine == 0:
            os.seteuid(65534)

    try:
        yield hand_over
    finally:
        os.seteuid(mine)
        for path in folders:
            path.chmod(0o700)


def test_an_index_that_is_in_use_is_done_without(tmp_path, monkeypatch):
    monkeypatch.setattr("rlm.trace.index._PATIENCE", 0.05)
    ended(tmp_path, "a")
    listing(tmp_path)
    ended(tmp_path, "b")
    db = sqlite3.connect(tmp_path / INDEX_FILE, isolation_level=None)
    db.execute("BEGIN EXCLUSIVE")
    assert statuses(tmp_path) == {"a": "answered", "b": "answered"}
    db.execute("ROLLBACK")
    db.close()
    assert statuses(tmp_path) == {"a": "answered", "b": "answered"}


def test_many_at_once(tmp_path):
    for number in range(60):
        ended(tmp_path, f"run-{number:02}")
    program = f"from rlm.trace.index import listing; print(len(listing({str(tmp_path)!r})))"
    started = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(4)]
    assert [process.communicate()[0] for process in started] == [b"60\n"] * 4


def test_it_is_private(tmp_path):
    ended(tmp_path, "a")
    listing(tmp_path)
    assert stat.S_IMODE((tmp_path / INDEX_FILE).stat().st_mode) == 0o600
    assert sorted(os.listdir(tmp_path)) == ["a", INDEX_FILE]


def started(**fields: object) -> str:
    return json.dumps({"type": "run.started", "ts": 1.0, "schema_version": 1, "question": "q", **fields}) + "\n"


def completed(**fields: object) -> str:
    return started() + json.dumps({"type": "run.completed", "ts": 2.0, "result": {**RESULT, **fields}}) + "\n"


HOSTILE = {
    "garbage": "\x00\xff garbage\n" * 100,
    "no object": "[1, 2]\n",
    "no event": '{"type": 1}\n',
    "another beginning": '{"type": "notice", "ts": 1.0, "text": "x"}\n',
    "a later version": started(schema_version=99),
    "no time": '{"type": "run.started", "schema_version": 1}\n',
    "nested": "[" * 100_000 + "\n",
    "garbage after the beginning": started() + "garbage\n" + started(),
    "no reason": completed(stop_reason="\x1b[2J"),
    "no usage": completed(usage=[]),
    "no result": started() + '{"type": "run.completed", "ts": 2.0}\n',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_trace_that_is_none(tmp_path, text):
    ended(tmp_path, "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "events.jsonl").write_text(text, encoding="latin-1")
    for _ in range(2):
        assert statuses(tmp_path) == {"bad": "unreadable", "good": "answered"}


ODD = {
    "numbers that are none": (completed(turns="x", cost=float("inf"), seconds=[]), ("answered", 0, None, None)),
    "large numbers": (completed(turns=10**400, cost=1e300), ("answered", 0, None, 4.5)),
    "empty": ("", ("killed", 0, None, None)),
    "half a line": (started() + '{"type": "turn.st', ("killed", 0, None, 0.0)),
    "half a first line": ('{"type": "run.st', ("killed", 0, None, None)),
}


@pytest.mark.parametrize(("text", "told"), ODD.values(), ids=ODD)
def test_an_odd_trace(tmp_path, text, told):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "events.jsonl").write_text(text)
    for _ in range(2):
        (found,) = listing(tmp_path)
        assert (found.status, found.turns, found.cost, found.seconds) == told


def test_what_is_no_run_is_left_out(tmp_path):
    ended(tmp_path / "elsewhere", "r")
    runs = tmp_path / "runs"
    for name in ("pipe", "linked", "folder", "nothing"):
        (runs / name).mkdir(parents=True)
    os.mkfifo(runs / "pipe" / "events.jsonl")
    (runs / "linked" / "events.jsonl").symlink_to(tmp_path / "elsewhere" / "r" / "events.jsonl")
    (runs / "folder" / "events.jsonl").mkdir()
    (runs / "link").symlink_to(tmp_path / "elsewhere" / "r")
    (runs / "file").write_text("")
    (Path(os.fsdecode(os.fsencode(runs) + b"/\xff"))).mkdir()
    (Path(os.fsdecode(os.fsencode(runs) + b"/\xff")) / "events.jsonl").write_text(started())
    assert listing(runs) == []
    assert listing(tmp_path / "missing") == []


def test_listing_many_runs_is_quick(tmp_path):
    line = json.dumps({"type": "call.completed", "ts": 1.0, "prompt": "x" * 3000}) + "\n"
    first, last = completed().splitlines(keepends=True)
    for number in range(300):
        (tmp_path / f"run-{number:03}").mkdir()
        (tmp_path / f"run-{number:03}" / "events.jsonl").write_text(first + 20 * line + last)
    assert len(listing(tmp_path)) == 300
    begun = time.thread_time()
    assert len(listing(tmp_path)) == 300
    assert time.thread_time() - begun < 0.1
