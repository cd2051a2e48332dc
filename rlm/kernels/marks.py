"""Processes found by a mark in their environment: what holds a sandbox without walls together.

Whatever the agent starts inherits the mark, whichever session or parent it ends up with. It is no
wall: a process that is started with another environment is not found.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

VARIABLE = "RLM_MARK"
_SECONDS = 2.0


def kill_marked(mark: str) -> None:
    """SIGKILL every process with this mark until none is left, for at most 2 s. Blocking."""
    deadline = time.monotonic() + _SECONDS
    while (pids := _marked(mark)) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


def _marked(mark: str) -> list[int]:
    entry = f"{VARIABLE}={mark}".encode()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            # Gone since it was listed, or another user's. A zombie's environment is empty.
            with contextlib.suppress(OSError):
                if entry in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                    found.append(int(name))
    return found
