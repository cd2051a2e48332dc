"""From the name of a sandbox to a launcher that works here, with whatever it needs built."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

from rlm import threads
from rlm.assets import asset_dir
from rlm.errors import SandboxUnavailable
from rlm.kernels import engine, environment, guestcode, image
from rlm.kernels.bwrap import BwrapLauncher, try_bwrap
from rlm.kernels.docker import DockerLauncher
from rlm.kernels.limits import AGENT
from rlm.kernels.process import ProcessLauncher
from rlm.protocols import Launcher

Name = Literal["auto", "docker", "bwrap", "process"]
Progress = Callable[[str], None]


async def choose(
    name: Name = "auto",
    *,
    runtime: str | None = None,
    progress: Progress | None = None,
    lease_root: Path | None = None,
) -> Launcher:
    """A launcher whose `check()` has passed. `runtime` is one of the Docker engine's, which only docker has.

    `auto` is docker if an engine answers, else bwrap if trying it works; never `process`, which is no
    wall and must be named. The first use builds an image or an environment: `progress` gets a line per step.
    Raises `SandboxUnavailable`, with what to do about it.
    """
    if name == "auto":
        # Who asks for a runtime wants its wall, and no other one.
        name = "docker" if runtime else await threads.watch(best, name="rlm-choose")
    # A build takes long, and an interrupted run does not wait for its end.
    launcher = await threads.watch(partial(_build, name, runtime, progress, lease_root), name="rlm-build")
    await launcher.check()
    return launcher


def best() -> Literal["docker", "bwrap"]:
    """What `auto` is here. Blocking. Raises `SandboxUnavailable`."""
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


def probe(name: Name, argument: str, *, runtime: str | None = None) -> Launcher:
    """A launcher that starts `guest/probe.py` with this argument. Blocking; builds nothing.

    Raises `SandboxUnavailable` if what the sandbox is made of has not been built yet.
    """
    command = (AGENT[0], "-I", "-S", "/rlm/guest/probe.py", argument)
    if name == "docker":
        if (tag := image.find()) is None:
            raise SandboxUnavailable("the sandbox image is not built yet (rlm image build)")
        return DockerLauncher(image=tag, command=command, runtime=runtime)
    env = environment.locate()
    if not env.root.is_dir():
        raise SandboxUnavailable("the sandbox's root is not built yet; the first run builds it")
    if name == "bwrap":
        return BwrapLauncher(root=env.root, guest=guestcode.prepare(), command=command)
    here = str(asset_dir("sandbox") / "guest/probe.py")
    return ProcessLauncher(python=env.python, site=env.site, command=(str(env.python), "-I", "-S", here, argument))


def _build(name: str, runtime: str | None, progress: Progress | None, lease_root: Path | None) -> Launcher:
    if name == "docker":
        return DockerLauncher(image=image.ensure(progress=progress), runtime=runtime, lease_root=lease_root)
    if name == "bwrap":
        # Before half a minute is spent on an environment that could not be used.
        try_bwrap()
        env = environment.ensure(progress=progress)
        return BwrapLauncher(root=env.root, guest=guestcode.prepare(), lease_root=lease_root)
    env = environment.ensure(progress=progress)
    return ProcessLauncher(python=env.python, site=env.site, lease_root=lease_root)
