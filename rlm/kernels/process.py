"""No wall at all: the agent as a plain child process, with the user's own rights. For trusted code only."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import warnings
from collections.abc import Sequence
from pathlib import Path

from rlm.assets import asset_dir
from rlm.errors import SandboxError
from rlm.kernels import leases, threads
from rlm.kernels.limits import NOFILE, Strength, checked_mounts, environment
from rlm.kernels.marks import VARIABLE, kill_marked
from rlm.kernels.streams import BUFFER, ChildProcess
from rlm.protocols import SandboxSpec


class ProcessLauncher:
    """Starts agents without a wall. Mounts are not made: the guest reads their sources where they lie.

    `python` is the interpreter, `site` the folder of its packages (in the agent's RLM_SITE), `command`
    the agent's command line, by default the guest of this installation.
    """

    name = "process"

    def __init__(
        self,
        *,
        python: Path,
        site: Path,
        command: Sequence[str] | None = None,
        lease_root: Path | None = None,
    ) -> None:
        guest = asset_dir("sandbox") / "guest"
        self._enter = str(guest / "enter.py")
        self._python = str(python)
        self._site = site
        self._command = tuple(command or (self._python, "-I", str(guest / "agent.py")))
        self._lease_root = lease_root

    def strength(self) -> Strength:
        return Strength("none", ("the code runs with all rights of this user",))

    async def check(self) -> None:
        """Any machine that runs this can run a child."""

    async def launch(self, spec: SandboxSpec) -> LooseProcess:
        """Warns (`UserWarning`) each time; raises `SandboxError` if the child cannot be started."""
        warnings.warn("the process sandbox has no wall: the model's code runs with your rights", stacklevel=2)
        checked_mounts(spec.mounts)
        lease = await threads.make(lambda: leases.acquire(root=self._lease_root), leases.Lease.release)
        mark = secrets.token_hex(16)
        lease.note("mark", mark)
        limits = ("RLIMIT_CORE=0", f"RLIMIT_NOFILE={NOFILE}")
        try:
            child = await asyncio.create_subprocess_exec(
                *(self._python, "-I", "-S", self._enter, "-", *limits, "--", *self._command),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**environment(spec), "RLM_SITE": str(self._site), VARIABLE: mark},
                cwd="/",
                start_new_session=True,
                limit=BUFFER,
            )
        except BaseException as error:
            kill_marked(mark)
            lease.release()
            if isinstance(error, OSError):
                raise SandboxError(f"the sandbox process did not start: {error}") from error
            raise
        return LooseProcess(child, lease, mark)


class LooseProcess(ChildProcess):
    """An agent and whatever it started."""

    def __init__(self, child: asyncio.subprocess.Process, lease: leases.Lease, mark: str) -> None:
        super().__init__(child)
        self._lease = lease
        self._mark = mark

    def _end(self) -> None:
        # The agent hides its environment from all but root.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        kill_marked(self._mark)

    def _clean(self) -> None:
        kill_marked(self._mark)
        self._lease.release()
