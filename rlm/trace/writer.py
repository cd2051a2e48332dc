"""The trace: an append-only JSONL file of a run's events."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from rlm.errors import ConfigError
from rlm.events import TRANSIENT, Event
from rlm.trace.blobs import LARGE, Blobs
from rlm.trace.records import encoder, redactor
from rlm.trace.store import BLOBS, EVENTS_FILE, RESULT_FILE, private_dir

FLUSH_AT = 1 << 20
"""Bytes that may wait for the end of the loop's tick."""


class TraceWriter:
    """A sink that writes each event to `folder/events.jsonl`, and the final result to `folder/result.json`.

    Lines are collected during one tick of the running event loop and written together at its end; without
    a running loop each is written at once. `flush()` writes what waits: call it before acting on an event
    that must not be lost. What was flushed survives the death of the process, not of the machine.

    A write that fails (a full disk) is told once through `on_error`; the trace then ends at the last whole
    line and the run goes on. Not thread-safe: one run, one thread.

    Texts of more than `rlm.trace.blobs.LARGE` characters go to `folder/blobs`. The file is locked while the
    writer is open, which is how others know that the run goes on; what a killed run left of its last line is
    cut off.

    Raises `ConfigError` if the folder cannot be made, the file cannot be opened, or another run writes to it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        secrets: Iterable[str] = (),
        on_error: Callable[[str], None] | None = None,
    ) -> None:
        self.path = folder / EVENTS_FILE
        self._on_error = on_error
        secrets = tuple(secrets)
        self._encode = encoder(secrets)
        self._blobs = Blobs(folder / BLOBS, redact=redactor(secrets))
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        try:
            private_dir(folder)
            self._fd: int | None = _open(self.path, os.O_APPEND)
            self._good_size = _whole_lines(self._fd)
        except OSError as error:
            raise ConfigError(f"cannot write the trace to {folder}: {error.strerror or error}") from error

    def __call__(self, event: Event) -> None:
        if event["type"] in TRANSIENT or self._fd is None:
            return
        line = self._encode(event)
        if len(line) > LARGE:
            try:
                line = self._encode(self._blobs.lift(event))
            except OSError as error:
                self._give_up(error)
                return
        self._waiting.append(line)
        self._waiting_bytes += len(line)
        if event["type"] == "run.completed":
            self.flush()
            self._write_result(event)
        elif self._waiting_bytes >= FLUSH_AT:
            self.flush()
        else:
            self._flush_soon()

    def flush(self) -> None:
        """Write all that waits. Never raises for a failing disk."""
        self._loop = None
        if not self._waiting or self._fd is None:
            return
        data = b"".join(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        try:
            _write_all(self._fd, data)
            self._good_size += len(data)
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        """Flush and close. Idempotent."""
        self.flush()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _flush_soon(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
            return
        if self._loop is not loop:
            self._loop = loop
            loop.call_soon(self.flush)

    def _write_result(self, event: Event) -> None:
        final = self.path.with_name(RESULT_FILE)
        draft = final.with_name(f".{RESULT_FILE}.part")
        try:
            fd = _open(draft, os.O_TRUNC)
            try:
                _write_all(fd, self._encode(event["result"]))
            finally:
                os.close(fd)
            draft.replace(final)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        # Should even this fail, half a line is left at the end, which readers of a killed run meet anyway.
        with contextlib.suppress(OSError):
            os.ftruncate(fd, self._good_size)
        os.close(fd)
        if self._on_error is not None:
            self._on_error(f"the trace ends here, {self.path} cannot be written: {error.strerror or error}")


def _whole_lines(fd: int) -> int:
    """Lock the file and cut it after its last whole line; its size. Raises `BlockingIOError` if it is locked."""
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    size = os.fstat(fd).st_size
    keep = size
    while keep:
        start = max(0, keep - FLUSH_AT)
        if end := os.pread(fd, keep - start, start).rfind(b"\n") + 1:
            keep = start + end
            break
        keep = start
    if keep < size:
        os.ftruncate(fd, keep)
    return keep


def _open(path: Path, flag: int) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | flag, 0o600)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
