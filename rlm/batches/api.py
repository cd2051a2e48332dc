"""`run_batch`: a batch from Python."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from pathlib import Path

from rlm.agent import RLM
from rlm.batches.batch import Batch
from rlm.batches.local import LocalExecutor, usual_ahead
from rlm.batches.tasks import BatchTask
from rlm.result import RunResult


async def run_batch(
    rlm: RLM,
    tasks: Iterable[BatchTask],
    *,
    out: str | Path,
    workers: int = 4,
    ahead: int | None = None,
    max_cost: float | None = None,
    retry_failed: bool = False,
) -> AsyncGenerator[tuple[str, RunResult], None]:
    """The id and the result of each task: those that `out` has already, then the others as they come.

        async for id, result in run_batch(RLM(model="gpt-5"), read_tasks(Path("tasks.jsonl")), out="results"):
            print(id, result.answer)

    The settings of `rlm` are those of each run. `workers` go on at the same time, and `ahead` more have their sandboxes
    started (by default as many as suit). `max_cost` bounds what all runs into this folder cost; tasks that it left no
    money for are missing from the end. `retry_failed` tries those again that ended by an error or a limit.

    A run that fails is a result with `stop_reason` "error". Raises `UserError` before anything is spent. To close the
    generator cancels what goes on; the next call with the same folder takes it up again.
    """
    batch = Batch(rlm.settings, list(tasks), Path(out), max_cost=max_cost, retry_failed=retry_failed)
    try:
        for done in list(batch.done):
            yield done.task.id, done.result
        ahead = usual_ahead(workers) if ahead is None else ahead
        executor = LocalExecutor(batch.settings, ahead=ahead, purse=batch.purse)
        async with aclosing(executor), aclosing(batch.play(executor, workers=workers)) as coming:
            async for done in coming:
                yield done.task.id, done.result
    finally:
        batch.close()
