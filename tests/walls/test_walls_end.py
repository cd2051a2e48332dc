"""How sandboxes end: by themselves, by the host, by a limit, from outside; and that nothing is left then."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from rlm.kernels import engine, leases
from rlm.kernels.docker import DockerLauncher
from rlm.kernels.process import ProcessLauncher
from rlm.protocols import SandboxSpec

SPEC = SandboxSpec(run_id="walls", memory=128 << 20, pids=64, tmp_bytes=16 << 20)
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="without root the limits hold per process")

ECHO = "import os\nos.write(1, b'up')\nwhile data := os.read(0, 65536): os.write(1, data)\n"


async def test_the_stream_carries_any_bytes_both_ways_and_ends_with_stdin(launcher: Any) -> None:
    process = await launcher(ECHO).launch(SPEC)
    try:
        assert await process.read() == b"up"
        sent = os.urandom(1 << 20) * 4
        writer = asyncio.create_task(_write_all(process, sent))
        received = bytearray()
        while len(received) < len(sent):
            received += await process.read()
        await writer
        assert bytes(received) == sent
    finally:
        await process.aclose()


def control_groups() -> list[str]:
    """Those of this process, anywhere."""
    return [path for path, _, _ in os.walk("/sys/fs/cgroup") if path.endswith(f"-{os.getpid()}") and "/rlm-" in path]


async def _write_all(process: Any, data: bytes) -> None:
    for start in range(0, len(data), 1 << 16):
        process.write(data[start : start + (1 << 16)])
        await process.drain()


async def test_stderr_is_kept_apart_and_bounded(run_inside: Any) -> None:
    finished = await run_inside("import os\nfor i in range(3000): os.write(2, b'%05d noise ' % i)\nos.write(1, b'out')")
    assert finished.output == b"out"
    assert finished.stderr.endswith("02999 noise")
    assert len(finished.stderr) <= 8192


async def test_death_is_seen_at_once_and_an_exit_is_a_crash(launcher: Any) -> None:
    process = await launcher("import os, sys; os.write(1, b'up'); os.read(0, 1); os._exit(3)").launch(SPEC)
    try:
        assert await process.read() == b"up"
        process.write(b"x")
        began = time.monotonic()
        assert await process.read() == b""
        assert time.monotonic() - began < 0.5
        death = await process.wait()
        assert (death.reason, "3" in death.detail) == ("crash", True)
    finally:
        await process.aclose()


async def test_a_signal_is_a_crash_with_its_name(run_inside: Any) -> None:
    # As PID 1 it can only end by a fault of its own.
    death = (await run_inside("import ctypes; ctypes.string_at(0)")).death
    assert (death.reason, "SIGSEGV" in death.detail) == ("crash", True)


async def test_the_code_cannot_kill_the_agent(launcher: Any) -> None:
    code = "import os\npid = os.fork()\nif pid == 0:\n    os.kill(1, 9)\n    os._exit(0)\nos.waitpid(pid, 0)\n" + ECHO
    process = await launcher(code).launch(SPEC)
    try:
        assert await process.read() == b"up"
    finally:
        await process.aclose()


async def test_kill_ends_everything_and_says_so(launcher: Any, lease_root: Path) -> None:
    code = "import os, time\nfor _ in range(3):\n    if os.fork() == 0: time.sleep(60)\n" + ECHO
    process = await launcher(code).launch(SPEC)
    assert await process.read() == b"up"
    assert len(os.listdir(lease_root)) == 1
    began = time.monotonic()
    await process.kill()
    assert time.monotonic() - began < 2
    assert (await process.wait()).reason == "killed"
    await process.aclose()
    await process.aclose()
    assert not os.listdir(lease_root)
    assert leases.list_leftovers(root=lease_root) == []


async def test_the_memory_limit_ends_the_agent_as_oom(run_inside: Any) -> None:
    death = (await run_inside("x = []\nwhile True: x.append(bytearray(1 << 20))")).death
    if os.geteuid() == 0:
        assert death.reason == "oom"
    else:
        assert death.reason in ("oom", "crash")


OOM_IN_A_CHILD = r"""
import os
def kills():
    for path in ("/rlm/cgroup/memory.events", "/rlm/cgroup/memory.oom_control",
                 "/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        try:
            return int(dict(line.split() for line in open(path))["oom_kill"])
        except OSError:
            pass
before = kills()
pid = os.fork()
if pid == 0:
    open("/proc/self/oom_score_adj", "w").write("500")
    x = []
    while True: x.append(bytearray(1 << 20))
status = os.waitpid(pid, 0)[1]
print(os.WTERMSIG(status), kills() - before)
"""


@ROOT
async def test_a_child_that_runs_out_of_memory_is_counted_where_the_agent_can_read_it(run_inside: Any) -> None:
    assert (await run_inside(OOM_IN_A_CHILD)).output.split() == [b"9", b"1"]


@ROOT
async def test_tmp_counts_as_memory(run_inside: Any) -> None:
    spec = SandboxSpec(run_id="walls", memory=64 << 20, tmp_bytes=256 << 20)
    code = "with open('/tmp/x', 'wb') as file:\n    for _ in range(200): file.write(bytes(1 << 20))\nprint('written')"
    finished = await run_inside(code, spec)
    assert finished.death.reason == "oom"
    assert finished.output == b""


async def test_tmp_and_processes_are_limited(run_inside: Any) -> None:
    code = r"""
import errno, os, threading
try:
    with open("/tmp/x", "wb") as file:
        with open("/tmp/y", "wb") as other:
            for _ in range(15): file.write(bytes(1 << 20)), other.write(bytes(1 << 20))
except OSError as error:
    print(errno.errorcode[error.errno])
children = []
try:
    while len(children) < 1000:
        pid = os.fork()
        if pid == 0:
            import time; time.sleep(60)
        children.append(pid)
except OSError as error:
    print(errno.errorcode[error.errno], len(children))
for pid in children: os.kill(pid, 9)
for pid in children: os.waitpid(pid, 0)
pid = os.fork()
if pid == 0: os._exit(0)
print(os.waitpid(pid, 0)[1])
"""
    full, (limit, children), after = [line.split() for line in (await run_inside(code)).output.decode().splitlines()]
    assert full == ["ENOSPC"]
    assert limit == "EAGAIN"
    assert 40 < int(children) <= 65
    assert after == ["0"]


@ROOT
async def test_processor_time_is_limited(run_inside: Any) -> None:
    spec = SandboxSpec(run_id="walls", cpus=0.25)
    code = "import time\nt, c = time.monotonic(), time.process_time()\nwhile time.monotonic() - t < 1: pass\n"
    used = float((await run_inside(code + "print(time.process_time() - c)", spec)).output)
    assert used < 0.6


async def test_a_sandbox_that_is_ended_from_outside_is_lost(launcher: Any, wall: str) -> None:
    process = await launcher(ECHO).launch(SPEC)
    try:
        assert await process.read() == b"up"
        if wall == "docker":
            await asyncio.to_thread(engine.remove_container, process.container_name)
        else:
            signal.pidfd_send_signal(process.first, signal.SIGKILL)
        assert await process.read() == b""
        assert (await process.wait()).reason == "lost"
    finally:
        await process.aclose()


async def test_a_cancelled_launch_leaves_nothing(launcher: Any, lease_root: Path) -> None:
    for delay in (0.0, 0.01, 0.05):
        launch = asyncio.create_task(launcher(ECHO).launch(SPEC))
        await asyncio.sleep(delay)
        launch.cancel()
        try:
            process = await launch
        except asyncio.CancelledError:
            pass
        else:
            await process.aclose()
    assert not os.listdir(lease_root)
    assert control_groups() == []


async def test_many_at_once(launcher: Any, lease_root: Path) -> None:
    make = launcher(ECHO)
    processes = await asyncio.gather(*(make.launch(SPEC) for _ in range(8)))
    try:
        for number, process in enumerate(processes):
            process.write(b"%d" % number)
        for number, process in enumerate(processes):
            seen = b""
            while len(seen) < 3:
                seen += await process.read()
            assert seen == b"up%d" % number
    finally:
        await asyncio.gather(*(process.aclose() for process in processes))
    assert not os.listdir(lease_root)


async def test_a_cancelled_start_without_a_wall_leaves_nothing(lease_root: Path) -> None:
    launcher = ProcessLauncher(python=Path(sys.executable), site=Path("/"), lease_root=lease_root)
    for delay in (0.0, 0.002, 0.01):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="the process sandbox has no wall")
            launch = asyncio.create_task(launcher.launch(SPEC))
            await asyncio.sleep(delay)
            launch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await (await launch).aclose()
    assert not os.listdir(lease_root)


class EngineProxy:
    """Stands between a client and the engine's socket; once it is cut, every connection ends at once.

    It goes on listening: docker-py leaks a socket for each connection that is refused.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._is_cut = False

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self._path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        engine_reader, engine_writer = await asyncio.open_unix_connection("/var/run/docker.sock")
        self._writers += [writer, engine_writer]
        for source, sink in ((reader, engine_writer), (engine_reader, writer)):
            self._tasks.append(asyncio.create_task(self._pump(source, sink)))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):
                sink.write(data)
                await sink.drain()
            sink.write_eof()

    async def cut(self) -> None:
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks)

    async def aclose(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()


@pytest.mark.docker
@pytest.mark.skipif(not Path("/var/run/docker.sock").is_socket(), reason="the engine listens elsewhere")
async def test_an_engine_that_goes_away_is_told_and_its_container_ends(
    sandbox_image: str, lease_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = EngineProxy(tmp_path / "engine.sock")
    await proxy.open()
    with monkeypatch.context() as patched:
        patched.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine.sock")
        command = ("/usr/local/bin/python3", "-I", "-c", ECHO)
        process = await DockerLauncher(image=sandbox_image, command=command, lease_root=lease_root).launch(SPEC)
        assert await process.read() == b"up"
        await proxy.cut()
        assert await process.read() == b""
        assert (await asyncio.wait_for(process.wait(), 5)).reason == "lost"
        await process.aclose()
        await proxy.aclose()
    # Without its engine it cannot be removed, so the lease stays for the next command.
    assert len(os.listdir(lease_root)) == 1
    for _ in range(100):
        if process.container_name not in dict(await asyncio.to_thread(engine.labelled_containers)):
            return
        await asyncio.sleep(0.05)
    pytest.fail("the container outlived its stream")
