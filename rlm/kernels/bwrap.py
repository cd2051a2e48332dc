"""bubblewrap: a wall without an engine. All namespaces, no capabilities, a syscall filter, a read-only root.

As root, the sandbox runs under a host uid of its own, in a control group. As a user, it runs in a
user namespace, in a systemd scope where the user has one, else under resource limits, which hold per
process only: `strength()` says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from rlm.errors import SandboxError, SandboxUnavailable
from rlm.kernels import bwrapflags, cages, guestcode, leases, seccomp, threads
from rlm.kernels.limits import AGENT, NOFILE, Strength, checked_mounts, environment
from rlm.kernels.streams import BUFFER, ChildProcess
from rlm.protocols import Mount, SandboxSpec

_ENTER = "/rlm/guest/enter.py"
_START_SECONDS = 20
_LIMITS_ONLY = (
    "memory is limited per process, and not as a whole",
    "processor time and the number of files in /tmp are not limited",
)


class BwrapLauncher:
    """Starts agents behind bubblewrap.

    `root` is the read-only root (`SandboxEnv.root`), `guest` the folder that lies at /rlm/guest, by
    default a prepared copy of this installation's.
    """

    name = "bwrap"

    def __init__(
        self,
        *,
        root: Path,
        guest: Path | None = None,
        command: Sequence[str] = AGENT,
        lease_root: Path | None = None,
    ) -> None:
        self._root = root.absolute()
        self._guest = guest.absolute() if guest is not None else None
        self._command = tuple(command)
        self._lease_root = lease_root

    def strength(self) -> Strength:
        """Blocking: tries what it tells."""
        if os.geteuid() == 0:
            problem = cages.group_problem()
            return Strength("strong") if problem is None else Strength("weaker", (problem, *_LIMITS_ONLY))
        return Strength("strong") if cages.scope_works() else Strength("weaker", _LIMITS_ONLY)

    async def check(self) -> None:
        await asyncio.to_thread(try_bwrap)

    async def launch(self, spec: SandboxSpec) -> Bubble:
        """Raises `SandboxUnavailable` without bubblewrap, `SandboxError` if it fails, `InputError` for a bad mount."""
        mounts = checked_mounts(spec.mounts)
        lease, cage = await threads.make(lambda: self._prepare(spec), _undo)
        try:
            return await self._spawn(spec, mounts, lease, cage)
        except BaseException:
            _undo((lease, cage))
            raise

    def _prepare(self, spec: SandboxSpec) -> tuple[leases.Lease, cages.Cage]:
        lease = leases.acquire(root=self._lease_root)
        try:
            return lease, cages.build(spec, lease)
        except BaseException:
            lease.release()
            raise

    async def _spawn(
        self, spec: SandboxSpec, mounts: tuple[Mount, ...], lease: leases.Lease, cage: cages.Cage
    ) -> Bubble:
        as_root = os.geteuid() == 0
        limits = {"RLIMIT_CORE": 0, "RLIMIT_NOFILE": NOFILE, "RLIMIT_FSIZE": spec.tmp_bytes, **cage.rlimits}
        enter = [str(lease.uid) if as_root else "-", *(f"{name}={value}" for name, value in limits.items())]
        guest = await asyncio.to_thread(guestcode.prepare) if self._guest is None else self._guest
        status_read, status_write = os.pipe2(os.O_CLOEXEC)
        try:
            with _filter_fd() as filter_fd:
                arguments = bwrapflags.arguments(
                    root=self._root,
                    guest=guest,
                    mounts=mounts,
                    tmp_bytes=spec.tmp_bytes,
                    environment=environment(spec),
                    uid=lease.uid,
                    as_root=as_root,
                    seccomp_fd=filter_fd,
                    status_fd=status_write,
                )
                first = [self._command[0], "-I", "-S", _ENTER, *enter, "--", *self._command]
                child = await asyncio.create_subprocess_exec(
                    *(*cage.command(_find_bwrap(), arguments), "--", *first),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    pass_fds=(filter_fd, status_write),
                    env=_bwrap_environment(),
                    cwd="/",
                    start_new_session=True,
                    limit=BUFFER,
                )
        except OSError as error:
            os.close(status_read)
            raise SandboxError(f"bubblewrap did not start: {error}") from error
        except BaseException:
            os.close(status_read)
            raise
        finally:
            os.close(status_write)
        cage.entered_by(child.pid)
        bubble = Bubble(child, lease, cage, status_read)
        try:
            if (pid := await _first_process(status_read)) is not None:
                bubble.follow(pid)
        except BaseException:
            await bubble.aclose()
            raise
        return bubble


class Bubble(ChildProcess):
    """A sandbox under bubblewrap."""

    def __init__(self, child: asyncio.subprocess.Process, lease: leases.Lease, cage: cages.Cage, status: int) -> None:
        self._cage = cage
        self._lease = lease
        self._status = status
        self.first: int | None = None
        """A pidfd of the sandbox's first process, whose end is the end of all of its others."""
        super().__init__(child)

    def follow(self, pid: int) -> None:
        """`pid` is that of the sandbox's first process, a child of bubblewrap's own."""
        with contextlib.suppress(ProcessLookupError):
            self.first = os.pidfd_open(pid)
            # It dies with us where bubblewrap may signal it, which under another uid it may not: then its
            # end of stdin has to do, or the lease.
            self._lease.note_process(pid)

    def _end(self) -> None:
        if self.first is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.first, signal.SIGKILL)
        self._cage.kill()
        if self.first is None:
            with contextlib.suppress(ProcessLookupError):
                self._child.kill()

    def _clean(self) -> None:
        # Not before the end: bubblewrap writes the exit status there, and would die of a closed pipe.
        os.close(self._status)
        if self.first is not None:
            os.close(self.first)
            self.first = None
        self._cage.remove()
        self._lease.release()

    def _oom_kills(self) -> int:
        return self._cage.oom_kills()


