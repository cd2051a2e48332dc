"""The few bytes of a file that a preview shows: its head and its tail, whatever its size."""

from __future__ import annotations

import os
from dataclasses import dataclass

from rlm.context import beneath
from rlm.documents.formats import SNIFF

WHOLE = 256 << 10
"""A file of up to so many bytes is read as a whole, to show the shape of its JSON."""


@dataclass(frozen=True, slots=True)
class Peek:
    """The ends of a file of `size` bytes: `head` is all of it if `whole`."""

    size: int
    head: bytes
    tail: bytes

    @property
    def whole(self) -> bool:
        return len(self.head) >= self.size

    @property
    def binary(self) -> bool:
        return b"\0" in self.head[:SNIFF]

    def begin(self, chars: int) -> str:
        """The first characters; malformed bytes read as U+FFFD."""
        return self.head[: 4 * chars + 3].decode("utf-8", "replace").removeprefix("\ufeff")[:chars]

    def end(self, chars: int) -> str:
        """The last characters; a character whose beginning was not read is left out."""
        tail = self.tail
        for _ in range(3 if len(tail) < self.size else 0):
            if tail[:1] and 0x80 <= tail[0] < 0xC0:
                tail = tail[1:]
        return tail.decode("utf-8", "replace")[-chars:] if chars else ""

    def text(self) -> str:
        """All that was read of the head."""
        return self.head.decode("utf-8", "replace").removeprefix("\ufeff")


def peek(root: str, path: str) -> Peek:
    """Read both ends of the file at `path` beneath `root`, not following links. Raises `OSError`."""
    with beneath.file(root, path) as fd:
        size = os.fstat(fd).st_size
        head = os.pread(fd, WHOLE if size <= WHOLE else SNIFF, 0)
        return Peek(size, head, os.pread(fd, SNIFF, max(0, size - SNIFF)))
