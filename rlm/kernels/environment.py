"""The sandbox environment: one read-only root file system, built once from the host's own Python.

`ensure()` builds it under the user's cache (`env/<key>/`) and finds it again in milliseconds:

    root/                        world-readable, no setuid bits, no symlink that leads outside
      usr/local/bin/python3      the base interpreter (never the user's virtual environment)
      usr/local/lib/python3.X/   its standard library, byte-compiled; without its own site-packages
        site-packages/           the wheels of sandbox/requirements.txt
      lib…/                      the shared libraries that those need, and the loader
      bin/                       sh and the usual text tools, as far as the host has them
      etc/ dev/ proc/ tmp/ input/ packages/ rlm/guest/ rlm/cgroup/    a passwd file; mount points

The same tree is what bubblewrap mounts as `/` (`--ro-bind root /`, and the guest's code over
`/rlm/guest`) and what `image build --from-host` imports, so all walls hold the same sandbox. Inside,
`GUEST_PYTHON` finds `site-packages` by itself, also with `-I`. A plain process runs `env.python` with
`env.site` on its path. Nothing of the user's home is in it. The tree is never changed once it has its
name, so many runs may share it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rlm.errors import SandboxUnavailable
from rlm.kernels import pins, rootfs, wheels
from rlm.kernels.caches import cache_dir, remove_unused
from rlm.kernels.filelock import locked

GUEST_PYTHON = "/usr/local/bin/python3"
"""Where the interpreter lies in every sandbox that has a root of its own (docker, bubblewrap)."""
GUEST_CODE = "/rlm/guest"
"""Where the guest's package lies; its parent is what belongs on `sys.path`."""
PACKAGES = "/packages"
"""Where a run's own packages are mounted."""

GUEST_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
}
"""The environment that every sandbox with a root of its own starts with; nothing of the host's is in it."""

LAYOUT = 3
"""Raised when what `rootfs` puts together changes, so that trees of older versions are not reused."""
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class SandboxEnv:
    """A finished environment."""

    key: str
    """Hash over the requirements, the interpreter and the layout."""
    root: Path
    """The root file system."""
    site: Path
    """`site-packages` inside `root`."""
    python: Path
    """The host's base interpreter, for the sandbox without walls."""
    version: str
    """Of the interpreter, as `3.12`."""

    def distributions(self) -> dict[str, str]:
        """What is installed: normalised name -> version."""
        return wheels.distributions(self.site)

    def installed(self) -> list[tuple[str, str]]:
        """The packages that a prompt should name, with their versions: the requested ones, not what they pull in."""
        present = self.distributions()
        return [(name, present[name]) for name in pins.offered() if name in present]


def ensure(*, progress: Progress | None = None, rebuild: bool = False) -> SandboxEnv:
    """The environment for this interpreter; built (about half a minute, needs a package index) if it is missing.

    Blocking: call it in a thread from async code. `progress` gets one line per step, only when there
    is something to build. Raises `SandboxUnavailable` when it cannot be built here.
    """
    env = locate()
    if rebuild or not env.root.is_dir():
        _build(env, progress or (lambda line: None), rebuild=rebuild)
    os.utime(env.root.parent)
    return env


def locate() -> SandboxEnv:
    """Where the environment for this interpreter lies, whether or not it has been built."""
    if sys.platform != "linux":
        raise SandboxUnavailable("a sandbox from the host's own Python needs Linux: use Docker and `rlm image build`")
    base = rootfs.base_interpreter()
    folder = cache_dir("env") / _key(base)
    root = folder / "root"
    site = rootfs.inside(root, base) / "site-packages"
    return SandboxEnv(key=folder.name, root=root, site=site, python=base.executable, version=base.version)


def prune() -> list[Path]:
    """Remove the environments that are not current and that no run has asked for within a day; says which."""
    removed = remove_unused(cache_dir("env"), keep=locate().root.parent)
    for folder in removed:
        folder.with_name(folder.name + ".lock").unlink(missing_ok=True)
    return removed


def _key(base: rootfs.BaseInterpreter) -> str:
    stat = base.executable.stat()
    facts = (LAYOUT, sys.version, platform.machine(), platform.libc_ver(), base, stat.st_size, stat.st_mtime_ns)
    digest = hashlib.sha256(repr(facts).encode())
    digest.update(pins.lock_file().read_bytes())
    return digest.hexdigest()[:16]


def _build(env: SandboxEnv, progress: Progress, *, rebuild: bool) -> None:
    folder = env.root.parent
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(folder.name + ".lock"), progress=progress):
        if env.root.is_dir() and not rebuild:
            return
        for leftover in folder.parent.glob(f".{folder.name}.*"):
            shutil.rmtree(leftover)
        staging = folder.with_name(f".{folder.name}.{os.getpid()}")
        rootfs.assemble(staging / "root", requirements=pins.lock_file(), progress=progress)
        if folder.exists():
            folder.rename(folder.with_name(f".{folder.name}.old"))
        staging.rename(folder)
        shutil.rmtree(folder.with_name(f".{folder.name}.old"), ignore_errors=True)
