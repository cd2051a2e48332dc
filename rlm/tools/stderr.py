"""The last words of a child process, for the error that says why it ended."""

from __future__ import annotations

import contextlib
import os
import threading
from types import TracebackType
from typing import Self

KEEP = 4096
"""Bytes of the end that are kept; all else is dropped, so that a chatty child costs nothing."""


class StderrTail:
    """`file` is for a child to write to; a thread reads until every writer has gone."""

    def __init__(self) -> None:
        reading, writing = os.pipe()
        self.file = os.fdopen(writing, "w", encoding="utf-8")
        self._tail = b""
        self._reader = threading.Thread(target=self._read, args=(reading,), name="rlm-stderr", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.file.close()

    def _read(self, reading: int) -> None:
        with os.fdopen(reading, "rb", buffering=0) as stream, contextlib.suppress(OSError):
            while data := stream.read(1 << 16):
                self._tail = (self._tail + data)[-KEEP:]

    def last_line(self, wait: float = 0.5) -> str:
        """The last line that is not empty. Waits up to `wait` seconds for a child that is about to end."""
        self.file.close()
        self._reader.join(wait)
        lines = self._tail.decode("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
