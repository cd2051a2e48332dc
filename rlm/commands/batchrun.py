"""A batch on behalf of a command: progress, signals, the table, the exit code."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import aclosing, redirect_stdout, suppress
from dataclasses import dataclass
from typing import Any, Literal

from rlm.batches.batch import Batch, Done
from rlm.batches.executor import Executor
from rlm.batches.local import LocalExecutor, usual_ahead
from rlm.commands.console import print_json, print_line, say
from rlm.commands.runlist import table, table_width
from rlm.commands.running import INTERRUPTED, reap
from rlm.commands.telemetry import spans
from rlm.display.text import count, duration, one_line
from rlm.errors import ConfigError
from rlm.events import Sink
from rlm.kernels.select import choose
from rlm.result import RunResult

ROWS = 40
"""Of the table at the end; what went wrong comes first."""
_HEAD = ("ID", "STATUS", "TURNS", "CALLS", "TOKENS", "COST", "TIME")
_TO_THE_RIGHT = set(_HEAD[2:])
_FAILED, _CAPPED = 1, 3


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Where the runs go on, and how many of them."""

    name: Literal["local", "ray"]
    workers: int
    ahead: int | None
    ray_address: str | None
    ray_cpus: float

    def open(self, batch: Batch, sinks: Sequence[Sink]) -> Executor:
        """Raises `ConfigError`."""
        if self.name == "ray":
            from rlm.batches.ray_engine import RayExecutor

            if sinks:
                raise ConfigError("--otel: not with --engine ray")
            return RayExecutor(
                batch.settings,
                workers=self.workers,
                address=self.ray_address,
                cpus=self.ray_cpus,
                purse=batch.purse,
            )
        ahead = usual_ahead(self.workers) if self.ahead is None else self.ahead
        return LocalExecutor(batch.settings, ahead=ahead, purse=batch.purse, sinks=sinks)


def play_and_report(batch: Batch, engine: Engine, *, as_json: bool, quiet: bool) -> int:
    """Play what is to be done and print what came of all; returns the exit code.

    The first SIGINT or SIGTERM stops the runs that go on, which are taken up again next time; the second one ends this
    process at once.
    """
    reap()
    began, interrupted = time.monotonic(), False
    if batch.to_do:
        # Ray tells of lost machines wherever it likes; stdout is for what came of the batch.
        with spans(batch.settings) as sinks, redirect_stdout(sys.stderr):
            interrupted = asyncio.run(_Playing(batch, engine, sinks, quiet=quiet).play())
    _report(batch, time.monotonic() - began, interrupted=interrupted, as_json=as_json)
    if interrupted:
        return INTERRUPTED
    if any(failed(done.result) for done in batch.done):
        return _FAILED
    return _CAPPED if batch.to_do else 0


class _Playing:
    def __init__(self, batch: Batch, engine: Engine, sinks: Sequence[Sink], *, quiet: bool) -> None:
        self._batch = batch
        self._engine = engine
        self._sinks = sinks
        self._quiet = quiet
        self._signals = 0
        self._task: asyncio.Task[None] | None = None

    async def play(self) -> bool:
        """Whether it was interrupted."""
        loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._all())
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        with suppress(asyncio.CancelledError):
            await self._task
        return self._signals > 0

    async def _all(self) -> None:
        settings, total = self._batch.settings, len(self._batch.to_do) + len(self._batch.done)
        if settings.route != "llm" and self._engine.name == "local":
            # What the first use builds takes long: it is told here, and once.
            await choose(settings.sandbox, runtime=settings.runtime, progress=None if self._quiet else say)
        executor = self._engine.open(self._batch, self._sinks)
        # With fewer places than runs, some could do nothing but wait.
        workers = min(self._engine.workers, settings.concurrency)
        async with aclosing(executor), aclosing(self._batch.play(executor, workers=workers)) as coming:
            async for done in coming:
                if not self._quiet:
                    say(_line(done, f"{len(self._batch.done)}/{total}"))

    def _stop(self) -> None:
        self._signals += 1
        if self._signals > 1:
            # Nothing is left behind: the sandboxes end with the pipes to them.
            os._exit(INTERRUPTED)
        if not self._quiet:
            say("interrupted: the runs that go on are stopped, and taken up again next time (once more: end at once)")
        if self._task is not None:
            self._task.cancel()


def failed(result: RunResult) -> bool:
    """Whether there is no result to use: a draft that a limit cut short is one."""
    return result.stop_reason == "error"


def _line(done: Done, number: str) -> str:
    result = done.result
    what = f"{result.stop_reason}: {one_line(result.error.message, 200)}" if result.error else result.stop_reason
    return f"[{number}] {done.task.id}: {what}, {_tokens(result):,} tokens, {result.seconds:.1f} s"


def _report(batch: Batch, seconds: float, *, interrupted: bool, as_json: bool) -> None:
    reasons = Counter(done.result.stop_reason for done in batch.done)
    spent = _total(each.cost for each in batch.folder.attempts.values())
    if as_json:
        print_json(
            {
                "tasks": len(batch.done) + len(batch.to_do),
                "done": len(batch.done),
                "failed": reasons["error"],
                "without_result": [task.id for task in batch.to_do],
                "stop_reasons": dict(reasons),
                "interrupted": interrupted,
                "cost": spent,
                "seconds": round(seconds, 3),
                "out": str(batch.folder.path),
            }
        )
        return
    for line in _table(batch.done):
        print_line(line)
    if batch.to_do and not interrupted:
        say(f"{len(batch.to_do):,} tasks have no result: the cost cap is reached")


def _table(every: Sequence[Done]) -> list[str]:
    """The tasks as rows, cut to a screen, and a line of totals."""
    order = sorted(every, key=lambda done: done.result.stop_reason == "answered")
    results = [done.result for done in every]
    rows: list[tuple[str, ...]] = [_HEAD, *(_row(done.task.id, done.result) for done in order[:ROWS])]
    total = Counter[str]()
    for result in results:
        total.update(turns=result.turns, calls=result.usage.sub.calls, tokens=_tokens(result))
    cost, seconds = _total(result.cost for result in results), sum(result.seconds for result in results)
    answered = sum(result.stop_reason == "answered" for result in results)
    figures = (f"{total['turns']:,}", f"{total['calls']:,}", count(total["tokens"]), _money(cost), duration(seconds))
    rows.append((f"{len(results):,} results", f"{answered:,} answered", *figures))
    lines = list(table(rows, right=_TO_THE_RIGHT, width=table_width()))
    if len(order) > ROWS:
        lines.insert(-1, f"… and {len(order) - ROWS:,} more")
    return lines


def _row(id_: str, result: RunResult) -> tuple[str, ...]:
    return (
        one_line(id_, 40),
        result.stop_reason,
        f"{result.turns:,}",
        f"{result.usage.sub.calls:,}",
        count(_tokens(result)),
        _money(result.cost),
        duration(result.seconds),
    )


def _tokens(result: RunResult) -> int:
    usage: Any = result.usage
    return int(sum(each.input_tokens + each.output_tokens for each in (usage.root, usage.sub)))


def _money(cost: float | None) -> str:
    return "-" if cost is None else f"{cost:.4f}"


def _total(costs: Iterable[float | None]) -> float | None:
    """None if nothing of it is known."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known else None
