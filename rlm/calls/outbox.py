"""Recorded before delivered: outcomes leave once per loop tick, after the trace was flushed.

The events of a tick's outcomes go to the trace first; then one callback flushes the trace and hands
the outcomes over. A host that is killed in between loses replies that nobody had seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rlm.protocols import Deliver, Item


class Outbox:
    """Collects the outcomes of a loop tick, for all batches of a run."""

    def __init__(self, flush: Callable[[], None]) -> None:
        self._flush = flush
        self._waiting: dict[Deliver, list[Item]] = {}

    def post(self, deliver: Deliver, item: Item) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._send)
        self._waiting.setdefault(deliver, []).append(item)

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, {}
        self._flush()
        loop = asyncio.get_running_loop()
        for deliver, items in waiting.items():
            # A callback each: one batch whose peer is gone does not keep the others from theirs.
            loop.call_soon(deliver, items)
