"""A Docker engine that is stopped or restarted under a run: one of the test's own, beside the machine's."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlm.kernels import leases, sandbox
from rlm.testing import ScriptedModelServer, ScriptedRequest
from tests.faults.conftest import FINISH, Play, cell, ended_well_recorded
from tests.needs import lacking

pytestmark = [
    pytest.mark.docker,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    # docker-py leaves the sockets of connections that fail to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Engine:
    """A dockerd with a socket, a pid file and folders of its own, ended by its own process id."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.address = f"unix://{folder}/d.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self._process is not None:
            return
        own = ("data-root", "exec-root")
        command = ["dockerd", "--host", self.address, "--pidfile", str(self._folder / "d.pid")]
        command += [part for name in own for part in (f"--{name}", str(self._folder / name))]
        command += ["--bridge=none", "--iptables=false", "--ip6tables=false"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        for _ in range(120):
            if subprocess.run(["docker", "-H", self.address, "info"], capture_output=True, timeout=20).returncode == 0:
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.25)
        log_tail = (self._folder / "log").read_text(encoding="utf-8")[-2000:]
        self.stop()
        lacking(f"a second engine cannot run here: {log_tail}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(60)
            self._process = None

    def containers(self) -> str:
        command = ["docker", "-H", self.address, "ps", "--all", "--quiet"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def started_engine(sandbox_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    if os.geteuid() or shutil.which("dockerd") is None:
        lacking("a second engine needs root and dockerd")
    engine = Engine(tmp_path_factory.mktemp("engine"))
    engine.start()
    saved = subprocess.Popen(["docker", "save", sandbox_image], stdout=subprocess.PIPE)
    subprocess.run(["docker", "-H", engine.address, "load"], stdin=saved.stdout, capture_output=True, check=True)
    assert saved.stdout is not None
    saved.stdout.close()
    assert saved.wait() == 0
    yield engine
    engine.stop()


@pytest.fixture
def own_engine(started_engine: Engine, monkeypatch: pytest.MonkeyPatch, isolated_env: Path) -> Engine:
    started_engine.start()
    monkeypatch.setenv("DOCKER_HOST", started_engine.address)
    return started_engine


PAID = "answer['content'] = ' '.join(llm_batch(['a', 'b']))\n"
CUT = cell(PAID + "llm_query('cut')\nimport time\ntime.sleep(60)")


def script(engine: Engine, *, restart: bool, finish: str = FINISH) -> dict[str, Any]:
    def cut() -> None:
        engine.stop()
        if restart:
            engine.start()

    async def sub(request: ScriptedRequest) -> str:
        if request.prompt == "cut":
            await asyncio.to_thread(cut)
        return "paid"

    return {"root": lambda request: finish if request.turn else CUT, "sub": sub}


def test_a_restarted_engine_costs_the_kernel_only(own_engine: Engine, play: Play) -> None:
    with ScriptedModelServer(script(own_engine, restart=True)) as server:
        told = play(server, sandbox="docker")
    assert (told.result.answer, told.result.stop_reason) == ("the answer", "answered"), told.result.error
    assert [event["reason"] for event in told.of("kernel.died")] == ["lost"]
    assert [event["sandbox_lost"] for event in told.of("kernel.restarted")] == [True]
    ended_well_recorded(told)
    assert own_engine.containers() == ""


def test_an_engine_that_stays_away_ends_the_run_with_its_draft_and_a_later_one_goes_on(
    own_engine: Engine, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "ENGINE_SECONDS", 1.0)
    with ScriptedModelServer(script(own_engine, restart=False)) as server:
        failed = play(server, sandbox="docker")
        assert failed.result.error is not None
        assert (failed.result.error.type, failed.result.exit_code) == ("SandboxUnavailable", 5)
        assert "engine" in failed.result.error.message
        assert (failed.result.answer, failed.result.turns) == ("paid paid", 2)
        ended_well_recorded(failed)
        asked = dict(server.request_counts)
    assert len(list(leases.default_root().glob("*.json"))) == 1, "a later command looks for what may be left"
    own_engine.start()
    mended = script(own_engine, restart=False)
    with ScriptedModelServer({**mended, "sub": "never asked again"}) as server:
        resumed = play(server, resume=True, sandbox="docker", cell_timeout=1)
        assert (resumed.result.answer, resumed.result.stop_reason) == ("the answer", "answered")
        assert asked == {"root": 2, "sub": 3}
        assert server.request_counts == {"sub": 1}, "but for the call that was cut off, all stands in the trace"
    assert own_engine.containers() == ""
