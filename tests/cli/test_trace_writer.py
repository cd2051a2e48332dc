"""The trace file: what is in it, when, and who may read it."""

import asyncio
import json
import os
import resource
import stat
import subprocess
import sys

import pytest

from rlm.errors import ConfigError
from rlm.events import EventLog
from rlm.trace.store import new_run_id, runs_dir
from rlm.trace.writer import TraceWriter


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_events_and_result_are_written_in_order(tmp_path):
    writer = TraceWriter(tmp_path / "run")
    log = EventLog("r1", writer)
    log.emit("run.started", schema_version=1, question="why")
    log.emit("root.delta", turn=1, text="shown live only")
    log.emit("run.completed", result={"answer": "because", "ready": True})
    writer.close()
    assert [(e["type"], e["seq"]) for e in lines(writer.path)] == [("run.started", 1), ("run.completed", 3)]
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == {"answer": "because", "ready": True}
    assert sorted(os.listdir(tmp_path / "run")) == ["events.jsonl", "result.json"]


def test_folders_and_files_are_private(tmp_path):
    writer = TraceWriter(tmp_path / "state" / "rlm" / "runs" / "r1")
    EventLog("r1", writer).emit("run.completed", result={})
    writer.close()
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.rglob("*")}
    assert modes == {
        "state": 0o700,
        "rlm": 0o700,
        "runs": 0o700,
        "r1": 0o700,
        "events.jsonl": 0o600,
        "result.json": 0o600,
    }


def test_existing_parents_keep_their_mode(tmp_path):
    (tmp_path / "mine").mkdir(mode=0o755)
    TraceWriter(tmp_path / "mine" / "r1").close()
    assert stat.S_IMODE((tmp_path / "mine").stat().st_mode) == 0o755


async def test_one_write_per_tick(tmp_path):
    writer = TraceWriter(tmp_path)
    log = EventLog("r", writer)
    for i in range(100):
        log.emit("notice", text=str(i))
    assert writer.path.stat().st_size == 0
    await asyncio.sleep(0)
    assert len(lines(writer.path)) == 100
    log.emit("notice", text="now")
    writer.flush()
    assert len(lines(writer.path)) == 101
    writer.close()


def test_a_loop_that_ended_does_not_strand_events(tmp_path):
    writer = TraceWriter(tmp_path)
    log = EventLog("r", writer)

    async def emit(text):
        log.emit("notice", text=text)

    for text in ("one", "two"):
        loop = asyncio.new_event_loop()
        task = loop.create_task(emit(text))
        loop.run_until_complete(task)
        loop.close()
    log.emit("notice", text="three")
    assert [e["text"] for e in lines(writer.path)] == ["one", "two", "three"]
    writer.close()


def test_events_survive_a_killed_process(tmp_path):
    program = f"""
import asyncio, os, pathlib, signal
from rlm.events import EventLog
from rlm.trace.writer import TraceWriter
async def main():
    log = EventLog("r", TraceWriter(pathlib.Path({str(tmp_path)!r})))
    log.emit("notice", text="kept")
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert [e["text"] for e in lines(tmp_path / "events.jsonl")] == ["kept"]


@pytest.mark.parametrize("secret", ["sk-abcdefgh", 'quo"ted\\key', "schlüssel-ü"])
def test_secrets_are_redacted_wherever_they_stand(tmp_path, secret):
    writer = TraceWriter(tmp_path, secrets=[secret, ""])
    log = EventLog("r", writer)
    log.emit("notice", text=f"401 for {secret}!", deep=[{secret: {"k": secret}}])
    log.emit("run.completed", result={"error": secret})
    writer.close()
    assert lines(writer.path)[0]["text"] == "401 for [redacted]!"
    for file in tmp_path.iterdir():
        assert secret not in file.read_text(encoding="utf-8")
        assert secret not in json.dumps(
            json.loads(file.read_text(encoding="utf-8").splitlines()[0]), ensure_ascii=False
        )


def test_placeholder_keys_leave_the_text_alone(tmp_path):
    writer = TraceWriter(tmp_path, secrets=["x"])
    EventLog("r", writer).emit("notice", text="an axe")
    assert lines(writer.path)[0]["text"] == "an axe"
    writer.close()


def test_any_text_is_one_line_of_valid_json(tmp_path):
    hostile = "a\nb\r\u2028\x00\x1b[31m\ud800 \U0001f600"
    writer = TraceWriter(tmp_path)
    EventLog("r", writer).emit("notice", text=hostile)
    writer.close()
    assert writer.path.read_bytes().count(b"\n") == 1
    assert json.loads(writer.path.read_bytes())["text"] == hostile


def test_a_full_disk_is_told_once_and_leaves_whole_lines(tmp_path):
    told: list[str] = []
    writer = TraceWriter(tmp_path, on_error=told.append)
    log = EventLog("r", writer)
    log.emit("notice", text="fits")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        for _ in range(3):
            log.emit("notice", text="x" * 3000)
        log.emit("run.completed", result={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    writer.close()
    assert len(told) == 1
    assert str(writer.path) in told[0]
    assert [len(e["text"]) for e in lines(writer.path)] == [4, 3000]


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write the trace to"):
        TraceWriter(tmp_path / "file" / "run")


def test_run_ids_are_unique_and_sort_by_time():
    ids = [new_run_id() for _ in range(50)]
    assert len(set(ids)) == 50
    assert [i.rsplit("-", 1)[0] for i in ids] == sorted(i.rsplit("-", 1)[0] for i in ids)


def test_the_runs_folder_follows_xdg(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert runs_dir() == tmp_path / "rlm" / "runs"
    assert runs_dir(tmp_path / "t") == tmp_path / "t"
