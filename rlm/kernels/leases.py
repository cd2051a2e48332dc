"""Who holds what: a lease file per sandbox, and the removal of what dead hosts left behind.

A lease is written before the container, cgroup or process that it names is made, and deleted after
that is gone. Its number is at the same time the sandbox's uid, so no two living sandboxes share one.

`reap()` is what every command calls first: with nothing left over it reads one folder and is done.
`list_leftovers()` also asks the engine for containers whose lease was lost; `remove()` takes either.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import signal
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import platformdirs

from rlm.errors import SandboxUnavailable
from rlm.kernels import cgroup, engine, marks
from rlm.kernels.hostid import HostId, start_time

FIRST_UID, LAST_UID = 200_000, 265_535
"""Above the uids of people and services, below the ranges that subordinate ids usually take."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something of a host process that is dead."""

    kind: Literal["container", "lease"]
    name: str
    host: HostId
    path: Path | None = None
    """The lease file, where there is one."""
    resources: tuple[tuple[str, str], ...] = ()
    """`(kind, value)` pairs of the lease, the kinds being those of `Lease.note`."""


class Lease:
    """A claim of this process. `note` what is about to be made; `release` when all of it is gone."""

    def __init__(self, path: Path, host: HostId) -> None:
        self.uid = int(path.stem)
        """Also the gid."""
        self._path = path
        self._host = host
        self._resources: list[tuple[str, str]] = []
        self._released = False

    def note(self, kind: Literal["container", "cgroup", "mark", "process"], value: str) -> None:
        """A container by its name, a control group by its folder, processes by their mark.

        Raises `SandboxUnavailable` where that cannot be written down.
        """
        self._resources.append((kind, value))
        staged = self._path.with_suffix(f".{secrets.token_hex(4)}.tmp")
        with _written(self._path.parent):
            staged.write_text(_encode(self._host, self._resources), encoding="utf-8")
            staged.replace(self._path)

    def note_process(self, pid: int) -> None:
        """A process whose end is the end of everything in its sandbox."""
        self.note("process", f"{pid}:{start_time(pid) or ''}")

    def release(self) -> None:
        """Idempotent: the number may be another's by the second time. What cannot be deleted, a later `reap` does."""
        if not self._released:
            self._released = True
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)


def default_root() -> Path:
    """The folder of the lease files: the user's own, and the same for all of their commands."""
    return Path(platformdirs.user_state_dir("rlm")) / "leases"


def acquire(*, root: Path | None = None) -> Lease:
    """A lease with a uid that no living sandbox of this user has.

    Raises `SandboxUnavailable` if all are taken, or none can be written down.
    """
    folder = root or default_root()
    host = HostId.current()
    with _written(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        staged = folder / f"{secrets.token_hex(8)}.tmp"
        try:
            staged.write_text(_encode(host, []), encoding="utf-8")
            for _ in range(1000):
                # A random number, for other users of this machine keep their leases elsewhere.
                path = folder / f"{random.randint(FIRST_UID, LAST_UID)}.json"
                with contextlib.suppress(FileExistsError):
                    os.link(staged, path)
                    return Lease(path, host)
        finally:
            staged.unlink(missing_ok=True)
    raise SandboxUnavailable(f"no sandbox uid is free: {folder} is full of leases")


@contextlib.contextmanager
def _written(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SandboxUnavailable(f"cannot keep a lease in {folder}: {error.strerror or error}") from error


def list_leftovers(*, root: Path | None = None, ask_engine: bool = True) -> list[Leftover]:
    """What dead host processes left, by their leases and, with `ask_engine`, by the labels of containers. Blocking."""
    found = list(_dead_leases(root or default_root()))
    if ask_engine:
        leased = {value for leftover in found for kind, value in leftover.resources if kind == "container"}
        for name, label in engine.labelled_containers():
            host = HostId.decode(label)
            if host is not None and name not in leased and host.is_dead():
                found.append(Leftover("container", name, host))
    return found


def remove(leftover: Leftover) -> None:
    """Remove it all; what is already gone is no error, so several commands may do this at the same time. Blocking."""
    if leftover.kind == "container":
        engine.remove_container(leftover.name)
        return
    for kind, value in leftover.resources:
        if kind == "container":
            engine.remove_container(value)
        elif kind == "mark":
            marks.kill_marked(value)
        elif kind == "process":
            _kill_process(value)
        elif kind == "cgroup":
            cgroup.discard(Path(value))
    if leftover.path is not None:
        leftover.path.unlink(missing_ok=True)


def reap(*, root: Path | None = None, ask_engine: bool = False) -> list[Leftover]:
    """Find and remove what dead host processes left; says what it was. Blocking, and quick when there is nothing.

    What cannot be removed now (an engine that is down) keeps its lease for the next time.
    """
    removed = []
    for leftover in list_leftovers(root=root, ask_engine=ask_engine):
        with contextlib.suppress(SandboxUnavailable, OSError):
            remove(leftover)
            removed.append(leftover)
    return removed


def _encode(host: HostId, resources: list[tuple[str, str]]) -> str:
    return json.dumps({"host": asdict(host), "resources": resources})


def _dead_leases(folder: Path) -> Iterator[Leftover]:
    if not folder.is_dir():
        return
    for path in sorted(folder.glob("*.json")):
        parsed = _parse(path)
        if parsed is not None and parsed[0].is_dead():
            yield Leftover("lease", path.stem, parsed[0], path, parsed[1])


def _parse(path: Path) -> tuple[HostId, tuple[tuple[str, str], ...]] | None:
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return HostId(**data["host"]), tuple((str(kind), str(value)) for kind, value in data["resources"])
    except (OSError, ValueError, KeyError, TypeError):
        # Gone since it was listed, or not ours.
        return None


def _kill_process(value: str) -> None:
    pid, _, started = value.partition(":")
    if pid.isdigit() and started:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # The descriptor first: what it names cannot become another process between the look and the kill.
            fd = os.pidfd_open(int(pid))
            try:
                if start_time(int(pid)) == started:
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
            finally:
                os.close(fd)
