"""One batch: what of it is done, what is to be done, and what came of it.

The same batch into the same folder goes on where it ended. A task that has a result is not tried again; a run that was
killed or interrupted is taken up again from its trace, so that nothing is paid for twice.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import NamedTuple

from rlm import parts
from rlm.batches.executor import Executor
from rlm.batches.local import cost_so_far
from rlm.batches.pool import in_pool
from rlm.batches.results import Attempt, Folder
from rlm.batches.tasks import BatchTask
from rlm.config import Settings
from rlm.errors import InputError, UserError
from rlm.gates import Gate, GateClosed
from rlm.purse import Purse
from rlm.record import GOES_ON
from rlm.result import RunResult
from rlm.run import Run
from rlm.trace.secrets import secrets_of
from rlm.trace.store import new_run_id

Notice = Callable[[str], None]


class Done(NamedTuple):
    """A task with its result."""

    task: BatchTask
    result: RunResult
    before: bool = False
    """Whether it was there when the batch began."""


class Batch:
    """The tasks of one batch and their folder, which is locked until `close`.

    `settings` are those of each run; `max_cost` bounds what all of them cost together, what earlier runs of this folder
    cost included. With `retry_failed` tasks that ended without an answer, by an error or a limit, are tried again.
    Raises `UserError` for what makes no batch: nothing is spent then.
    """

    def __init__(
        self,
        settings: Settings,
        tasks: Sequence[BatchTask],
        out: Path,
        *,
        max_cost: float | None = None,
        retry_failed: bool = False,
        notice: Notice = lambda _: None,
    ) -> None:
        if len({task.id for task in tasks}) < len(tasks):
            raise InputError("two tasks of a batch have the same id")
        self.folder = Folder(out, secrets=secrets_of(settings))
        self.settings = settings.model_copy(update={"trace_dir": self.folder.traces})
        self._notice = notice
        self._retry_failed = retry_failed
        try:
            found = [(task, self.folder.result(task.id)) for task in tasks]
            self._check(found)
            self.purse = None if max_cost is None else Purse(max_cost, spent=self._spent())
            Run(self.settings, "?", shared=parts.Shared(self.purse))  # settings that make no run are found now
        except BaseException:
            self.folder.close()
            raise
        self.done = [Done(task, result, before=True) for task, result in found if result and not self._again(result)]
        """What has its result, in the order in which it came."""
        known = {each.task.id for each in self.done}
        self._to_do = {task.id: task for task in tasks if task.id not in known}

    @property
    def to_do(self) -> list[BatchTask]:
        """What has no result yet."""
        return list(self._to_do.values())

    def close(self) -> None:
        self.folder.close()

    async def play(self, executor: Executor, *, workers: int) -> AsyncGenerator[Done, None]:
        """Play what is to be done; each task when its result is in the folder. Close it (`aclosing`) to stop.

        Where the cost cap ends it, tasks are left in `to_do`. Raises `RLMError` if a result cannot be written.
        """

        async def play(task: BatchTask, gate: Gate) -> Done:
            return Done(task, await self._play(executor, task, gate))

        def was_cut(done: Done) -> bool:
            return self._was_cut(done.result)

        pool = {"workers": workers, "ahead": executor.ahead}
        coming = in_pool(self.to_do, play, **pool, purse=self.purse, was_cut=was_cut)
        async with aclosing(coming):
            async for done in coming:
                del self._to_do[done.task.id]
                self.done.append(done)
                yield done

    async def _play(self, executor: Executor, task: BatchTask, gate: Gate) -> RunResult:
        before = self.folder.latest().get(task.id)
        goes_on = before is not None and before.task == task.digest and before.stop_reason in {None, *GOES_ON}
        run_id = before.run_id if before and goes_on else new_run_id()
        try:
            result = await self._attempt(executor, task, run_id, gate)
        except UserError as error:
            result = RunResult.without_run(error, run_id=run_id)
            if goes_on and (self.folder.traces / run_id).exists():
                self._notice(f"{task.id}: the run cannot be taken up again, another one is begun: {error}")
                run_id = new_run_id()
                try:
                    result = await self._attempt(executor, task, run_id, gate)
                except UserError as failure:
                    result = RunResult.without_run(failure, run_id=run_id)
        if self._was_cut(result) and not result.cost:
            # Others hold what is left: it has not begun, and waits for them.
            await asyncio.to_thread(shutil.rmtree, self.folder.traces / run_id, ignore_errors=True)
            self.folder.ended(run_id, result.stop_reason, result.cost)
            raise GateClosed
        self.folder.keep(task.id, result)
        self.folder.ended(run_id, result.stop_reason, result.cost)
        return result

    async def _attempt(self, executor: Executor, task: BatchTask, run_id: str, gate: Gate) -> RunResult:
        self.folder.began(task.id, task.digest, run_id)
        return await executor.play(task, run_id, gate)

    def _was_cut(self, result: RunResult) -> bool:
        short = result.stop_reason == "max_cost" and self.purse is not None
        return short and self.purse is not None and self.purse.cut(result.cost, self.settings.max_cost)

    def _again(self, result: RunResult) -> bool:
        return self._retry_failed and result.stop_reason != "answered"

    def _check(self, found: Sequence[tuple[BatchTask, RunResult | None]]) -> None:
        """Raise `InputError` where a result is of another task that had the same id."""
        latest = self.folder.latest()
        for task, result in found:
            attempt = latest.get(task.id)
            if result is not None and attempt is not None and attempt.task != task.digest:
                raise InputError(
                    f"{self.folder.place(task.id)} is the result of another question, or about other inputs: "
                    "remove it, or use another folder"
                )

    def _spent(self) -> float:
        """Money of all runs of this folder, as far as it is known."""
        return sum(self._cost(attempt) for attempt in self.folder.attempts.values())

    def _cost(self, attempt: Attempt) -> float:
        if attempt.stop_reason is not None:
            return attempt.cost or 0.0
        return cost_so_far(self.settings, self.folder.traces / attempt.run_id)
