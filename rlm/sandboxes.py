"""The sandbox of a run: a launcher that works here, and what is to be in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlm.config import Settings
from rlm.context import PreparedInput
from rlm.errors import ConfigError, SandboxUnavailable
from rlm.installs import Confirm, InstallHandler, refuse
from rlm.kernels import image, packages, pins, requirement
from rlm.kernels.scratch import scratch_dir
from rlm.kernels.select import choose
from rlm.protocols import Emit, Handler, Launcher, Mount, SandboxSpec

PACKAGES = "/packages"
PIDS, CHILD_PIDS = 256, 16
"""Processes of a sandbox, and more of them for each child that may be alive."""
CHILD_MEMORY = 64 << 20
"""Bytes for each child that may be alive."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What a kernel session needs to start."""

    launcher: Launcher
    spec: SandboxSpec
    handlers: Mapping[str, Handler]


def package_lines(settings: Settings) -> list[str]:
    """The packages in the sandbox, for the root prompt: names, with the descriptions that the user gave."""
    asked = [f"{name} ({text})" if text else name for name, text in settings.packages.items()]
    return [*(name for name in pins.offered() if name not in settings.packages), *asked]


def check_packages(settings: Settings) -> None:
    """Raise `ConfigError` for packages that cannot be asked for, or allowed."""
    for name in settings.packages:
        requirement.parse(name)
    for name in settings.allow_install:
        if requirement.parse(name).name != pins.normalised(name):
            raise ConfigError(f"allow_install: {name!r} is not a name alone")


@asynccontextmanager
async def open_sandbox(
    settings: Settings,
    prepared: PreparedInput,
    run_id: str,
    *,
    guest: Mapping[str, Any],
    emit: Emit,
    confirm: Confirm | None = None,
) -> AsyncIterator[Sandbox]:
    """Choose a launcher, building what it needs at its first use, and install the packages.

    `guest` is what the kernels are to know beside the input. Raises `SandboxUnavailable` and `SandboxError`.
    """
    try:
        launcher = await choose(settings.sandbox, runtime=settings.runtime, progress=_notices(emit))
    except OSError as error:
        raise SandboxUnavailable(f"what the sandbox is made of cannot be kept: {error}") from error
    installs = bool(settings.packages or settings.allow_install or confirm)
    if not installs:
        yield Sandbox(launcher, _spec(settings, prepared, run_id, launcher, guest), {"install": refuse})
        return
    with scratch_dir() as scratch:
        # The sandbox's user is another one, and enters by the mount alone.
        folder = scratch / "packages"
        folder.mkdir(mode=0o755)
        folder.chmod(0o755)
        target = await asyncio.to_thread(_target, launcher)
        if settings.packages:
            await packages.install(list(settings.packages), target=target, into=folder)
        install = InstallHandler(folder, target, allow=settings.allow_install, confirm=confirm, emit=emit)
        spec = _spec(settings, prepared, run_id, launcher, guest, packages=folder)
        yield Sandbox(launcher, spec, {"install": install})


def _spec(
    settings: Settings,
    prepared: PreparedInput,
    run_id: str,
    launcher: Launcher,
    guest: Mapping[str, Any],
    *,
    packages: Path | None = None,
) -> SandboxSpec:
    mounted = launcher.name != "process"
    config: dict[str, Any] = {**guest, "input": prepared.config if mounted else prepared.local_config()}
    config["children"] = settings.depth > 1
    mounts = prepared.mounts
    if packages:
        config["packages_dir"] = PACKAGES if mounted else str(packages)
        mounts = (*mounts, Mount(str(packages), PACKAGES))
    live = sum(settings.child_places)
    memory = settings.memory or max(prepared.memory, 3 * prepared.bytes + CHILD_MEMORY * live)
    pids = PIDS + CHILD_PIDS * live
    return SandboxSpec(run_id, mounts=mounts, memory=memory, cpus=settings.cpus, pids=pids, config=config)


def _target(launcher: Launcher) -> packages.Target:
    """The interpreter that packages are for: the image's own with Docker, else the host's."""
    if launcher.name != "docker":
        return packages.Target()
    python, machine = image.python_of(image.ensure())
    return packages.Target(python=python, machine=machine)


def _notices(emit: Emit) -> Callable[[str], None]:
    """Progress comes from a thread; events belong to the loop's."""
    loop = asyncio.get_running_loop()
    return lambda line: _soon(loop, emit, line)


def _soon(loop: asyncio.AbstractEventLoop, emit: Emit, line: str) -> None:
    loop.call_soon_threadsafe(lambda: emit("notice", text=line))
