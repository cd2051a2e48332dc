"""The events of a trace as they are written: what is there, and then what comes, until its run is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import BinaryIO, NamedTuple

from rlm.errors import InputError
from rlm.events import Event
from rlm.trace.reader import Trace

CHUNK = 1 << 18
"""Bytes of the file that are read at a time."""
EVERY = 0.25
"""Seconds between two looks at a file that grows."""


class Piece(NamedTuple):
    """Some events in a row."""

    events: list[Event]
    position: int
    """How many events of the trace there are up to and with these."""
    goes_on: bool


async def follow(trace: Trace, *, skip: int = 0, over: Callable[[], bool] = bool) -> AsyncIterator[Piece]:
    """The events after the first `skip`, long texts as excerpts (see `rlm.trace.blobs`).

    Ends when the run is over, or when `over()` says so. Raises `InputError` for a file that cannot be read.
    """
    lines = _Lines(trace, skip)
    try:
        while not over():
            goes_on = await asyncio.to_thread(trace.goes_on)  # asked first: what comes after it is still read
            piece = await asyncio.to_thread(lines.read)
            if piece or lines.first:
                lines.first = False
                yield Piece(piece, lines.position, goes_on)
            elif not goes_on:
                yield Piece([], lines.position, False)
                return
            else:
                await asyncio.sleep(EVERY)
    finally:
        lines.close()


class _Lines:
    """Reads whole lines only: half a one is still being written, or was when its run was killed."""

    def __init__(self, trace: Trace, skip: int) -> None:
        self.position = 0
        self.first = True
        self._trace = trace
        self._skip = skip
        self._file: BinaryIO | None = None
        self._rest = b""

    def read(self) -> list[Event]:
        """The next events; none if there are none yet."""
        try:
            self._file = self._file or self._trace.path.open("rb")
            while True:
                data = self._file.read(CHUNK)
                *whole, self._rest = (self._rest + data).split(b"\n")
                events = [event for line in whole if (event := self._next(line)) is not None]
                if events or not data:
                    return events
        except OSError as error:
            raise InputError(f"cannot read the trace {self._trace.path}: {error.strerror or error}") from error

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _next(self, line: bytes) -> Event | None:
        self.position += 1
        if self.position <= self._skip:
            return None
        return self._trace.event(self.position, line)
