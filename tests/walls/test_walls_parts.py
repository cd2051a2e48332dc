"""The small parts of the walls: the demultiplexer, the meaning of statuses, mounts, the profile, the flags' check."""

from __future__ import annotations

import copy
import itertools
import os
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm.errors import ConfigError, InputError, ProtocolError, SandboxError, SandboxUnavailable
from rlm.kernels import engine, leases, seccomp, select
from rlm.kernels.bwrap import BwrapLauncher
from rlm.kernels.container import engine_time
from rlm.kernels.deaths import death_from_status
from rlm.kernels.docker import DockerLauncher, container_uid
from rlm.kernels.dockerstream import Demultiplexer
from rlm.kernels.limits import checked_mounts, environment
from rlm.kernels.process import ProcessLauncher
from rlm.protocols import Mount, SandboxSpec

FRAMES = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=300)), max_size=20)


@given(FRAMES, st.lists(st.integers(1, 50), min_size=1))
def test_the_streams_come_apart_however_they_are_cut(frames: list[tuple[int, bytes]], sizes: list[int]) -> None:
    wire = b"".join(struct.pack(">BxxxI", stream, len(data)) + data for stream, data in frames)
    stderr: list[bytes] = []
    demultiplexer = Demultiplexer(stderr.append)
    out = b""
    at = 0
    for size in itertools.cycle(sizes):
        if at >= len(wire):
            break
        out += demultiplexer.feed(wire[at : at + size])
        at += size
    assert out == b"".join(data for stream, data in frames if stream == 1)
    assert b"".join(stderr) == b"".join(data for stream, data in frames if stream == 2)


def test_a_frame_of_another_descriptor_is_refused() -> None:
    with pytest.raises(ProtocolError):
        Demultiplexer(lambda data: None).feed(struct.pack(">BxxxI", 7, 1) + b"x")


@pytest.mark.parametrize(
    ("status", "killed", "oom_kills", "reason"),
    [
        (0, False, 0, "crash"),
        (3, False, 0, "crash"),
        (3, False, 1, "crash"),
        (137, False, 1, "oom"),
        (137, False, 0, "lost"),
        (-9, False, 1, "oom"),
        (-9, False, 0, "lost"),
        (137, True, 1, "killed"),
        (139, False, 0, "crash"),
        (255, False, 0, "crash"),
    ],
)
def test_what_a_status_means(status: int, killed: bool, oom_kills: int, reason: str) -> None:
    assert death_from_status(status, killed=killed, oom_kills=oom_kills).reason == reason


def test_mounts_are_resolved_and_ordered(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    mounts = checked_mounts([Mount(str(tmp_path / "link"), "/input/1/x"), Mount(str(tmp_path), "/input/1")])
    assert mounts == (Mount(str(tmp_path), "/input/1"), Mount(str(tmp_path / "a"), "/input/1/x"))


@pytest.mark.parametrize(
    "source", ["/", "/proc", "/proc/1", "/sys", "/dev", "/run", "/dev/null", "/no/such/file", "/var/run"]
)
def test_the_inner_life_of_the_host_is_not_mounted(source: str) -> None:
    with pytest.raises(InputError):
        checked_mounts([Mount(source, "/input/0")])


def test_a_socket_is_not_mounted(tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "s"))
        with pytest.raises(InputError):
            checked_mounts([Mount(str(tmp_path / "s"), "/input/0")])


