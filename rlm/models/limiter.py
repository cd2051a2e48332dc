"""How many requests an endpoint gets at once: AIMD, first come first served, shared by the process.

The limit starts at the ceiling, is halved by a rejection (once per round trip: rejections of requests
that were sent before the last cut do not count again) and grows with successes, by about one plus a
sixteenth of itself per round trip, but only while at least half of it is in use.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from enum import IntEnum

DEFAULT_CEILING = 256


class Lane(IntEnum):
    """Who is admitted first; within a lane it is first come first served."""

    ROOT = 0
    RETRY = 1
    NEW = 2


class _Waiter:
    __slots__ = ("abandoned", "epoch", "future", "granted", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.future: asyncio.Future[None] = loop.create_future()
        self.granted = False
        self.abandoned = False
        self.epoch = 0


class Limiter:
    """Admits requests to one endpoint. Safe for several event loops in several threads.

        epoch = await limiter.acquire()
        …                                    # one request
        limiter.release(epoch, ok=True)      # exactly once per acquire

    Args:
        ceiling: the most requests at once; at least 1.
        clock: seconds, monotonic.
    """

    def __init__(self, ceiling: int = DEFAULT_CEILING, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._ceiling = max(1, ceiling)
        self._limit = float(self._ceiling)
        self._in_flight = 0
        self._epoch = 0
        self._resume_at = 0.0
        self._lanes: tuple[deque[_Waiter], ...] = tuple(deque() for _ in Lane)
        self._armed: set[asyncio.AbstractEventLoop] = set()

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return int(self._limit)

    @property
    def in_flight(self) -> int:
        return self._in_flight

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""
        return sum(not waiter.abandoned for lane in self._lanes for waiter in lane)

    @property
    def ceiling(self) -> int:
        return self._ceiling

    def set_ceiling(self, ceiling: int) -> None:
        """A raised ceiling takes effect at once if no rejection has lowered the limit."""
        with self._lock:
            at_ceiling = self._limit == self._ceiling
            self._ceiling = max(1, ceiling)
            self._limit = float(self._ceiling) if at_ceiling else min(self._limit, float(self._ceiling))
            self._admit()

    async def acquire(self, lane: Lane = Lane.NEW) -> int:
        """Wait for a slot; returns the epoch that `release` wants back. Cancelling it takes no slot."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._may_admit() and not any(self._lanes):
                self._in_flight += 1
                return self._epoch
            waiter = _Waiter(loop)
            self._lanes[lane].append(waiter)
            self._admit()
            self._arm(loop)
        try:
            await waiter.future
        except BaseException:
            with self._lock:
                waiter.abandoned = True
                if waiter.granted:
                    self._in_flight -= 1
                    self._admit()
            raise
        return waiter.epoch

    def release(self, epoch: int, *, ok: bool | None = None, pause: float = 0.0) -> None:
        """Give a slot back.

        Args:
            epoch: what `acquire` returned.
            ok: True for a reply, False for a rejection (429), None for anything else.
            pause: seconds during which nobody is admitted, from the endpoint's `Retry-After`.
        """
        with self._lock:
            if ok:
                self._grow()
            elif ok is False and epoch == self._epoch:
                self._epoch += 1
                self._limit = max(1.0, self._limit / 2)
            self._in_flight -= 1
            if pause > 0:
                self._resume_at = max(self._resume_at, self._clock() + pause)
                for loop in {waiter.loop for lane in self._lanes for waiter in lane}:
                    self._arm(loop)
            self._admit()

    def _grow(self) -> None:
        if self._limit < self._ceiling and self._in_flight >= self._limit / 2:
            step = 1 + self._limit / 16
            self._limit = min(float(self._ceiling), self._limit + step / self._limit)

    def _may_admit(self) -> bool:
        return self._in_flight < int(self._limit) and (not self._resume_at or self._clock() >= self._resume_at)

    def _admit(self) -> None:
        for lane in self._lanes:
            while lane and self._may_admit():
                waiter = lane.popleft()
                if waiter.abandoned or waiter.loop.is_closed():
                    continue
                waiter.granted = True
                waiter.epoch = self._epoch
                self._in_flight += 1
                if not _wake(waiter):
                    waiter.abandoned = True
                    self._in_flight -= 1

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have `loop` admit again when the pause is over; its timer is the only one that it has."""
        delay = self._resume_at - self._clock() if self._resume_at else 0.0
        if delay <= 0 or loop in self._armed or loop.is_closed():
            return
        self._armed.add(loop)
        if loop is _running_loop():
            loop.call_later(delay, self._resume, loop)
        else:
            try:
                loop.call_soon_threadsafe(loop.call_later, delay, self._resume, loop)
            except RuntimeError:  # it closed a moment ago, and its waiters with it
                self._armed.discard(loop)

    def _resume(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            self._armed.discard(loop)
            self._admit()
            if any(waiter.loop is loop for lane in self._lanes for waiter in lane):
                self._arm(loop)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _wake(waiter: _Waiter) -> bool:
    """Resolve the waiter's future on its own loop; False if that loop is gone."""
    if waiter.loop is _running_loop():
        _resolve(waiter.future)
        return True
    try:
        waiter.loop.call_soon_threadsafe(_resolve, waiter.future)
    except RuntimeError:
        return False
    return True


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


_registry: dict[str, Limiter] = {}
_registry_lock = threading.Lock()


def limiter_for(endpoint: str, ceiling: int = DEFAULT_CEILING) -> Limiter:
    """The process's one limiter of an endpoint. The latest ceiling asked for holds for all its users."""
    with _registry_lock:
        limiter = _registry.get(endpoint)
        if limiter is None:
            limiter = _registry[endpoint] = Limiter(ceiling)
    if limiter.ceiling != ceiling:
        limiter.set_ceiling(ceiling)
    return limiter
