"""Linux process facts that the agent and the zygote need: prctl, /proc, cgroup counters, descriptors."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36

_OOM_COUNTERS = (
    Path("/rlm/cgroup/memory.events"),
    Path("/rlm/cgroup/memory.oom_control"),
    Path("/sys/fs/cgroup/memory.events"),
    Path("/sys/fs/cgroup/memory/memory.oom_control"),
)

_INODE = 1024
"""Bytes that an empty file takes, about."""


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}, {value})")


def set_dumpable(dumpable: bool) -> None:
    """A non-dumpable process hides its `/proc/PID/fd`, `mem` and `environ` from its own uid."""
    _prctl(_PR_SET_DUMPABLE, int(dumpable))


def die_with_parent(parent: int) -> None:
    """Be killed when `parent` ends, in whatever way; at once if it has ended already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def become_subreaper() -> None:
    """Orphans of this process's descendants come to it instead of going to the machine's init."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def raise_oom_score(score: int) -> None:
    """Offer this process to the out-of-memory killer before the agent."""
    with contextlib.suppress(OSError):  # a container may mount /proc read-only
        Path("/proc/self/oom_score_adj").write_text(str(score), encoding="ascii")


def oom_kills() -> int | None:
    """Processes of this sandbox that the kernel killed for memory so far; None if it cannot be read."""
    for path in _OOM_COUNTERS:
        try:
            lines = path.read_text(encoding="ascii").splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return None


def files_in_memory() -> int:
    """Bytes of the sandbox's memory that files hold, which outlive the kernel that wrote them."""
    total = 0
    for path in ("/tmp", "/dev/shm"):
        found = os.statvfs(path)
        total += (found.f_blocks - found.f_bfree) * found.f_frsize + (found.f_files - found.f_ffree) * _INODE
    return total


def children_of_session(session: int) -> list[int]:
    """The processes of one session, by /proc."""
    return [pid for pid in _pids() if _session(pid) == session]


def everyone_but(keep: set[int]) -> list[int]:
    """Every process that this one can see, but itself, `keep`, and what is already dead."""
    mine = os.getpid()
    return [pid for pid in _pids() if pid != mine and pid not in keep and _session(pid) is not None]


def kill_all(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _session(pid: int) -> int | None:
    """The session id of a living process; None for a zombie or a process that is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = stat[stat.rfind(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[3])


def send_request(sock: socket.socket, request: dict[str, Any], fds: list[int]) -> None:
    """Send a request of any size, with descriptors: the JSON travels in a memfd, since a packet is bounded."""
    memory = os.memfd_create("request", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(memory), "wb") as file:
            file.write(json.dumps(request).encode())
        socket.send_fds(sock, [b"r"], [memory, *fds])
    finally:
        os.close(memory)


def recv_request(sock: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """The next request and its descriptors; `(None, [])` at the end."""
    data, fds, _, _ = socket.recv_fds(sock, 1, 8)
    if not data:
        return None, []
    with os.fdopen(fds[0], "rb") as file:
        file.seek(0)
        return json.loads(file.read()), fds[1:]
