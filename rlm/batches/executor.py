"""Where the runs of a batch take place."""

from __future__ import annotations

from typing import Protocol

from rlm.batches.tasks import BatchTask
from rlm.gates import Gate
from rlm.result import RunResult


class Executor(Protocol):
    """Plays runs in one place: this process, or the machines of a cluster."""

    ahead: int
    """How many runs beyond those that may go on it makes ready."""

    async def play(self, task: BatchTask, run_id: str, gate: Gate) -> RunResult:
        """Play a task as the run of this id, within its gate; what a trace of it holds is not done again.

        Failures of the run are in the result. Raises `UserError` for mistakes found before anything was spent.
        """
        ...

    async def aclose(self) -> None:
        """Give up what it holds; no run goes on."""
        ...
