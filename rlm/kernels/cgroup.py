"""A control group per sandbox, versions 1 and 2: memory, processes, processor time, and the count of kills for memory.

For a host process that may make control groups, which is root. It is made beside or below the
host's own, so that the limits around the host hold for its sandboxes too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from rlm.errors import SandboxUnavailable

_PERIOD = 100_000
"""Microseconds of processor time that a share is measured over."""
_REMOVE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Cgroup:
    """A control group that exists. Version 1 has a folder per controller, version 2 one for all."""

    folders: tuple[Path, ...]
    memory: Path
    """The folder with the memory counters; the sandbox may read it."""

    @property
    def entrances(self) -> tuple[Path, ...]:
        """The files that take the pid of a process that is to be held."""
        return tuple(folder / "cgroup.procs" for folder in self.folders)

    def oom_kills(self) -> int:
        return oom_kills(self.memory)

    def kill(self) -> None:
        """End every process in it."""
        for folder in self.folders:
            _kill(folder)

    def remove(self) -> None:
        """End what is in it, and remove it. Blocking, some milliseconds. Raises `OSError` if it stays busy for 2 s."""
        for folder in self.folders:
            discard(folder)


def create(name: str, *, memory: int, pids: int, cpus: float) -> Cgroup:
    """Make a group with limits on bytes (swap included), tasks and processors.

    Raises `SandboxUnavailable` where that cannot be done.
    """
    try:
        places = _places()
        made = {folder / name for folder in places.values()}
        for folder in made:
            folder.mkdir()
        try:
            _limit({controller: folder / name for controller, folder in places.items()}, memory, pids, cpus)
        except OSError:
            for folder in made:
                folder.rmdir()
            raise
    except OSError as error:
        raise SandboxUnavailable(f"no control group for the sandbox: {error}") from error
    return Cgroup(folders=tuple(sorted(made)), memory=places["memory"] / name)


def planned(name: str) -> tuple[Path, ...]:
    """The folders that `create` would make, to be noted in a lease first."""
    return tuple(sorted({folder / name for folder in _places().values()}))


def oom_kills(folder: Path) -> int:
    """Processes of the group that the kernel killed for memory; 0 once the group is gone."""
    for name in ("memory.events", "memory.oom_control"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for line in (folder / name).read_text(encoding="ascii").splitlines():
                key, _, value = line.partition(" ")
                if key == "oom_kill":
                    return int(value)
    return 0


def discard(folder: Path) -> None:
    """Kill what is in one folder and remove it; nothing happens if it is gone. Raises `OSError` if it stays busy."""
    deadline = time.monotonic() + _REMOVE_SECONDS
    while True:
        try:
            _kill(folder)
            folder.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)


def _kill(folder: Path) -> None:
    switch = folder / "cgroup.kill"
    if switch.exists():
        switch.write_text("1", encoding="ascii")
        return
    with contextlib.suppress(FileNotFoundError):
        for pid in (folder / "cgroup.procs").read_text(encoding="ascii").split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def _limit(folders: dict[str, Path], memory: int, pids: int, cpus: float) -> None:
    quota = max(1000, int(cpus * _PERIOD))
    if (folders["memory"] / "memory.max").exists():
        _write(folders["memory"] / "memory.max", memory)
        _write_if_there(folders["memory"] / "memory.swap.max", 0)
        if "cpu" in folders:
            (folders["cpu"] / "cpu.max").write_text(f"{quota} {_PERIOD}", encoding="ascii")
    else:
        _write(folders["memory"] / "memory.limit_in_bytes", memory)
        _write_if_there(folders["memory"] / "memory.memsw.limit_in_bytes", memory)
        if "cpu" in folders:
            _write(folders["cpu"] / "cpu.cfs_period_us", _PERIOD)
            _write(folders["cpu"] / "cpu.cfs_quota_us", quota)
    _write(folders["pids"] / "pids.max", pids)


def _write(path: Path, value: int) -> None:
    path.write_text(str(value), encoding="ascii")


def _write_if_there(path: Path, value: int) -> None:
    """Swap can be limited only where the kernel accounts for it."""
    if path.exists():
        _write(path, value)


def _places() -> dict[str, Path]:
    """Controller -> the folder to make ours in: `memory`, `pids` and, where it is there, `cpu`.

    Raises `OSError` if a needed controller has no folder that we can write to.
    """
    own = _own_paths()
    mounts = _mounts()
    if "memory" in mounts and "pids" in mounts:
        return {
            name: _deepest(mounts[name], own.get(name, "/")) for name in ("memory", "pids", "cpu") if name in mounts
        }
    if "" in mounts:
        folder = _with_controllers(mounts[""], own.get("", "/"))
        cpu = "cpu" in (folder / "cgroup.subtree_control").read_text(encoding="ascii").split()
        return {name: folder for name in ("memory", "pids", *(["cpu"] if cpu else []))}
    raise FileNotFoundError("the control groups of this machine are not mounted")


def _own_paths() -> dict[str, str]:
    """Controller -> this process's path in its hierarchy; the key of version 2 is empty."""
    paths = {}
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(","), path))
    return paths


def _mounts() -> dict[str, Path]:
    """Controller -> where its hierarchy is mounted; the key of version 2 is empty."""
    mounts: dict[str, Path] = {}
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        point = Path(fields.split(" ")[4])
        if kind == "cgroup2":
            mounts.setdefault("", point)
        elif kind == "cgroup":
            for option in options.split(","):
                mounts.setdefault(option, point)
    return mounts


def _deepest(mount: Path, own: str) -> Path:
    """Our own group, where it is visible: inside a container its path may name a place that is not mounted."""
    inside = mount / own.lstrip("/")
    return inside if inside.is_dir() else mount


def _with_controllers(mount: Path, own: str) -> Path:
    """The nearest group above us that hands out both controllers: one that holds processes itself cannot."""
    folder = _deepest(mount, own)
    while True:
        control = folder / "cgroup.subtree_control"
        with contextlib.suppress(OSError):
            if not {"memory", "pids"} <= set(control.read_text(encoding="ascii").split()):
                control.write_text("+memory +pids +cpu", encoding="ascii")
            if os.access(folder, os.W_OK):
                return folder
        if folder == mount:
            raise PermissionError("no control group here hands out memory and pids")
        folder = folder.parent