def _undo(made: tuple[leases.Lease, cages.Cage]) -> None:
    lease, cage = made
    cage.remove()
    lease.release()


def try_bwrap() -> None:
    """Run `true` behind the same walls. Blocking, some milliseconds. Raises `SandboxUnavailable` with the reason."""
    as_root = os.geteuid() == 0
    with _filter_fd() as filter_fd:
        command = [_find_bwrap(), *bwrapflags.probe_arguments(as_root=as_root, seccomp_fd=filter_fd), "--", "/bin/true"]
        try:
            trial = subprocess.run(
                command,
                pass_fds=(filter_fd,),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_START_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SandboxUnavailable(f"bubblewrap does not work here: {error}") from error
    if trial.returncode != 0:
        reason = " ".join(trial.stderr.decode("utf-8", "replace").split()) or f"exit status {trial.returncode}"
        raise SandboxUnavailable(
            f"bubblewrap does not work here: {reason} (it needs version 0.7, and user namespaces or root)"
        )


def _find_bwrap() -> str:
    found = shutil.which("bwrap")
    if found is None:
        raise SandboxUnavailable("bubblewrap is not installed (Debian, Ubuntu: apt install bubblewrap)")
    return found


@contextlib.contextmanager
def _filter_fd() -> Iterator[int]:
    """A descriptor that bubblewrap reads the syscall filter from."""
    program = seccomp.compile_bpf()
    fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    try:
        os.write(fd, program)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


def _bwrap_environment() -> dict[str, str]:
    """For bubblewrap and systemd-run themselves; none of it gets inside."""
    names = ("PATH", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")
    return {name: os.environ[name] for name in names if name in os.environ}


async def _first_process(status_read: int) -> int | None:
    """The pid of the sandbox's first process, as soon as bubblewrap tells it; None if it ended before that."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(os.dup(status_read), "rb")
    )
    try:
        line = await asyncio.wait_for(reader.readline(), timeout=_START_SECONDS)
        return int(json.loads(line)["child-pid"]) if line else None
    except TimeoutError as error:
        raise SandboxError("bubblewrap did not start the sandbox in time") from error
    finally:
        transport.close()
