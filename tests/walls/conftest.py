"""Launchers for the tests of the walls, and a way to run a piece of Python behind each."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from rlm.kernels import environment
from rlm.kernels.bwrap import BwrapLauncher
from rlm.kernels.docker import DockerLauncher
from rlm.kernels.limits import Strength
from rlm.protocols import Death, Launcher, Process, SandboxSpec

WALLS = [pytest.param("docker", marks=pytest.mark.docker), pytest.param("bwrap", marks=pytest.mark.bwrap)]

SPEC = SandboxSpec(run_id="walls", memory=256 << 20, pids=64, tmp_bytes=16 << 20, cpus=1.5)

MakeLauncher = Callable[..., Launcher]
RunInside = Callable[..., Awaitable["Finished"]]


class Finished:
    """What a piece of code behind a wall did."""

    def __init__(self, output: bytes, death: Death, stderr: str) -> None:
        self.output = output
        self.death = death
        self.stderr = stderr

    def json(self) -> Any:
        assert self.output, self.stderr
        return json.loads(self.output)


@pytest.fixture(scope="session")
def walls(request: pytest.FixtureRequest) -> Callable[[str, str, Path], Launcher]:
    """`(wall, code, lease_root)` -> a launcher whose agent is that code."""

    def make(wall: str, code: str, lease_root: Path) -> Launcher:
        command = (environment.GUEST_PYTHON, "-I", "-S", "-c", code)
        if wall == "docker":
            return DockerLauncher(
                image=request.getfixturevalue("sandbox_image"), command=command, lease_root=lease_root
            )
        env: environment.SandboxEnv = request.getfixturevalue("sandbox_env")
        return BwrapLauncher(root=env.root, command=command, lease_root=lease_root)

    return make


@pytest.fixture(params=WALLS)
def wall(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def lease_root(tmp_path: Path) -> Path:
    return tmp_path / "leases"


@pytest.fixture
def launcher(wall: str, walls: Callable[[str, str, Path], Launcher], lease_root: Path) -> Callable[[str], Launcher]:
    """Code -> a launcher behind the wall under test."""
    return lambda code: walls(wall, code, lease_root)


@pytest.fixture
def run_inside(launcher: Callable[[str], Launcher]) -> RunInside:
    """Run code to its end behind the wall under test."""

    async def run(code: str, spec: SandboxSpec = SPEC, *, stdin: bytes = b"") -> Finished:
        process = await launcher(code).launch(spec)
        return await finish(process, stdin)

    return run


async def finish(process: Process, stdin: bytes = b"") -> Finished:
    """Read everything to the end, and clean up."""
    try:
        if stdin:
            process.write(stdin)
        output = b""
        while data := await process.read():
            output += data
        death = await process.wait()
    finally:
        await process.aclose()
    return Finished(output, death, process.stderr_tail())


__all__ = ["SPEC", "WALLS", "Finished", "RunInside", "Strength", "finish"]
