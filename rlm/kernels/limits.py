"""What every wall holds a sandbox to, and what a sandbox may see of the host: the same numbers everywhere."""

from __future__ import annotations

import math
import os
import posixpath
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from rlm.errors import ConfigError, InputError
from rlm.protocols import Mount, SandboxSpec

NOFILE = 4096
"""Open files of one process."""
SHM_BYTES = 64 << 20
"""Size of /dev/shm."""
TMP_INODES = 65536
"""Files in /tmp, where the wall can limit them."""
MOUNT_ROOTS = ("/input", "/packages")
"""Mounts go below these folders, or onto one of them: the mount points that every root has."""

AGENT = ("/usr/local/bin/python3", "-I", "/rlm/guest/agent.py")
"""The agent's command line in a sandbox with a root of its own."""

_HOST_ONLY = ("/proc", "/sys")
_HOST_ROOTS = frozenset({"/", "/dev", "/run", "/var", "/var/run", "/var/lib", "/var/lib/docker"})


@dataclass(frozen=True, slots=True)
class Strength:
    """What a wall holds, for `rlm doctor`: its level in a word, and a line per weakness."""

    level: str
    """`strong`; `weaker`: the code is walled in, but a limit is missing or soft; `none`."""
    remarks: tuple[str, ...] = ()


def environment(spec: SandboxSpec) -> dict[str, str]:
    """All of a sandbox's environment: nothing of the host's gets in."""
    threads = str(max(1, math.ceil(spec.cpus)))
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/tmp",
        "TMPDIR": "/tmp",
        "USER": "sandbox",
        "LOGNAME": "sandbox",
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        # Numeric libraries start a thread per processor of the machine, whatever share of it they were given.
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
    }


def checked_mounts(mounts: Iterable[Mount]) -> tuple[Mount, ...]:
    """The mounts with their sources resolved, parents before children.

    Raises `InputError` for a source that is not a file or a folder, or that would show the host's
    inner life (`/`, `/proc`, an engine's socket …), and `ConfigError` for a target outside `MOUNT_ROOTS`.
    """
    checked = [Mount(_checked_source(mount.source), _checked_target(mount.target)) for mount in mounts]
    return tuple(sorted(checked, key=lambda mount: mount.target))


def _checked_source(source: str) -> str:
    real = os.path.realpath(source)
    try:
        mode = os.stat(real).st_mode
    except OSError as error:
        raise InputError(f"{source}: {error.strerror}") from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(f"{source}: only files and folders can be mounted in a sandbox")
    if real in _HOST_ROOTS or any(real == top or real.startswith(top + "/") for top in _HOST_ONLY):
        raise InputError(f"{source}: this part of the system is not shown to a sandbox")
    return real


def _checked_target(target: str) -> str:
    below = any(target == root or target.startswith(root + "/") for root in MOUNT_ROOTS)
    if not below or posixpath.normpath(target) != target:
        raise ConfigError(f"{target}: a mount goes below {' or '.join(MOUNT_ROOTS)}")
    return target