@pytest.mark.parametrize("target", ["/", "/tmp", "/input/../etc", "input/0", "/inputs", "/input/", "/rlm/guest"])
def test_mounts_go_where_mounts_belong(target: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        checked_mounts([Mount(str(tmp_path), target)])


def test_the_environment_holds_nothing_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert "sk-secret" not in str(environment(SandboxSpec(run_id="r")))
    assert environment(SandboxSpec(run_id="r", cpus=2.5))["OMP_NUM_THREADS"] == "3"


def test_the_profile_is_an_allow_list_without_other_abis() -> None:
    profile = seccomp.profile()
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert all(entry["subArchitectures"] == [] for entry in profile["archMap"])
    names = [name for rule in profile["syscalls"] for name in rule["names"]]
    conditional = {"socket", "socketpair", "clone", "personality", "ioctl"}
    for rule in profile["syscalls"]:
        assert bool(conditional & set(rule["names"])) == bool(rule.get("args"))
    assert len(names) - len([name for name in names if name in conditional]) == len(set(names) - conditional)
    assert {"ptrace", "bpf", "mount", "unshare", "setns", "io_uring_setup", "keyctl", "userfaultfd"}.isdisjoint(names)


def test_the_profile_compiles_in_a_moment() -> None:
    began = time.perf_counter()
    program = seccomp.compile_bpf()
    assert len(program) % 8 == 0
    assert len(program) > 100 * 8
    assert time.perf_counter() - began < 1


@given(st.integers(leases.FIRST_UID, leases.LAST_UID))
def test_a_container_never_runs_as_root(uid: int) -> None:
    assert container_uid(uid, remapped=False) == uid
    assert 1000 <= container_uid(uid, remapped=True) < 65536


def test_engine_times_are_read_with_their_fraction() -> None:
    assert engine_time("1970-01-02T00:00:01.5Z") == 86401.5
    assert engine_time("1970-01-01T00:00:00Z") == 0


@pytest.mark.docker
async def test_an_engine_that_drops_a_flag_is_not_trusted(sandbox_image: str, lease_root: Path) -> None:
    from rlm.kernels import dockerflags

    spec = SandboxSpec(run_id="r")
    launcher = DockerLauncher(image=sandbox_image, lease_root=lease_root)
    container = await launcher.launch(spec)
    try:
        client = engine.connect()
        inspected = client.api.inspect_container(container.container_name)
        client.close()
    finally:
        await container.aclose()
    uid = int(inspected["Config"]["User"].split(":")[0])
    dockerflags.verify(spec, inspected, uid=uid, swap_limit=True)
    changes: list[tuple[str, str, Any]] = [
        ("HostConfig", "NetworkMode", "bridge"),
        ("HostConfig", "CapDrop", None),
        ("HostConfig", "CapAdd", ["SYS_ADMIN"]),
        ("HostConfig", "SecurityOpt", ["no-new-privileges"]),
        ("HostConfig", "SecurityOpt", ["no-new-privileges", "seccomp=unconfined"]),
        (
            "HostConfig",
            "SecurityOpt",
            [option for option in inspected["HostConfig"]["SecurityOpt"] if "seccomp" in option],
        ),
        ("HostConfig", "ReadonlyRootfs", False),
        ("HostConfig", "PidsLimit", None),
        ("HostConfig", "Memory", 0),
        ("HostConfig", "MemorySwap", -1),
        ("HostConfig", "NanoCpus", 0),
        ("HostConfig", "Ulimits", None),
        ("HostConfig", "IpcMode", "host"),
        ("HostConfig", "Privileged", True),
        ("HostConfig", "Binds", ["/:/host"]),
        ("HostConfig", "Tmpfs", {}),
        ("HostConfig", "LogConfig", {"Type": "json-file"}),
        ("Config", "User", ""),
    ]
    for part, key, value in changes:
        altered = copy.deepcopy(inspected)
        altered[part][key] = value
        with pytest.raises(SandboxError, match="did not take"):
            dockerflags.verify(spec, altered, uid=uid, swap_limit=True)


@pytest.mark.docker
async def test_a_missing_image_says_how_to_get_it(lease_root: Path) -> None:
    launcher = DockerLauncher(image="rlm-no-such-image:none", lease_root=lease_root)
    with pytest.raises(SandboxUnavailable, match="rlm image build"):
        await launcher.check()
    with pytest.raises(SandboxUnavailable, match="rlm image build"):
        await launcher.launch(SandboxSpec(run_id="r"))
    assert os.listdir(lease_root) == []


async def test_auto_without_anything_says_how_to_get_either(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxUnavailable) as caught:
        await select.choose("auto")
    message = str(caught.value)
    assert "Docker engine" in message
    assert "apt install bubblewrap" in message
    assert "\n" not in message
    with pytest.raises(SandboxUnavailable, match="no Docker engine answers"):
        await select.choose("docker")
    with pytest.raises(SandboxUnavailable, match="bubblewrap is not installed"):
        await select.choose("bwrap")


@pytest.mark.bwrap
async def test_auto_without_an_engine_takes_bubblewrap(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sandbox_env: object
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    assert (await select.choose("auto")).name == "bwrap"


@pytest.mark.bwrap
async def test_a_broken_root_is_an_error_with_bubblewraps_own_words(tmp_path: Path, lease_root: Path) -> None:
    launcher = BwrapLauncher(root=tmp_path / "absent", lease_root=lease_root)
    process = await launcher.launch(SandboxSpec(run_id="r"))
    assert await process.read() == b""
    assert (await process.wait()).reason == "crash"
    await process.aclose()
    assert "absent" in process.stderr_tail()
    assert os.listdir(lease_root) == []


async def test_a_process_without_walls_warns_works_and_ends_with_all_its_children(
    tmp_path: Path, lease_root: Path, sandbox_env: Any
) -> None:
    code = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen(['sleep', '60'], start_new_session=True, stdin=-3, stdout=-3, stderr=-3)\n"
        "os.write(1, (str(child.pid) + ' ' + os.environ['RLM_SITE']).encode())\nos.read(0, 1)"
    )
    launcher = ProcessLauncher(
        python=sandbox_env.python,
        site=sandbox_env.site,
        command=[str(sandbox_env.python), "-c", code],
        lease_root=lease_root,
    )
    with pytest.warns(UserWarning, match="no wall"):
        process = await launcher.launch(SandboxSpec(run_id="r"))
    child, site = (await process.read()).decode().split()
    assert site == str(sandbox_env.site)
    await process.aclose()
    assert (await process.wait()).reason == "killed"
    from rlm.kernels.hostid import start_time

    assert start_time(int(child)) is None
    assert os.listdir(lease_root) == []
