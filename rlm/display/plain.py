"""Progress as lines, for logs and pipes."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from typing import TextIO

from rlm.display.narrate import narrate
from rlm.display.progress import Batch, Progress
from rlm.events import Event

EVERY = 5.0
"""Seconds between two lines about running batches."""


class PlainDisplay:
    """One line per thing that happened. A stream that is gone (a closed pipe) silences it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream
        self._progress = Progress()
        self._last_batch_line = time.monotonic()

    def __call__(self, event: Event) -> None:
        self._progress.update(event)
        for line in narrate(event, self._progress):
            self._print(line.text)
        if event["type"] == "call.completed" and time.monotonic() - self._last_batch_line >= EVERY:
            self._last_batch_line = time.monotonic()
            for batch in self._progress.root.batches.values():
                self._print(_so_far(batch))

    def paused(self) -> AbstractContextManager[None]:
        return nullcontext()

    def close(self) -> None:
        self._stream = None

    def _print(self, line: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(f"rlm: {line}\n")
            self._stream.flush()
        except (OSError, ValueError):
            # Nobody reads any more; the run is worth more than its progress lines.
            self._stream = None


def _so_far(batch: Batch) -> str:
    failed = f", {batch.failed:,} failed" if batch.failed else ""
    return f"  batch: {batch.done:,}/{batch.size:,} done{failed}"
