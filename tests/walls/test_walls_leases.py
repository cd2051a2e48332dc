"""Leases: unique claims, and the removal of what a killed host left, by whoever comes next."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rlm.kernels import cgroup, engine, environment, guestcode, leases, marks
from rlm.kernels.hostid import HostId, start_time

HOST = r"""
import asyncio, sys
from pathlib import Path
from rlm.kernels.select import choose
from rlm.protocols import SandboxSpec
import warnings; warnings.simplefilter("ignore")
CODE = '''
import os, signal, sys
os.write(1, b"up")
if sys.argv[-1] == "deaf":
    while True: signal.pause()
os.read(0, 1)
'''
async def main():
    launcher = await choose(sys.argv[1], lease_root=Path(sys.argv[2]))
    python = launcher._command[0]
    launcher._command = [python, "-I", "-S", "-c", CODE, sys.argv[3]]
    process = await launcher.launch(SandboxSpec(run_id="killed"))
    assert await process.read() == b"up"
    print(getattr(process, "container_name", ""), flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def killed_host(wall: str, lease_root: Path, behaviour: str) -> str:
    """Start a host process with one sandbox, SIGKILL it; returns the container's name."""
    host = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOST, wall, str(lease_root), behaviour), stdout=asyncio.subprocess.PIPE
    )
    assert host.stdout is not None
    name = (await host.stdout.readline()).decode().strip()
    assert leases.list_leftovers(root=lease_root, ask_engine=False) == []
    host.kill()
    await host.wait()
    return name


