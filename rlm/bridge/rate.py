"""Gives credit back no faster than a kernel may send frames."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

FRAMES_PER_SECOND = 20_000
BURST = 40_000
"""Frames that may come at once after a quiet time."""
DEBT = 200_000
"""Frames, or as much other work, that a kernel may be ahead of its rate: a window full of the shortest ones is more."""
BATCHED = 1 << 18
"""Bytes of credit that are saved up before they are sent, since each grant is a frame itself."""


class RateGate:
    """A token bucket over frames: a guest that is quick is read more slowly, one that floods is told apart."""

    def __init__(self, grant: Callable[[int], None], *, rate: float = FRAMES_PER_SECOND, burst: float = BURST) -> None:
        self._grant = grant
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = time.monotonic()
        self._owed = 0
        self._timer: asyncio.TimerHandle | None = None

    def admit(self, work: int = 1) -> bool:
        """Count a frame that makes as much work as `work` frames; False, uncounted, if that is too far ahead."""
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens - work < -DEBT:
            return False
        self._tokens -= work
        return True

    def give_back(self, credit: int) -> None:
        """`credit` bytes are free again."""
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
