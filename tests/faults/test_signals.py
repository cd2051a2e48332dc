"""SIGINT and SIGTERM at random points of a real command: its result is printed, and nothing of it is left."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rlm.kernels import leases, marks, scratch
from rlm.testing import Reply, ScriptedModelServer, ScriptedRequest
from tests.faults.conftest import cell, read

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]

ROOT = Path(__file__).resolve().parents[2]
RUNS = 20
STEPS = [
    "answer['content'] = 'the draft'",
    "out = llm_batch([f'part {i}' for i in range(40)])",
    "kids = rlm_batch(['which?'] * 3, contexts=['x', 'y', 'z'])",
    "import subprocess\nsubprocess.Popen(['sleep', '600'])",
    "import time\ntime.sleep(0.3)",
    "try:\n    while True: pass\nexcept BaseException: pass",
    "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
]


def endless(request: ScriptedRequest) -> Reply:
    """Cells of every kind, one after the other, that never come to an answer."""
    return Reply(text=cell(f"{STEPS[request.turn % len(STEPS)]}\nn = {request.turn}"), chunk_delay=0.01)


def leaf(request: ScriptedRequest) -> Any:
    return endless(request) if request.stream else Reply(text="a reply", delay=0.05)


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for the signal."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        mask = next(int(line.split()[1], 16) for line in status if line.startswith("SigCgt"))
    return bool(mask >> (number - 1) & 1)


def marks_now() -> list[str]:
    """The marks of the processes in the sandboxes that there are leases for."""
    found = []
    for path in leases.default_root().glob("*.json"):
        resources = json.loads(path.read_text(encoding="utf-8"))["resources"]
        found += [value for kind, value in resources if kind == "mark"]
    return found


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_signals_at_random_points_end_the_command_with_its_result_and_leave_nothing(isolated_env: Path) -> None:
    chance = random.Random(20261124)
    document = isolated_env / "document.txt"
    document.write_text("a document\n" * 100, encoding="utf-8")
    drafts = 0
    with ScriptedModelServer({"root": endless, "sub": leaf}) as server:
        command = [sys.executable, str(ROOT / "cli.py"), "ask", "q", str(document), "--json", "--depth", "2"]
        command += ["--model", "root", "--sub-model", "sub", "--base-url", server.base_url, "--sandbox", "process"]
        command += ["--trace-dir", str(isolated_env / "runs"), "--max-turns", "1000", "--max-sub-calls", "100000"]
        for number in range(RUNS):
            name = chance.choice([signal.SIGINT, signal.SIGTERM])
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            try:
                while not catches(process.pid, signal.SIGTERM):
                    time.sleep(0.01)
                time.sleep(chance.choice([0.0, 0.1, 0.5, 1.5]) + chance.random())
                started = marks_now()
                process.send_signal(name)
                out, err = process.communicate(timeout=30)
            finally:
                process.kill()
                process.wait()
            where = f"run {number}, {name.name}: {err[-2000:]}"
            assert process.returncode == 130, where
            assert "Traceback" not in err, where
            result = json.loads(out)
            assert result["stop_reason"] == "interrupted", where
            events = read(Path(result["trace"]))
            assert events[-1]["result"] == result, where
            changes = [event for event in events if event["type"] == "answer.changed" and event["rollout"] == "0"]
            assert result["answer"] == (changes[-1]["content"] if changes else ""), where
            drafts += bool(changes)
            assert [mark for mark in started if marks._marked(mark)] == [], where
            assert left(leases.default_root()) == [], where
            assert left(scratch.default_root()) == [], where
        assert server.errors == []
    assert 0 < drafts < RUNS, "early and late points were among them"
    assert os.listdir(isolated_env / "runs")