async def until(condition: Any, seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def containers() -> set[str]:
    return {name for name, _ in engine.labelled_containers()}


@pytest.mark.docker
async def test_a_container_ends_by_itself_when_its_host_is_killed(lease_root: Path, sandbox_image: str) -> None:
    name = await killed_host("docker", lease_root, "polite")
    await until(lambda: name not in containers())
    assert [leftover.kind for leftover in leases.reap(root=lease_root)] == ["lease"]
    assert os.listdir(lease_root) == []


@pytest.mark.docker
async def test_a_container_that_does_not_end_is_reaped(lease_root: Path, sandbox_image: str) -> None:
    name = await killed_host("docker", lease_root, "deaf")
    assert name in containers()
    found = await asyncio.to_thread(leases.list_leftovers, root=lease_root)
    assert ("container", name) in found[0].resources
    # Two commands may start at the same time.
    await asyncio.gather(*(asyncio.to_thread(leases.reap, root=lease_root) for _ in range(2)))
    await until(lambda: name not in containers())
    assert os.listdir(lease_root) == []


@pytest.mark.docker
async def test_a_container_whose_lease_was_lost_is_found_by_its_label(lease_root: Path, sandbox_image: str) -> None:
    name = await killed_host("docker", lease_root, "deaf")
    for file in os.listdir(lease_root):
        os.unlink(lease_root / file)
    left = [leftover for leftover in leases.list_leftovers(root=lease_root) if leftover.name == name]
    assert [leftover.kind for leftover in left] == ["container"]
    leases.remove(left[0])
    leases.remove(left[0])
    await until(lambda: name not in containers())


@pytest.mark.bwrap
@pytest.mark.parametrize("behaviour", ["polite", "deaf"])
async def test_bubblewrap_dies_with_its_host_and_its_control_group_is_reaped(
    lease_root: Path, sandbox_env: environment.SandboxEnv, behaviour: str
) -> None:
    await killed_host("bwrap", lease_root, behaviour)
    left = leases.list_leftovers(root=lease_root, ask_engine=False)
    groups = [Path(value) for kind, value in left[0].resources if kind == "cgroup"]
    assert bool(groups) == (os.geteuid() == 0)
    if behaviour == "polite":
        await until(lambda: not any((group / "cgroup.procs").read_text() for group in groups))
    await asyncio.to_thread(leases.reap, root=lease_root)
    assert not any(map(os.path.exists, groups))
    ((pid, started),) = [value.split(":") for kind, value in left[0].resources if kind == "process"]
    await until(lambda: start_time(int(pid)) != started)
    assert os.listdir(lease_root) == []


async def test_a_process_without_walls_is_reaped(lease_root: Path, sandbox_env: environment.SandboxEnv) -> None:
    await killed_host("process", lease_root, "deaf")
    (left,) = leases.list_leftovers(root=lease_root, ask_engine=False)
    ((kind, mark),) = left.resources
    assert kind == "mark"
    assert marks._marked(mark)
    await asyncio.to_thread(leases.reap, root=lease_root)
    await until(lambda: not marks._marked(mark))


def test_looking_for_nothing_takes_no_time(tmp_path: Path) -> None:
    began = time.perf_counter()
    assert leases.reap(root=tmp_path / "absent") == []
    assert time.perf_counter() - began < 0.1


def test_leases_are_unique_also_between_threads(tmp_path: Path) -> None:
    taken: list[leases.Lease] = []
    threads = [
        threading.Thread(target=lambda: taken.extend(leases.acquire(root=tmp_path) for _ in range(20)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({lease.uid for lease in taken}) == 80
    assert all(leases.FIRST_UID <= lease.uid <= leases.LAST_UID for lease in taken)
    assert leases.list_leftovers(root=tmp_path, ask_engine=False) == []
    for lease in taken:
        lease.release()
    assert os.listdir(tmp_path) == []


def test_what_is_not_a_lease_is_left_alone(tmp_path: Path) -> None:
    for name, content in (("200001.json", ""), ("200002.json", "[]"), ("200003.json", '{"host": {}}'), ("x.tmp", "")):
        (tmp_path / name).write_text(content, encoding="utf-8")
    assert leases.reap(root=tmp_path) == []
    assert len(os.listdir(tmp_path)) == 4


def test_only_a_process_of_this_machine_can_be_known_to_be_dead() -> None:
    me = HostId.current()
    ended = subprocess.Popen(["true"])
    started = start_time(ended.pid)
    ended.wait()
    assert started is None or not replace(me, pid=os.getpid()).is_dead()
    assert not me.is_dead()
    assert HostId.decode(me.encode()) == me
    assert replace(me, pid=ended.pid, started="1").is_dead()
    assert replace(me, started="1").is_dead()  # the pid was given to another process
    assert replace(me, boot="another").is_dead()
    assert not replace(me, hostname="another", boot="another").is_dead()
    assert not replace(me, pid_namespace="pid:[1]", started="1").is_dead()
    assert HostId.decode("no|label") is None
    assert HostId.decode("a|b|c|d|e") is None


def test_a_zombie_is_dead() -> None:
    child = subprocess.Popen(["true"])
    try:
        deadline = time.monotonic() + 5
        while start_time(child.pid) is not None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        child.wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="control groups are root's")
def test_a_control_group_ends_what_is_in_it() -> None:
    group = cgroup.create(f"rlm-test-{os.getpid()}", memory=64 << 20, pids=16, cpus=1)
    script = " ".join(f"echo $$ > {entrance};" for entrance in group.entrances) + " echo in; sleep 60 & sleep 60"
    child = subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"in\n"
        group.remove()
        assert child.wait(5) == -signal.SIGKILL
    assert not any(folder.exists() for folder in group.folders)
    group.remove()


def test_a_lease_says_whose_it_is_before_anything_is_made(tmp_path: Path) -> None:
    lease = leases.acquire(root=tmp_path)
    lease.note("container", "rlm-x")
    (file,) = os.listdir(tmp_path)
    data = json.loads((tmp_path / file).read_text(encoding="utf-8"))
    assert data["host"]["pid"] == os.getpid()
    assert data["resources"] == [["container", "rlm-x"]]
    assert (tmp_path.stat().st_mode & 0o777) in (0o700, 0o755)
    lease.release()
    lease.release()


@pytest.fixture(autouse=True)
def _the_guest_is_ready() -> None:
    guestcode.prepare()
