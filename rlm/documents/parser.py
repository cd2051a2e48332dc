"""`Parser`: the limited process as its user sees it. Files go in by descriptor, text comes out by a pipe, capped."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlm.documents import cage

MEMORY = 2 << 30
"""Bytes that the parser of one file may map, beyond what its libraries take."""
MAX_TEXT = 128 << 20
"""Bytes of text that are taken of one file."""
START_SECONDS = 60
PIECE = 1 << 18


class ParseFailed(Exception):
    """A file could not be parsed; the text, one line, may quote the file."""


class Parser:
    """Parses files in processes of their own, several at the same time, from any thread. Started when first needed."""

    def __init__(self, *, memory: int = MEMORY, worker: Path = cage.WORKER, preload: bool = False) -> None:
        self.walled: bool | None = None
        """Whether it runs behind bubblewrap; None as long as it does not run."""
        self._memory = memory
        self._worker = worker
        self.preload = preload
        """Whether it is for documents: their libraries are imported once then, before the first."""
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None
        self._over = threading.Event()

    def run(self, job: str, fd: int, sink: Callable[[bytes], None], *, seconds: float, **options: Any) -> None:
        """Have the open file parsed; `sink` gets the text's bytes as they come. Raises `ParseFailed`."""
        number = next(self._numbers)
        reading, writing = os.pipe()
        try:
            request = {"id": number, "job": job, "seconds": seconds, "memory": self._memory, **options}
            try:
                with self._lock:
                    socket.send_fds(self._started(), [json.dumps(request).encode()], [fd, writing])
            except OSError as error:
                raise ParseFailed("the process that parses has ended") from error
            finally:
                os.close(writing)
            try:
                _take(reading, sink, time.monotonic() + seconds)
            except BaseException:
                self._kill(number)
                raise
        finally:
            os.close(reading)

    def close(self) -> None:
        """End the process, and all that it is parsing."""
        self._over.set()
        with self._lock:
            if self._requests is not None:
                self._requests.close()
            if self._process is not None:
                # It ends with its stdin; behind bubblewrap all of its processes end with it.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(2)
                self._process.kill()
                self._process.wait()
            self._process = self._requests = None

    def __enter__(self) -> Parser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _kill(self, number: int) -> None:
        with self._lock, contextlib.suppress(OSError):
            if self._requests is not None:
                self._requests.send(json.dumps({"kill": number}).encode())

    def _started(self) -> socket.socket:
        if self._requests is None:
            tried = threading.Event()
            threading.Thread(target=self._host, args=(tried,), name="rlm-parser", daemon=True).start()
            tried.wait()
        if self._requests is None:
            raise OSError("no way to start it works here")
        return self._requests

    def _host(self, tried: threading.Event) -> None:
        """Start the process in a thread that lives as long: bubblewrap's own dies with the thread that started it."""
        try:
            self._start()
        finally:
            tried.set()
        self._over.wait()

    def _start(self) -> None:
        for walled, command in cage.commands(self._worker, preload=self.preload):
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            process = subprocess.Popen(
                command,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=dict(cage.ENVIRONMENT),
                cwd="/",
                start_new_session=True,
            )
            theirs.close()
            ours.settimeout(START_SECONDS)
            with contextlib.suppress(OSError):
                if ours.recv(1024):
                    self._process, self._requests, self.walled = process, ours, walled
                    return
            ours.close()
            process.kill()
            process.wait()


def _take(pipe: int, sink: Callable[[bytes], None], deadline: float) -> None:
    head = b""
    while b"\n" not in head:
        piece = _read(pipe, deadline)
        head += piece
        if not piece or len(head) > 2 * PIECE:
            raise ParseFailed("its parser crashed, or took more memory or time than it may have")
    line, _, rest = head.partition(b"\n")
    try:
        answer = json.loads(line)
        length = answer.get("bytes")
    except (ValueError, AttributeError) as error:
        raise ParseFailed("its parser went astray") from error
    if not isinstance(length, int):
        raise ParseFailed(" ".join(str(answer.get("error")).split())[:300])
    if length > MAX_TEXT:
        raise ParseFailed(f"its text has {length:,} bytes; {MAX_TEXT:,} are taken at most")
    while length > 0:
        sink(rest[:length])
        length -= len(rest)
        if length > 0 and not (rest := _read(pipe, deadline)):
            raise ParseFailed("its parser crashed")


def _read(pipe: int, deadline: float) -> bytes:
    ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
    if not ready:
        raise ParseFailed("it takes too long")
    return os.read(pipe, PIECE)
