"""Blocking work whose result must be undone if nobody waits for it any more."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar

from rlm.errors import RLMError

T = TypeVar("T")


async def make(work: Callable[[], T], undo: Callable[[T], None]) -> T:
    """Run `work`, which makes something, in a thread; a cancelled caller gets it undone first.

    A thread cannot be cancelled: what it makes would be left behind.
    """
    making = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(making)
    except asyncio.CancelledError:
        # A failure made nothing, and the cancellation is what the caller waits for.
        with contextlib.suppress(RLMError, OSError):
            await asyncio.to_thread(undo, await making)
        raise
