"""What a sandbox holds, found out by trying from within: `rlm doctor` starts this in place of the agent.

    python3 -I -S probe.py '{"port", "path", "variable", "memory", "pids", "tmp"}'

It prints one JSON object of facts, and judges nothing. What it tries stays small, since there may be no wall at all:
it takes a little more than the limits that it is told of, and nothing of the host is written to.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

SPIN_SECONDS = 1.0
SPINNERS = 2
_CLONE_NEWUSER = 0x10000000


def main(asked: dict[str, Any]) -> None:
    status = dict(line.split(":\t", 1) for line in _text("/proc/self/status").splitlines() if ":\t" in line)
    facts = {
        "network": _connects(asked["port"]),
        "interfaces": [name for _, name in socket.if_nameindex()],
        "reads_host_file": _text(asked["path"]) != "",
        "root_read_only": bool(os.statvfs("/").f_flag & os.ST_RDONLY),
        "uid": os.getuid(),
        "capabilities": max(int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb")),
        "no_new_privileges": status.get("NoNewPrivs") == "1",
        "seccomp": status.get("Seccomp") == "2",
        "new_namespace": _in_child(lambda: int(ctypes.CDLL(None).unshare(_CLONE_NEWUSER) == 0)) == 1,
        "variable": asked["variable"] in os.environ,
        "disk": _written(asked["tmp"]),
        "inodes": os.statvfs(tempfile.gettempdir()).f_files,
        "processor_seconds": _spun(),
        "memory_together": _held(2, asked["memory"] * 3 // 4) == 2,
        "memory_alone": _held(1, asked["memory"] * 3 // 2) == 1,
        "processes": _forked(asked["pids"] * 2),
    }
    os.write(1, json.dumps(facts).encode())


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
        return True
    except OSError:
        return False


def _written(limit: int) -> int:
    """Bytes that could be written to the temporary folder, of twice the limit, in files of half of it."""
    total = 0
    with contextlib.ExitStack() as files, contextlib.suppress(OSError):
        while total < 2 * limit:
            file = files.enter_context(tempfile.TemporaryFile(buffering=0))
            for _ in range(8):
                total += file.write(bytes(limit // 16))
    return total


def _spun() -> float:
    """Processor seconds that some processes at once get in `SPIN_SECONDS`."""
    children = [_start(_spin) for _ in range(SPINNERS)]
    return sum(sum(os.wait4(pid, 0)[2][:2]) for pid in children)


def _spin() -> int:
    end = time.monotonic() + SPIN_SECONDS
    while time.monotonic() < end:
        pass
    return 0


def _held(count: int, size: int) -> int:
    """How many of so many processes can hold so many bytes at the same time."""
    read, write = os.pipe()

    def hold() -> int:
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("1000")
        try:
            block = b"x" * size
        except MemoryError:
            return 1
        os.write(write, block[:1])
        time.sleep(60)
        return 0

    children = [_start(hold) for _ in range(count)]
    os.close(write)
    os.set_blocking(read, False)
    done: dict[int, int] = {}
    held = 0
    end = time.monotonic() + 10
    while held + len(done) < count and time.monotonic() < end:
        time.sleep(0.02)
        with contextlib.suppress(BlockingIOError):
            held += len(os.read(read, count))
        done.update(found for pid in children if pid not in done and (found := os.waitpid(pid, os.WNOHANG))[0])
    time.sleep(0.2)  # a kill for memory may come a moment later
    done.update(found for pid in children if pid not in done and (found := os.waitpid(pid, os.WNOHANG))[0])
    os.close(read)
    _end([pid for pid in children if pid not in done])
    return count - len(done) if held else 0


def _forked(most: int) -> int:
    """How many processes could be started, of so many."""
    children: list[int] = []
    try:
        with contextlib.suppress(OSError):
            while len(children) < most:
                children.append(_start(_sleep))
    finally:
        _end(children)
    return len(children)


def _sleep() -> int:
    time.sleep(60)
    return 0


def _start(work: Callable[[], int]) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = work()
        finally:
            os._exit(status)
    return pid


def _in_child(work: Callable[[], int]) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(_start(work), 0)[1])


def _end(children: list[int]) -> None:
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    for pid in children:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
