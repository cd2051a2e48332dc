"""How strong a sandbox is on this machine, property by property, by trying: `guest/probe.py` in place of the agent."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rlm.errors import SandboxError
from rlm.protocols import Launcher, SandboxSpec

Level = Literal["ok", "weaker", "none"]

SPEC = SandboxSpec(run_id="doctor", memory=128 << 20, pids=48, tmp_bytes=16 << 20, cpus=0.25)
"""Small limits: what exceeds them is tried for real, and perhaps without a wall. Even a busy machine gives two
processes more processor time than this, so that it is not taken for a limit."""
_MOST_INODES = 1 << 17
_SECONDS = 60


class Property(NamedTuple):
    """One row of the table in docs/security.md."""

    name: str
    level: Level
    detail: str


MakeLauncher = Callable[[str], Launcher]
"""The probe's argument -> a launcher that starts it."""


async def try_walls(make: MakeLauncher) -> list[Property]:
    """Start a sandbox, try what the code in it can do, and end it. Raises `SandboxUnavailable` and `SandboxError`."""
    with _bait() as bait:
        asked = {**bait, "memory": SPEC.memory, "pids": SPEC.pids, "tmp": SPEC.tmp_bytes}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that there is no wall is what is told here
            process = await make(json.dumps(asked)).launch(SPEC)
        try:
            output = b""
            async with asyncio.timeout(_SECONDS):
                while data := await process.read():
                    output += data
                    if len(output) > 1 << 16:
                        raise SandboxError("the probe said too much")
            facts = json.loads(output)
        except (TimeoutError, ValueError) as error:
            tail = process.stderr_tail().strip()
            raise SandboxError(f"the sandbox could not be tried: {tail or type(error).__name__}") from error
        finally:
            await process.aclose()
    return list(_judge(facts))


@contextmanager
def _bait() -> Iterator[dict[str, Any]]:
    """A server, a file and a variable of the host, which nothing in a sandbox should find."""
    variable = f"RLM_BAIT_{secrets.token_hex(4)}"
    with socket.create_server(("127.0.0.1", 0)) as server, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bait"
        path.write_text("found", encoding="ascii")
        path.chmod(0o644)
        Path(folder).chmod(0o755)
        os.environ[variable] = "1"
        try:
            yield {"port": server.getsockname()[1], "path": str(path), "variable": variable}
        finally:
            del os.environ[variable]


def _judge(facts: dict[str, Any]) -> Iterator[Property]:
    def row(name: str, holds: bool, ok: str, otherwise: str) -> Property:
        return Property(name, "ok" if holds else "none", ok if holds else otherwise)

    lonely = not facts["network"] and facts["interfaces"] == ["lo"]
    yield row("network", lonely, "none", "a server on this machine's loopback was reached")
    yield row("files of the host", not facts["reads_host_file"], "not there", "a file of this user could be read")
    yield row("root file system", facts["root_read_only"], "read-only", "can be written to")
    yield _user(facts["uid"])
    bare = facts["capabilities"] == 0 and facts["no_new_privileges"]
    yield row("capabilities", bare, "none, and no new privileges", "privileges can be had")
    filtered = facts["seccomp"] and not facts["new_namespace"]
    yield row("system calls", filtered, "filtered", "there is no filter")
    yield _memory(together=facts["memory_together"], alone=facts["memory_alone"])
    yield row("processes", facts["processes"] <= SPEC.pids, "limited", f"{facts['processes']} could be started")
    share = facts["processor_seconds"]
    yield row("processor time", share < 1.8 * SPEC.cpus, "limited", "not limited")
    yield _disk(facts["disk"], facts["inodes"])
    yield row("environment", not facts["variable"], "ours", "variables of this process are there")


def _user(uid: int) -> Property:
    if uid in (0, os.geteuid()):
        return Property(
            "user", "none", "the code runs as this user" if uid == os.geteuid() else "the code runs as root"
        )
    # A user's bubblewrap can only map that user to another number.
    return Property("user", "ok", f"{uid}, which is nobody's")


def _memory(*, together: bool, alone: bool) -> Property:
    """Whether two processes could hold more than the limit between them, and one of them alone."""
    if not together:
        return Property("memory", "ok", "limited as a whole")
    if alone:
        return Property("memory", "none", "not limited")
    return Property("memory", "weaker", "limited per process, and not as a whole")


def _disk(written: int, inodes: int) -> Property:
    if written > SPEC.tmp_bytes * 5 // 4:
        return Property("disk", "none", "not limited")
    if inodes > _MOST_INODES:
        return Property("disk", "weaker", "the size of /tmp is limited; the number of files by memory alone")
    return Property("disk", "ok", "size and number of files of /tmp are limited")
