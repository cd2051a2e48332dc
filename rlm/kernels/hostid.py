"""Which host process a sandbox belongs to, so that another one can tell whether it still lives."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class HostId:
    """A process of a machine since its last boot; survives the reuse of its pid."""

    hostname: str
    boot: str
    pid_namespace: str
    pid: int
    started: str
    """Its start in clock ticks since boot; empty where there is no /proc."""

    @classmethod
    def current(cls) -> HostId:
        return cls(socket.gethostname(), _boot_id(), _pid_namespace(), os.getpid(), start_time(os.getpid()) or "")

    def encode(self) -> str:
        """As the value of a label."""
        return "|".join((self.boot, self.pid_namespace, str(self.pid), self.started, self.hostname))

    @classmethod
    def decode(cls, text: str) -> HostId | None:
        """The reverse of `encode`; None for anything else."""
        parts = text.split("|", 4)
        if len(parts) != 5 or not parts[2].isdigit():
            return None
        boot, pid_namespace, pid, started, hostname = parts
        return cls(hostname, boot, pid_namespace, int(pid), started)

    def is_dead(self) -> bool:
        """True only if it certainly ended; a process of another machine or pid namespace may well live."""
        if self.hostname != socket.gethostname():
            return False
        if self.boot != _boot_id():
            return True
        if self.pid_namespace != _pid_namespace():
            return False
        return start_time(self.pid) != self.started


def start_time(pid: int) -> str | None:
    """When a process started, in clock ticks since boot; None if there is no such process, or only its zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return _alive_without_proc(pid)
    fields = stat[stat.rfind(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else fields[19].decode()


def _alive_without_proc(pid: int) -> str | None:
    if Path("/proc/self").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return ""
    return ""


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
