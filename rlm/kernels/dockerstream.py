"""The attached stream of a container: stdout and stderr come multiplexed, in frames of eight bytes of header.

    byte 0: 1 stdout, 2 stderr · bytes 1-3: zero · bytes 4-7: length, big-endian · then so many bytes

The engine writes the headers, not the guest; a frame is handed on as it comes, so its length costs no memory.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from rlm.errors import ProtocolError

_HEADER = struct.Struct(">BxxxI")
_STDOUT, _STDERR = 1, 2


class Demultiplexer:
    """Cuts the stream, in pieces of any size, into stdout (returned) and stderr (given to a callback)."""

    def __init__(self, on_stderr: Callable[[bytes], None]) -> None:
        self._on_stderr = on_stderr
        self._header = b""
        self._stream = 0
        self._left = 0

    def feed(self, data: bytes) -> bytes:
        """What of `data` is stdout. Raises `ProtocolError` for a header that no engine writes."""
        out: list[bytes] = []
        view = memoryview(data)
        while view:
            if not self._left:
                need = _HEADER.size - len(self._header)
                self._header += bytes(view[:need])
                view = view[need:]
                if len(self._header) == _HEADER.size:
                    self._begin_frame()
                continue
            piece = bytes(view[: self._left])
            view = view[len(piece) :]
            self._left -= len(piece)
            if self._stream == _STDERR:
                self._on_stderr(piece)
            else:
                out.append(piece)
        return out[0] if len(out) == 1 else b"".join(out)

    def _begin_frame(self) -> None:
        self._stream, self._left = _HEADER.unpack(self._header)
        self._header = b""
        if self._stream not in (_STDOUT, _STDERR):
            raise ProtocolError(f"the container's stream has a frame for descriptor {self._stream}")
