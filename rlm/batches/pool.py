"""A pool of jobs: some at a time, a few more made ready ahead, and none begun that cannot be paid for."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from rlm.gates import Gate, GateClosed
from rlm.purse import Purse

Job = TypeVar("Job")
Done = TypeVar("Done")


async def in_pool(
    jobs: Iterable[Job],
    play: Callable[[Job, Gate], Coroutine[Any, Any, Done]],
    *,
    workers: int,
    ahead: int = 0,
    purse: Purse | None = None,
    was_cut: Callable[[Done], bool] = bool,
) -> AsyncGenerator[Done, None]:
    """What `play` makes of each job, as it comes.

    At most `workers` are within their gates at a time, and `ahead` more have been begun: they wait for theirs, or clean
    up. With a `purse`, no gate is opened once the money that is left is less than a job has cost on average, or after a
    job `was_cut` short by it; then no further job is taken, and the generator ends when the others are done. A job that
    raises `GateClosed` within its gate found no money to begin with: it is tried again with fewer at a time.

    Close it (`contextlib.aclosing`) to cancel what goes on, and to wait until that has cleaned up. What `play` raises
    ends all.
    """
    places = _Places(workers, purse)
    waiting = iter(jobs)
    going: dict[asyncio.Task[Done], Job] = {}
    try:
        while True:
            while len(going) < workers + ahead and not places.refused:
                job = next(waiting, None)
                if job is None:
                    break
                going[asyncio.create_task(play(job, places.gate))] = job
            if not going:
                return
            for task in (await asyncio.wait(going, return_when=asyncio.FIRST_COMPLETED))[0]:
                if not isinstance(task.exception(), GateClosed):
                    places.refused |= purse is not None and was_cut(task.result())
                    yield task.result()
                elif not places.refused:
                    await places.without_money()
                    waiting = itertools.chain([going[task]], waiting)
                del going[task]
    finally:
        for task in going:
            task.cancel()
        await asyncio.gather(*going, return_exceptions=True)


class _Places:
    """Opens the gates."""

    def __init__(self, workers: int, purse: Purse | None) -> None:
        self.refused = False
        self._workers = workers
        self._free = asyncio.Semaphore(workers)
        self._surplus = 0
        """Places that are given up when they become free."""
        self._purse = purse
        self._spent_before = purse.spent if purse else 0.0
        self._playing = self._ended = 0
        self._news = asyncio.Event()

    @asynccontextmanager
    async def gate(self) -> AsyncIterator[None]:
        await self._free.acquire()
        try:
            await self._affordable()
            async with self._play():
                yield
        finally:
            if self._surplus:
                self._surplus -= 1
            else:
                self._free.release()

    @asynccontextmanager
    async def _play(self) -> AsyncIterator[None]:
        self._playing += 1
        try:
            yield
        finally:
            self._playing -= 1
            self._ended += 1
            self._news.set()

    async def without_money(self) -> None:
        """A job has found no money to begin with: fewer at a time, or where it was alone, none any more."""
        if not self._playing:
            self.refused = True
        elif self._workers > 1:
            self._workers -= 1
            if self._free.locked():
                self._surplus += 1
            else:
                await self._free.acquire()

    async def _affordable(self) -> None:
        """Wait for those that are playing while only they can tell whether there is enough. Raises `GateClosed`."""
        while not self.refused and not self._enough():
            if not self._playing:
                self.refused = True
                break
            self._news.clear()
            await self._news.wait()
        if self.refused:
            raise GateClosed

    def _enough(self) -> bool:
        """Whether there is money for one more, should those that are playing cost what others did."""
        if self._purse is None:
            return True
        left = self._purse.left()
        mean = (self._purse.spent - self._spent_before) / self._ended if self._ended else 0.0
        return left > 0 and left >= mean * (self._playing + 1)
