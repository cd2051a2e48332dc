"""What holds a bubblewrap sandbox's memory and processes: a control group, a systemd scope, or resource limits."""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from rlm.errors import SandboxUnavailable
from rlm.kernels import cgroup
from rlm.kernels.leases import Lease
from rlm.protocols import SandboxSpec

MOUNT_POINT = "/rlm/cgroup"
"""Where the agent finds the memory counters."""
_TRIAL_BYTES = 64 << 20
_TRIAL_SECONDS = 5
_OWN_GROUP = '/sys/fs/cgroup$(sed -n "s/^0:://p" /proc/self/cgroup)'


class Cage(Protocol):
    """Made before the sandbox, entered by its first process, removed after it."""

    rlimits: dict[str, int]
    """Resource limits to set inside, where nothing better holds."""

    def command(self, bwrap: str, arguments: Sequence[str]) -> list[str]:
        """The command line that enters the cage and runs bubblewrap, with what the cage shows of itself inside."""
        ...

    def entered_by(self, pid: int) -> None:
        """The process that runs the command."""
        ...

    def oom_kills(self) -> int: ...

    def kill(self) -> None: ...

    def remove(self) -> None: ...


class GroupCage:
    """A control group of our own making."""

    def __init__(self, spec: SandboxSpec, lease: Lease) -> None:
        name = f"rlm-{lease.uid}-{os.getpid()}"
        for folder in cgroup.planned(name):
            lease.note("cgroup", str(folder))
        # bubblewrap's own process is in it as well.
        self._group = cgroup.create(name, memory=spec.memory, pids=spec.pids + 1, cpus=spec.cpus)
        self.rlimits: dict[str, int] = {"RLIMIT_NPROC": spec.pids + 1}

    def command(self, bwrap: str, arguments: Sequence[str]) -> list[str]:
        # The shell enters before anything of the sandbox exists, so that nothing can be outside.
        joins = [f'echo $$ > "${number}" &&' for number in range(1, len(self._group.entrances) + 1)]
        script = " ".join([*joins, f"shift {len(joins)} &&", 'exec "$@"'])
        entrances = [str(entrance) for entrance in self._group.entrances]
        shown = ["--ro-bind", str(self._group.memory), MOUNT_POINT]
        return ["/bin/sh", "-c", script, "sh", *entrances, bwrap, *arguments, *shown]

    def entered_by(self, pid: int) -> None:
        """It went in by itself."""

    def oom_kills(self) -> int:
        return self._group.oom_kills()

    def kill(self) -> None:
        self._group.kill()

    def remove(self) -> None:
        self._group.remove()


class ScopeCage:
    """A transient scope of the user's systemd, which removes it when its last process is gone."""

    def __init__(self, spec: SandboxSpec) -> None:
        self._properties = [
            f"MemoryMax={spec.memory}",
            "MemorySwapMax=0",
            f"TasksMax={spec.pids + 1}",
            f"CPUQuota={max(1, int(spec.cpus * 100))}%",
        ]
        self._folder: Path | None = None
        self._oom_kills = 0
        self.rlimits: dict[str, int] = {}

    def command(self, bwrap: str, arguments: Sequence[str]) -> list[str]:
        # Only a process inside the scope can tell where the scope's folder is.
        script = f'exec {shlex.join([bwrap, *arguments])} --ro-bind "{_OWN_GROUP}" {MOUNT_POINT} "$@"'
        return [*_scope(self._properties), "/bin/sh", "-c", script, "sh"]

    def entered_by(self, pid: int) -> None:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines():
                if line.startswith("0::/"):
                    self._folder = Path("/sys/fs/cgroup") / line[4:]

    def oom_kills(self) -> int:
        return cgroup.oom_kills(self._folder) if self._folder is not None else 0

    def kill(self) -> None:
        if self._folder is not None:
            with contextlib.suppress(OSError):
                (self._folder / "cgroup.kill").write_text("1", encoding="ascii")

    def remove(self) -> None:
        """systemd does."""


class LimitCage:
    """Resource limits only: memory is bounded per process, and not as a whole."""

    def __init__(self, spec: SandboxSpec) -> None:
        # Not the address space: a big input is mapped. Data counts what a process allocates for itself.
        self.rlimits: dict[str, int] = {"RLIMIT_DATA": spec.memory, "RLIMIT_NPROC": spec.pids + 1}

    def command(self, bwrap: str, arguments: Sequence[str]) -> list[str]:
        return [bwrap, *arguments]

    def entered_by(self, pid: int) -> None:
        """There is nothing to enter."""

    def oom_kills(self) -> int:
        return 0

    def kill(self) -> None:
        """The first process of the pid namespace takes all others with it."""

    def remove(self) -> None:
        """Nothing is left."""


def build(spec: SandboxSpec, lease: Lease) -> Cage:
    """The best cage that this machine and user can have. Blocking."""
    if os.geteuid() == 0 and group_problem() is None:
        return GroupCage(spec, lease)
    if os.geteuid() != 0 and scope_works():
        return ScopeCage(spec)
    return LimitCage(spec)


@functools.cache
def group_problem() -> str | None:
    """Why root cannot have control groups here; None if it can. Tried once."""
    try:
        cgroup.create(f"rlm-trial-{os.getpid()}", memory=_TRIAL_BYTES, pids=8, cpus=1).remove()
    except (SandboxUnavailable, OSError) as error:
        return str(error)
    return None


@functools.cache
def scope_works() -> bool:
    """Whether systemd gives this user a scope whose memory limit is really set. Tried once."""
    if shutil.which("systemd-run") is None:
        return False
    script = f'cat "{_OWN_GROUP}/memory.max"'
    try:
        trial = subprocess.run(
            [*_scope([f"MemoryMax={_TRIAL_BYTES}", "TasksMax=16"]), "/bin/sh", "-c", script],
            capture_output=True,
            timeout=_TRIAL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return trial.stdout.strip() == str(_TRIAL_BYTES).encode()


def _scope(properties: list[str]) -> list[str]:
    options = [option for entry in properties for option in ("-p", entry)]
    return ["systemd-run", "--user", "--scope", "--quiet", "--collect", *options, "--"]
