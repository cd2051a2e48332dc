"""`kill -9` of the command at random points, ten times in one run: nothing that had arrived is asked again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rlm.testing import Fault, Reply, ScriptedModelServer
from tests.trace import rich
from tests.trace.test_resume import on_record, wait_for

chance = random.Random(20261124)
ROOT = Path(__file__).resolve().parents[2]
KILLS = 10
DELAY = 0.2
"""Seconds before each reply."""
IN_FLIGHT_SECONDS = 1.0
"""A reply that left the server longer before the kill must be on record; the machine may be busy."""


class Clocked:
    """The scripted replies, a little slow, and when each left."""

    def __init__(self) -> None:
        self.left: list[float] = []

    def script(self) -> dict[str, Any]:
        return {model: self._timed(reply) for model, reply in rich.replies().items()}

    def _timed(self, reply: Any) -> Any:
        def answer(request: Any) -> Any:
            said = reply(request)
            self.left.append(time.monotonic() + DELAY)
            if isinstance(said, Fault):
                return said
            return Reply(**said, delay=DELAY) if isinstance(said, dict) else Reply(text=said, delay=DELAY)

        return answer


def start(arguments: list[str]) -> subprocess.Popen[bytes]:
    nowhere = subprocess.DEVNULL
    command = [sys.executable, str(ROOT / "cli.py"), *arguments]
    return subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere)


def killed(base_url: str, runs: Path, document: Path, clocked: Clocked, server: Any, most: int) -> int:
    """One run, killed up to `most` times, and then let end; returns how often it was killed."""
    tool = f"{ROOT}/tests/trace/rich.py"
    begin = ["ask", rich.QUESTION, str(document), "--model", "root", "--sub-model", "sub", "--depth", "2"]
    begin += ["--base-url", base_url, "--sandbox", "process", "--trace-dir", str(runs)]
    begin += ["--tool", f"{tool}:search", "--function", f"double={tool}:double"]
    again = ["resume", "--trace-dir", str(runs)]
    lost = kills = 0
    while kills < most:
        begun = [folder for folder in runs.glob("*-*") if rich.events(folder)]
        process = start(again if begun else begin)
        time.sleep(chance.uniform(1.0, 2.6))
        at = time.monotonic()
        os.kill(process.pid, signal.SIGKILL)
        if process.wait() != -signal.SIGKILL:
            break  # it was faster
        wait_for(lambda: server.in_flight == 0)
        if not any(rich.events(folder) for folder in runs.glob("*-*")):
            continue  # it had not begun
        kills += 1
        recorded = sum(on_record(rich.events(folder)) for folder in runs.glob("*-*"))
        arrived = sum(left < at - IN_FLIGHT_SECONDS for left in clocked.left)
        assert recorded >= arrived - lost, "a reply that had arrived is on record"
        lost = server.request_count - recorded
    ended = subprocess.run([sys.executable, str(ROOT / "cli.py"), *again, "--quiet"], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout.strip()) == (0, rich.ANSWER), ended.stderr
    (folder,) = runs.glob("*-*")
    assert on_record(rich.events(folder)) == rich.REQUESTS
    assert server.request_count == rich.REQUESTS + lost, "only what was in flight at a kill was asked again"
    return kills


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_runs_that_are_killed_pay_nothing_twice(isolated_env: Path) -> None:
    kills = 0
    for number in range(KILLS):
        document, runs = isolated_env / "document.txt", isolated_env / f"runs-{number}"
        document.write_text(rich.CONTEXT)
        clocked = Clocked()
        with ScriptedModelServer(clocked.script()) as server:
            kills += killed(server.base_url, runs, document, clocked, server, KILLS - kills)
            assert server.errors == []
        if kills == KILLS:
            return
    pytest.fail(f"only {kills} kills in {KILLS} runs")
