"""The clock of a cell: it stands still while the cell waits for sub-calls."""

from __future__ import annotations

import asyncio
import time


class ActiveClock:
    """Counts active seconds from its creation. Lives on the event loop."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._waited = 0.0
        self._paused_at: float | None = None
        self._changed = asyncio.Event()

    def pause(self, paused: bool) -> None:
        now = time.monotonic()
        if paused and self._paused_at is None:
            self._paused_at = now
        elif not paused and self._paused_at is not None:
            self._waited += now - self._paused_at
            self._paused_at = None
        self._changed.set()

    @property
    def wall(self) -> float:
        return time.monotonic() - self._started

    @property
    def active(self) -> float:
        now = time.monotonic()
        waiting = now - self._paused_at if self._paused_at is not None else 0.0
        return now - self._started - self._waited - waiting

    async def expire(self, limit: float | None) -> None:
        """Returns once `limit` active seconds have passed; never, without a limit."""
        while limit is None or self.active < limit:
            self._changed.clear()
            left = None if limit is None or self._paused_at is not None else max(0.0, limit - self.active)
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                continue
