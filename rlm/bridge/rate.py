"""Gives credit back no faster than a kernel may send frames."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

FRAMES_PER_SECOND = 20_000
BURST = 40_000
"""Frames that may come at once after a quiet time."""
BATCHED = 1 << 18
"""Bytes of credit that are saved up before they are sent, since each grant is a frame itself."""


class RateGate:
    """A token bucket over frames: a guest that floods is read more slowly, never cut off."""

    def __init__(self, grant: Callable[[int], None], *, rate: float = FRAMES_PER_SECOND, burst: float = BURST) -> None:
        self._grant = grant
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = time.monotonic()
        self._owed = 0
        self._timer: asyncio.TimerHandle | None = None

    def give_back(self, credit: int) -> None:
        """One frame has been served, and `credit` bytes of it are free again."""
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate) - 1
        self._at = now
        self._owed += credit
        if self._timer is not None:
            return
        if self._tokens < 0:
            self._timer = asyncio.get_running_loop().call_later(-self._tokens / self._rate, self._pay)
        elif self._owed >= BATCHED:
            self._pay()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pay(self) -> None:
        self._timer = None
        owed, self._owed = self._owed, 0
        if owed:
            self._grant(owed)
