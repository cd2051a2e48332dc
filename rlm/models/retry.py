"""The one retry layer: which failed attempt is tried again, when, and when to give up."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from rlm.models.failures import AttemptFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff with full jitter. Times are seconds."""

    max_attempts: int = 6
    """Attempts in all; those that were answered with 429 are bounded by `patience` alone."""
    base_delay: float = 0.5
    max_delay: float = 30.0
    retry_after_cap: float = 60.0
    """The longest `Retry-After` that is obeyed in full."""
    patience: float = 300.0
    """The most time that failed attempts and the sleeps between them may take. Waiting for a slot
    does not count."""
    unreachable_patience: float = 9.0
    """The same where no connection can be made: refused, no route, no such host."""
    stale_retries: int = 2
    """Free, immediate attempts after an idle connection turned out to be closed by the server."""
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random
    """Uniform in [0, 1)."""

    def retry_after(self, failed: AttemptFailed) -> float:
        """Seconds that the endpoint asked for, capped; 0 if it asked for none."""
        return min(failed.retry_after or 0.0, self.retry_after_cap)


class Retries:
    """The attempts of one call.

    while True:
        retries.begin()
        try: return await attempt()
        except AttemptFailed as failed: await retries.after(failed)
    """

    __slots__ = ("_backoffs", "_faults", "_policy", "_spent", "_stale", "_started", "attempts")

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._started = 0.0
        self._spent = 0.0
        self._faults = 0
        self._backoffs = 0
        self._stale = 0
        self.attempts = 0
        """Requests made so far."""

    def begin(self) -> None:
        """An attempt starts now."""
        self.attempts += 1
        self._started = self._policy.clock()

    async def after(self, failed: AttemptFailed) -> None:
        """Sleep until the next attempt is due, or raise the failure's error for good."""
        policy = self._policy
        self._spent += policy.clock() - self._started
        failed.error.attempts = self.attempts
        if not failed.retry:
            raise failed.error from failed.__cause__
        if failed.stale and self._stale < policy.stale_retries:
            self._stale += 1
            return
        if not failed.throttled:
            self._faults += 1
        delay = policy.jitter() * min(policy.max_delay, policy.base_delay * 2**self._backoffs)
        self._backoffs += 1
        delay = max(delay, policy.retry_after(failed))
        patience = policy.unreachable_patience if failed.unreachable else policy.patience
        if self._faults >= policy.max_attempts or self._spent + delay > patience:
            raise failed.error from failed.__cause__
        self._spent += delay
        await policy.sleep(delay)
