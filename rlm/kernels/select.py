"""From the name of a sandbox to a launcher that works here, with whatever it needs built."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

from rlm import threads
from rlm.errors import SandboxUnavailable
from rlm.kernels import engine, environment, guestcode, image
from rlm.kernels.bwrap import BwrapLauncher, try_bwrap
from rlm.kernels.docker import DockerLauncher
from rlm.kernels.process import ProcessLauncher
from rlm.protocols import Launcher

Name = Literal["auto", "docker", "bwrap", "process"]
Progress = Callable[[str], None]


async def choose(name: Name = "auto", *, progress: Progress | None = None, lease_root: Path | None = None) -> Launcher:
    """A launcher whose `check()` has passed.

    `auto` is docker if an engine answers, else bwrap if trying it works; never `process`, which is no
    wall and must be named. The first use builds an image or an environment: `progress` gets a line per step.
    Raises `SandboxUnavailable`, with what to do about it.
    """
    if name == "auto":
        name = await threads.watch(_best, name="rlm-choose")
    # A build takes long, and an interrupted run does not wait for its end.
    launcher = await threads.watch(partial(_build, name, progress, lease_root), name="rlm-build")
    await launcher.check()
    return launcher


def _best() -> Literal["docker", "bwrap"]:
    try:
        engine.connect().close()
        return "docker"
    except SandboxUnavailable as error:
        no_docker = error
    try:
        try_bwrap()
        return "bwrap"
    except SandboxUnavailable as error:
        raise SandboxUnavailable(
            "no sandbox works here: start a Docker engine, or install bubblewrap (apt install bubblewrap)"
            f" [docker: {no_docker}] [bwrap: {error}]"
        ) from error


def _build(name: str, progress: Progress | None, lease_root: Path | None) -> Launcher:
    if name == "docker":
        return DockerLauncher(image=image.ensure(progress=progress), lease_root=lease_root)
    if name == "bwrap":
        # Before half a minute is spent on an environment that could not be used.
        try_bwrap()
        env = environment.ensure(progress=progress)
        return BwrapLauncher(root=env.root, guest=guestcode.prepare(), lease_root=lease_root)
    env = environment.ensure(progress=progress)
    return ProcessLauncher(python=env.python, site=env.site, lease_root=lease_root)
