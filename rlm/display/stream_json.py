"""The records of the trace on a stream, as they happen (`--stream-json`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import BinaryIO

from rlm.events import TRANSIENT, Event
from rlm.trace.records import encoder


class StreamJson:
    """Writes each event as one line of JSON: byte for byte what the trace file holds.

    When the reader has gone, `on_gone` is called once and nothing is written any more.
    """

    def __init__(
        self,
        stream: BinaryIO,
        *,
        secrets: Iterable[str] = (),
        on_gone: Callable[[], None] | None = None,
    ) -> None:
        self._stream: BinaryIO | None = stream
        self._encode = encoder(secrets)
        self._on_gone = on_gone

    def __call__(self, event: Event) -> None:
        if self._stream is None or event["type"] in TRANSIENT:
            return
        try:
            self._stream.write(self._encode(event))
            self._stream.flush()
        except OSError:
            self._stream = None
            if self._on_gone is not None:
                self._on_gone()

    def paused(self) -> AbstractContextManager[None]:
        return nullcontext()

    def close(self) -> None:
        """Nothing to put in order."""
