"""The records of the trace on a stream, as they happen (`--stream-json`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

from rlm.events import TRANSIENT, Event
from rlm.trace.records import encoder


class StreamJson:
    """Writes each event as one line of JSON: byte for byte what the trace file holds.

    Raises `BrokenPipeError` when the reader has gone: nobody can use the run any more.
    """

    def __init__(self, stream: BinaryIO, *, secrets: Iterable[str] = ()) -> None:
        self._stream = stream
        self._encode = encoder(secrets)

    def __call__(self, event: Event) -> None:
        if event["type"] not in TRANSIENT:
            self._stream.write(self._encode(event))
            self._stream.flush()

    def close(self) -> None:
        """Nothing to put in order."""
