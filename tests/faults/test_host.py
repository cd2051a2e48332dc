"""The host fails: its disk is full or read-only, its clock jumps. What cannot be kept is told; the run goes on."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rlm import RLM, ConfigError, InputError, Settings
from rlm.context import prepare
from rlm.errors import SandboxUnavailable
from rlm.kernels import leases, scratch
from rlm.testing import ScriptedModelServer, ScriptedRequest
from tests.faults.conftest import DRAFT, FINISH, Play, cell, ended_well_recorded, read
from tests.needs import lacking

pytestmark = pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")

Mount = Callable[..., Path]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Mount]:
    """`small_disk("1m")` mounts a file system of that size; `remount("ro")` changes it."""
    if os.geteuid():
        lacking("only root may mount")
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        place = tmp_path / f"disk-{len(mounted)}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(place)]
        made = subprocess.run(command, capture_output=True, text=True)
        if made.returncode:
            lacking(f"nothing can be mounted here: {made.stderr.strip()}")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


def remount(place: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(place)], check=True)


def fill(place: Path) -> Path:
    """Take all that is left of a disk."""
    path = place / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return path


# --- the disk -------------------------------------------------------------------------------------


def test_a_disk_that_is_full_in_the_middle_ends_the_trace_and_not_the_run(small_disk: Mount, play: Play) -> None:
    """The trace ends at a whole line, the user is told, and the run can be taken up again from there."""
    disk = small_disk("1m")
    fillers: list[Path] = []

    def root(request: ScriptedRequest) -> Any:
        if request.turn == 1 and not fillers:
            fillers.append(fill(disk))
        return [DRAFT, cell("print('x' * 6000, llm_query('a'))"), FINISH][request.turn]

    with ScriptedModelServer({"root": root, "sub": "paid"}) as server:
        settings = Settings(
            model="root", sub_model="sub", base_url=server.base_url, sandbox="process", trace_dir=disk / "runs"
        )
        rlm = RLM(settings=settings)
        result = rlm.run("q", "c")
        assert (result.answer, result.stop_reason, result.exit_code) == ("the answer", "answered", 0)
        assert result.trace is not None
        kept = read(result.trace)
        assert result.trace.read_bytes().endswith(b"\n"), "half a line is none"
        assert [event["type"] for event in kept].count("cell.completed") == 1
        fillers[0].unlink()
        before = dict(server.request_counts)
        again = rlm.resume()
        assert again.answer == "the answer"
        replies = [event["type"] for event in kept].count("root.completed")
        assert server.request_counts["root"] == before["root"] + 3 - replies, "what is on record is not asked again"
        assert replies >= 1
    assert read(result.trace)[-1]["type"] == "run.completed"


def test_a_disk_that_fills_up_is_told_once(small_disk: Mount, tmp_path: Path) -> None:
    disk = small_disk("1m")
    told: list[Any] = []

    async def play() -> None:
        with ScriptedModelServer({"root": lambda request: (fill(disk), FINISH)[1]}) as server:
            settings = Settings(model="root", base_url=server.base_url, sandbox="process", trace_dir=disk / "runs")
            async for event in RLM(settings=settings).stream("q", "c"):
                told.append(event)

    asyncio.run(play())
    (notice,) = (
        event["text"] for event in told if event["type"] == "notice" and "the trace ends here" in event["text"]
    )
    assert "No space left" in notice
    assert told[-1]["result"]["answer"] == "the answer"


def test_an_input_that_cannot_be_spooled_costs_nothing(small_disk: Mount) -> None:
    disk = small_disk("256k")
    with ScriptedModelServer({"root": FINISH}) as server:
        settings = Settings(model="root", base_url=server.base_url, sandbox="process", trace_dir=disk / "runs")
        with pytest.raises(InputError, match=r"cannot spool .*: No space left on device"):
            RLM(settings=settings).run("q", "x" * (1 << 20))
        assert server.request_count == 0
    assert list((disk / "runs").iterdir()) == [], "nothing is left of a run that never was"


def test_a_file_that_cannot_be_copied_for_the_sandboxs_user_costs_nothing(small_disk: Mount, tmp_path: Path) -> None:
    disk, private = small_disk("256k"), tmp_path / "private.txt"
    private.write_bytes(b"x" * (1 << 20))
    private.chmod(0o600)
    with pytest.raises(InputError, match=r"private\.txt: No space left on device"):
        prepare([private], spool_dir=disk / "run")


def test_a_read_only_trace_folder_is_a_usage_error(small_disk: Mount, cli: Any) -> None:
    disk = small_disk("1m")
    (disk / "runs").mkdir()
    remount(disk, "ro")
    with ScriptedModelServer({"root": FINISH}) as server:
        settings = Settings(model="root", base_url=server.base_url, sandbox="process", trace_dir=disk / "runs")
        with pytest.raises(ConfigError, match=r"cannot write the trace to .*: Read-only file system"):
            RLM(settings=settings).run("q", "c")
        code, out, err = cli(server, "--trace-dir", disk / "runs")
        assert server.request_count == 0
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "Read-only file system" in err


def test_a_large_text_that_cannot_be_kept_ends_the_trace_and_not_the_run(play: Play, tmp_path: Path) -> None:
    def root(request: ScriptedRequest) -> Any:
        if request.turn == 0:
            (folder,) = (tmp_path / "traces").iterdir()
            (folder / "blobs").write_text("in the way", encoding="utf-8")
            return cell("answer['content'] = llm_query('y' * 40000)")
        return cell("answer['ready'] = True")

    with ScriptedModelServer({"root": root, "sub": "paid"}) as server:
        told = play(server)
    assert (told.result.answer, told.result.exit_code) == ("paid", 0)
    assert told.events[-1]["type"] == "batch.started"


@pytest.mark.parametrize("state", ["full", "read-only"])
def test_a_state_folder_that_cannot_be_written_is_said_in_one_line(
    state: str, small_disk: Mount, isolated_env: Path, monkeypatch: pytest.MonkeyPatch, cli: Any
) -> None:
    """Without a trace: leases and scratch folders have no other place."""
    disk = small_disk("64k")
    (disk / "rlm").mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", str(disk))
    if state == "full":
        fill(disk)
    else:
        remount(disk, "ro")
    with pytest.raises(SandboxUnavailable, match=r"No space left|Read-only"):
        leases.acquire()
    with pytest.raises(ConfigError, match=r"No space left|Read-only"), scratch.scratch_dir():
        pass
    with ScriptedModelServer({"root": FINISH}) as server:
        code, out, err = cli(server, "--no-trace")
        assert server.request_count == 0
    assert (code, out) == (2, "")
    assert [line for line in err.splitlines() if line.startswith("rlm: error: ")] == [err.splitlines()[-1]]
    with ScriptedModelServer({"root": FINISH}) as server:
        code, out, err = cli(server, "--trace-dir", isolated_env / "runs")
    assert code == 5
    assert "cannot keep a lease" in err


# --- the clock ------------------------------------------------------------------------------------


def test_a_clock_that_jumps_moves_stamps_and_nothing_else(monkeypatch: pytest.MonkeyPatch, play: Play) -> None:
    """Hours forth and years back with each look: deadlines, cell limits and durations stay what they are."""
    true, looks = time.time, 0

    def jumping() -> float:
        nonlocal looks
        looks += 1
        return true() + (7200 if looks % 2 else -3e8)

    monkeypatch.setattr(time, "time", jumping)
    slow = cell("import time\nout = llm_batch(['a', 'b'])\ntime.sleep(60)")
    with ScriptedModelServer({"root": [slow, FINISH], "sub": "paid"}) as server:
        told = play(server, timeout=60, cell_timeout=1.0, request_timeout=10)
    assert (told.result.answer, told.result.stop_reason) == ("the answer", "answered")
    assert looks > 10
    assert 1 < told.result.seconds < 30
    first, second = told.of("cell.completed")
    assert (first["status"], second["status"]) == ("timeout", "ok")
    assert 1 <= first["active_seconds"] < 5
    stamps = [event["ts"] for event in told.events]
    assert max(stamps) - min(stamps) > 1e8, "the stamps are the clock's"
    ended_well_recorded(told)


def test_a_run_is_over_in_time_whatever_the_clock_says(monkeypatch: pytest.MonkeyPatch, play: Play) -> None:
    true = time.time
    monkeypatch.setattr(time, "time", lambda: true() - 86400)
    with ScriptedModelServer({"root": cell("import time\ntime.sleep(60)")}) as server:
        began = time.monotonic()
        told = play(server, timeout=2.0)
    assert told.result.stop_reason == "timeout"
    assert time.monotonic() - began < 15


def test_a_run_whose_clock_went_back_has_spent_no_negative_time(monkeypatch: pytest.MonkeyPatch, play: Play) -> None:
    """How long a killed run took is read off the stamps of its trace."""
    true, back = time.time, 0.0
    monkeypatch.setattr(time, "time", lambda: true() - back)

    def root(request: ScriptedRequest) -> Any:
        nonlocal back
        back = 1e6
        return DRAFT

    with ScriptedModelServer({"root": root}) as server:
        told = play(server, max_turns=1)
    assert told.result.trace is not None
    lines = told.result.trace.read_text().splitlines(keepends=True)
    told.result.trace.write_text("".join(lines[:-1]))
    (told.result.trace.parent / "result.json").unlink()
    with ScriptedModelServer({"root": FINISH}) as server:
        resumed = play(server, resume=True, max_turns=5, timeout=60)
    assert resumed.result.seconds >= 0
    (event,) = resumed.of("run.resumed")
    assert event["seconds"] >= 0
