"""The guest's end of the bridge: requests out, outcomes back, multiplexed over one socket.

One thread writes and one reads, so that an interrupt in the cell never cuts a frame in two.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import socket
import threading
from collections.abc import Callable
from typing import Any

from guest import wire

Message = dict[str, Any]


class BridgeClosed(Exception):
    """The host has closed the bridge, or this is not the kernel's own process."""


class Bridge:
    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._ids = itertools.count(1)
        self._outgoing: queue.SimpleQueue[bytes | threading.Event] = queue.SimpleQueue()
        self._listeners: dict[int, Callable[[Message], None]] = {}
        self._lock = threading.RLock()  # a signal handler of the cell may ask a sub-call too
        self._closed: str | None = None
        self._pid = os.getpid()

    def start(self) -> None:
        threading.Thread(target=self._write, name="bridge-out", daemon=True).start()
        threading.Thread(target=self._read, name="bridge-in", daemon=True).start()

    def send(self, message: Message) -> None:
        """Queue one message without waiting. Raises `BridgeClosed`, or `wire.WireError` if it is too large."""
        if os.getpid() != self._pid:
            raise BridgeClosed("sub-calls work only in the kernel's own process: use threads, not processes")
        if self._closed is not None:
            raise BridgeClosed(self._closed)
        self._outgoing.put(wire.bridge_frame(message))

    def flush(self, seconds: float) -> None:
        """Wait until all that was queued is on its way, for so long at most: what follows may kill this process."""
        if self._closed is not None or os.getpid() != self._pid:
            return
        written = threading.Event()
        self._outgoing.put(written)
        written.wait(seconds)

    def open(self, listener: Callable[[Message], None]) -> int:
        """A new id, whose messages from the host go to `listener` (on the reader's thread)."""
        with self._lock:
            number = next(self._ids)
            self._listeners[number] = listener
        return number

    def close(self, number: int) -> None:
        with self._lock:
            self._listeners.pop(number, None)

    def request(self, op: str, **fields: Any) -> Message:
        """Ask and wait for the one reply. Raises `BridgeClosed`."""
        replies: queue.SimpleQueue[Message] = queue.SimpleQueue()
        number = self.open(replies.put)
        try:
            self.send({"op": op, "id": number, **fields})
            reply = replies.get()
        finally:
            self.close(number)
        if reply["op"] == "closed":
            raise BridgeClosed(reply["message"])
        return reply

    def _write(self) -> None:
        while True:
            frame = self._outgoing.get()
            if isinstance(frame, threading.Event):
                frame.set()
                continue
            try:
                self._socket.sendall(frame)
            except OSError as error:
                self._lose(str(error))
                return

    def _read(self) -> None:
        stream = self._socket.makefile("rb", buffering=1 << 18)
        while True:
            try:
                head = stream.read(wire.LENGTH.size)
                if len(head) < wire.LENGTH.size:
                    raise EOFError("the host closed the bridge")
                (length,) = wire.LENGTH.unpack(head)
                message = json.loads(stream.read(length))
            except (OSError, EOFError, ValueError) as error:
                self._lose(str(error))
                return
            with self._lock:
                listener = self._listeners.get(message.get("id"))
            if listener is not None:
                listener(message)

    def _lose(self, why: str) -> None:
        """Tell everybody who waits; from now on `send` refuses."""
        why = f"the bridge to the host is closed: {why}. `import os; os._exit(0)` starts an empty kernel"
        self._closed = why
        with self._lock:
            listeners = list(self._listeners.values())
        for listener in listeners:
            listener({"op": "closed", "message": why})
