"""What a cell prints, from Python and from its child processes, in order and bounded.

File descriptors 1 and 2 lead into one pipe that a thread empties, so `os.system` and C code are
heard; `sys.stdout` and `sys.stderr` write straight into the same `Capture`. It keeps the first and
the last `KEEP` characters of a cell: a flood costs time, not memory.
"""

from __future__ import annotations

import codecs
import fcntl
import io
import os
import struct
import termios
import threading
from collections import deque
from typing import NamedTuple

KEEP = 1 << 21
"""Characters kept of each end of a cell's output, for `history`."""
SHOW = 1 << 16
"""Characters of each end that are sent to the host."""


class Output(NamedTuple):
    """The whole of a cell's output is `head`, then `omitted` lost characters, then `tail`."""

    head: str
    omitted: int
    tail: str

    def cut(self, limit: int) -> Output:
        """The same with at most `limit` characters of each end."""
        if not self.omitted and len(self.head) + len(self.tail) <= 2 * limit:
            return Output(self.head + self.tail, 0, "")
        whole = self.head + self.tail if not self.omitted else ""
        head = (whole or self.head)[:limit]
        tail = (whole or self.tail or self.head[len(head) :])[-limit:]
        total = len(self.head) + self.omitted + len(self.tail)
        return Output(head, total - len(head) - len(tail), tail)

    def text(self) -> str:
        if not self.omitted:
            return self.head + self.tail
        return f"{self.head}\n[… {self.omitted:,} characters were not kept …]\n{self.tail}"


class Capture:
    """Collects output; thread-safe, and its locks may be taken again by a signal handler that prints."""

    def __init__(self, *, keep: int = KEEP) -> None:
        self._keep = keep
        self._lock = threading.RLock()
        self._clear()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        read, write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(read, False)
        self._pipe, self._pipe_end = read, write
        self._pipe_lock = threading.RLock()
        self._draining = False
        self.pid = os.getpid()
        self.attach()

    def attach(self) -> None:
        """Lead descriptors 1 and 2 here, wherever a cell has left them."""
        for fd in (1, 2):
            os.dup2(self._pipe_end, fd)

    def start(self) -> None:
        threading.Thread(target=self._listen, name="output", daemon=True).start()

    def _clear(self) -> None:
        self._head: list[str] = []
        self._head_size = 0
        self._tail: deque[str] = deque()
        self._tail_size = 0
        self._omitted = 0

    def add(self, text: str) -> None:
        with self._lock:
            room = self._keep - self._head_size
            if room > 0:
                self._head.append(text[:room])
                self._head_size += len(self._head[-1])
                text = text[room:]
            if text:
                self._add_tail(text)

    def _add_tail(self, text: str) -> None:
        if len(text) > self._keep:
            self._omitted += len(text) - self._keep
            text = text[-self._keep :]
        self._tail.append(text)
        self._tail_size += len(text)
        while self._tail_size - len(self._tail[0]) >= self._keep:
            self._tail_size -= len(self._tail[0])
            self._omitted += len(self._tail.popleft())

    def write(self, text: str) -> None:
        """Python's own output: what child processes wrote before it comes first."""
        # In this order: what is no longer in the pipe has been read by a drain that was under way then.
        if self._pending() or self._draining:
            self.drain()
        self.add(text)

    def drain(self) -> None:
        """Take in all that the pipe holds now."""
        with self._pipe_lock:
            self._draining = True
            try:
                while data := os.read(self._pipe, 1 << 16):
                    self.add(self._decoder.decode(data))
            except BlockingIOError:
                return
            finally:
                self._draining = False

    def peek_head(self, start: int, limit: int) -> str:
        """What the head holds from character `start`, up to `limit` in all: for the live view."""
        with self._lock:
            if min(self._head_size, limit) <= start:
                return ""
            return "".join(self._head)[start:limit]

    def take(self) -> Output:
        """Everything since the last `take`."""
        self.drain()
        with self._lock:
            output = Output("".join(self._head), self._omitted, "".join(self._tail))
            self._clear()
        return output

    def _pending(self) -> bool:
        (waiting,) = struct.unpack("i", fcntl.ioctl(self._pipe, termios.FIONREAD, b"\0\0\0\0"))
        return bool(waiting)

    def _listen(self) -> None:
        import select

        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        while True:
            poll.poll()
            self.drain()


class Stream(io.TextIOBase):
    """`sys.stdout` or `sys.stderr` of the kernel."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, capture: Capture, fd: int, name: str) -> None:
        self._capture = capture
        self._fd = fd
        self.name = name
        self.buffer = _Bytes(self)

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if os.getpid() == self._capture.pid:
            self._capture.write(text)
        else:
            self._write_from_child(text)
        return len(text)

    def _write_from_child(self, text: str) -> None:
        """In a forked process: what it has of the capture, locks included, is a dead copy."""
        data = memoryview(text.encode("utf-8", "replace"))
        while data:
            data = data[os.write(self._fd, data) :]

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self._fd

    def flush(self) -> None:
        return None


class _Bytes(io.RawIOBase):
    """The `.buffer` of a `Stream`."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        raw = bytes(data)
        self._stream.write(raw.decode("utf-8", "replace"))
        return len(raw)
