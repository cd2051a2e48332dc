"""Runs on behalf of others: so many at a time, so many that wait for their turn, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

from rlm.config import Settings
from rlm.context import Input
from rlm.events import Event, Sink
from rlm.result import RunResult
from rlm.run import Run
from rlm.service.steps import Steps

MAX_STEPS = 1000
"""Lines of progress that may wait for a caller who does not read them; later ones are dropped."""
USUAL_SECONDS = 10.0
"""How long a run takes, as long as none is known."""


def check(settings: Settings) -> None:
    """Raise `ConfigError` now for settings with which no run can be made, and not when the first one is asked for."""
    Run(settings, "?")


class Full(Exception):
    """As many runs go on and wait as may; `retry_after` says in how many seconds to try again."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("too many runs at once")
        self.retry_after = retry_after


class Closing(Exception):
    """The server is about to end, and begins nothing new."""


class Job:
    """One run that was taken on. `task` gives its result, or raises `UserError`."""

    def __init__(self) -> None:
        self.steps: asyncio.Queue[str] = asyncio.Queue(MAX_STEPS)
        """What it is at (see `Steps`)."""
        self.task: asyncio.Task[RunResult]
        self.run: Run | None = None
        """None while it waits for its turn."""
        self.told: RunResult | None = None
        """Its result as its last event tells it, also when it was cancelled."""
        self._cancelled = False

    def cancel(self) -> None:
        """End it without a result; it cleans up on its own. Once: a second time would cut that short."""
        if not self._cancelled:
            self._cancelled = True
            self.task.cancel()

    def interrupt(self) -> None:
        """End it with its best draft."""
        if self.run is not None:
            self.run.interrupt()
        else:
            self.cancel()

    def listen(self, event: Event) -> None:
        if event["type"] == "run.completed":
            self.told = RunResult.from_dict(event["result"])

    def note(self, line: str) -> None:
        if not self.steps.full():
            self.steps.put_nowait(line)


OnEnd = Callable[[Job, RunResult | BaseException], None]


class Jobs:
    """At most `workers` runs at the same time, and `queue` more that wait. Belongs to one event loop.

    `sinks` makes what listens to each run beside its caller; `on_end` hears how each ended.
    """

    def __init__(
        self,
        *,
        workers: int,
        queue: int,
        sinks: Callable[[], Iterable[Sink]] = tuple,
        on_end: OnEnd | None = None,
    ) -> None:
        self._places = workers + queue
        self._workers = workers
        self._turn = asyncio.Semaphore(workers)
        self._sinks = sinks
        self._on_end = on_end
        self._taken = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._live: set[Job] = set()
        self._mean = USUAL_SECONDS
        self.closing = False

    @property
    def running(self) -> int:
        """Runs that go on."""
        return sum(job.run is not None for job in self._live)

    @property
    def waiting(self) -> int:
        """Requests that have a place and no run yet."""
        return self._taken - self.running

    def place(self) -> Place:
        """Take a place, before anything is read. Raises `Full` or `Closing`."""
        if self.closing:
            raise Closing("the server is about to end")
        if self._taken >= self._places:
            rounds = 1 + self.waiting / self._workers
            raise Full(min(60, max(1, round(rounds * self._mean))))
        self._taken += 1
        self._idle.clear()
        return Place(self)

    async def idle(self) -> None:
        """Wait until no place is taken."""
        await self._idle.wait()

    def interrupt(self) -> None:
        """End every run with its best draft."""
        for job in list(self._live):
            job.interrupt()

    def abandon(self) -> None:
        """Tell the results of runs as they stand, for a process that ends now."""
        for job in list(self._live):
            if job.run is not None:
                job.run.abandon()

    async def aclose(self) -> None:
        """Cancel every run, and wait until they have cleaned up."""
        self.closing = True
        live = list(self._live)
        for job in live:
            job.cancel()
        if live:
            await asyncio.wait([job.task for job in live])

    # --- for a place

    def release(self) -> None:
        self._taken -= 1
        if not self._taken:
            self._idle.set()

    def begin(self, settings: Settings, question: str, inputs: Sequence[Input], over: Callable[[], None]) -> Job:
        job = Job()
        job.task = asyncio.create_task(self._play(job, settings, question, inputs))
        self._live.add(job)
        job.task.add_done_callback(lambda task: self._ended(job, task, over))
        return job

    async def _play(self, job: Job, settings: Settings, question: str, inputs: Sequence[Input]) -> RunResult:
        async with self._turn:
            job.run = Run(settings, question, inputs, sinks=[job.listen, Steps(job.note), *self._sinks()])
            result = await job.run.play()
        self._mean += (result.seconds - self._mean) / 5
        return result

    def _ended(self, job: Job, task: asyncio.Task[RunResult], over: Callable[[], None]) -> None:
        self._live.discard(job)
        self.release()
        over()
        if self._on_end is not None:
            failure = asyncio.CancelledError() if task.cancelled() else task.exception()
            self._on_end(job, job.told or failure or task.result())
        elif not task.cancelled():
            task.exception()  # whoever asked may be gone


class Place:
    """Room for one run. Left without having begun one, it is free again."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._used = False

    def begin(
        self,
        settings: Settings,
        question: str,
        inputs: Sequence[Input] = (),
        *,
        over: Callable[[], None] = lambda: None,
    ) -> Job:
        """Have the run played as soon as it is its turn. `over` is called when it has ended, or never began."""
        self._used = True
        return self._jobs.begin(settings, question, inputs, over)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if not self._used:
            self._jobs.release()
