"""The runs of a batch in this process, on one event loop."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rlm import parts
from rlm.batches.tasks import BatchTask
from rlm.config import Settings
from rlm.errors import InputError, UserError
from rlm.events import Event, Sink
from rlm.gates import Gate, GateClosed
from rlm.parts import Shared
from rlm.purse import Purse
from rlm.record import Record
from rlm.result import RunResult
from rlm.run import Run
from rlm.trace.reader import Trace
from rlm.trace.store import runs_dir

MOST_AHEAD = 4
"""Sandboxes that wait for their run by default: one starts in about half a second."""
MEMORY_AHEAD = 1 << 30
"""Bytes of free memory for each of them."""
PATIENCE = 120.0
"""Seconds for a process that still holds a run's trace, on a machine that was lost, to end."""


def usual_ahead(workers: int) -> int:
    """How many sandboxes are best started ahead of their runs, for so many runs at a time."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(workers, MOST_AHEAD, free // MEMORY_AHEAD)


class LocalExecutor:
    """An `Executor`. `sinks` get the events of all runs."""

    def __init__(
        self, settings: Settings, *, ahead: int, purse: Purse | None = None, sinks: Iterable[Sink] = ()
    ) -> None:
        self.ahead = ahead
        self._settings = settings
        self._models = parts.models(settings)
        self._shared = Shared(purse, self._models)
        self._sinks = tuple(sinks)

    async def play(self, task: BatchTask, run_id: str, gate: Gate) -> RunResult:
        return await play_task(self._settings, task, run_id, gate=gate, shared=self._shared, sinks=self._sinks)

    async def aclose(self) -> None:
        for model in self._models.all():
            await model.aclose()


async def play_task(
    settings: Settings,
    task: BatchTask,
    run_id: str,
    *,
    gate: Gate | None = None,
    shared: Shared | None = None,
    sinks: Sequence[Sink] = (),
) -> RunResult:
    """`Executor.play`: a run that has a trace under `settings.trace_dir` is taken up again."""
    record = await asyncio.to_thread(_record, runs_dir(settings.trace_dir) / run_id)
    if record is not None and record.end is not None:
        return RunResult.from_dict(record.end)
    results: list[dict[str, Any]] = []

    def keep(event: Event) -> None:
        if event["type"] == "run.completed":
            results.append(event["result"])

    inputs = () if record else task.given
    run = Run(settings, task.question, inputs, sinks=(*sinks, keep), record=record, shared=shared, run_id=run_id)
    try:
        return await run.play(gate)
    except (UserError, GateClosed):
        raise
    except Exception:
        # A fault of ours in one run is no reason to end the others; the run has told its result.
        if not results:
            raise
        return RunResult.from_dict(results[-1])


def _record(folder: Path) -> Record | None:
    """The run's record, if it had begun. Blocks; raises `InputError`."""
    trace = Trace(folder)
    until = time.monotonic() + PATIENCE
    while trace.goes_on() and time.monotonic() < until:
        time.sleep(0.1)
    if next(trace.events(), None) if trace.path.is_file() else None:
        return Record(trace)
    if not trace.goes_on():
        shutil.rmtree(folder, ignore_errors=True)
    return None


def cost_so_far(settings: Settings, folder: Path) -> float:
    """What the run in this folder has cost, as far as its trace and the prices tell. Blocks."""
    try:
        past = Record(Trace(folder)).past
    except InputError:
        return 0.0  # it has not begun
    table = parts.prices(settings)
    return sum(table.cost(each.model, each.tokens) or 0.0 for each in past.spendings)
