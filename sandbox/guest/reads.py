"""How much of the input a kernel has read, as the processor knows it: by the accessed bits of its pages.

A `str` cannot tell who reads it. But the kernel of the host notes for each page of this process whether it was
touched, and forgets it on request; so what was read of a large text is known to the page, however it was read.
Of `Files` it is known which were opened. A small text shares its pages with other objects: nothing is said of it.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from guest.bridge import BridgeClosed
from guest.files import Files
from guest.text import Text

SMALL = 256 << 10
"""Bytes of a str below which its pages are not its own."""
PAGE = 4096
REPLY = 0.002
"""Seconds in which the reply to a cell goes out."""
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ (\d+)")


class _Mapping(NamedTuple):
    start: int
    end: int
    inode: int
    touched: int
    """Bytes."""


class Reads:
    """Watches the parts of one kernel's `context`, whose files have these sizes."""

    def __init__(self, context: object, sizes: list[int], *, tell: Callable[[int, int], object]) -> None:
        """`tell` takes the number of the cell, counted from 1, after which these bytes had been read."""
        parts = list(context.values()) if type(context) is dict else [context]
        self._parts = list(zip(parts, sizes, strict=False))
        self._watched = bool(sizes) and len(parts) == len(sizes) and all(_can_be_watched(part) for part in parts)
        self._pages = any(not isinstance(part, Files) for part in parts)
        self._tell = tell
        self._due = threading.Event()
        self._cells = 0

    def begin(self) -> None:
        """Forget what was touched so far."""
        if not self._watched:
            return
        try:
            if self._pages:
                with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
                    file.write("1")
        except OSError:
            self._watched = False
            return
        threading.Thread(target=self._work, name="reads", daemon=True).start()

    def cell_ended(self) -> int:
        """Have it told in a moment, beside the reply to the cell: looking takes longer than most cells do.

        Returns the cell's number; 0 if nothing is going to be told.
        """
        self._cells += 1
        self._due.set()
        return self._cells if self._watched else 0

    def _work(self) -> None:
        while self._due.wait():
            self._due.clear()
            time.sleep(REPLY)
            try:
                self._tell(self._cells, self.bytes() or 0)
            except BridgeClosed:
                return

    def bytes(self) -> int | None:
        """Bytes of the input that were read since `begin`; None if that cannot be known."""
        try:
            mappings = list(_mappings()) if self._pages else []
        except OSError:
            return None
        read = [_read(part, size, mappings) for part, size in self._parts]
        return None if None in read else sum(filter(None, read))


def _can_be_watched(part: object) -> bool:
    return isinstance(part, Text | Files) or (type(part) is str and sys.getsizeof(part) >= SMALL)


def _read(part: object, size: int, mappings: list[_Mapping]) -> int | None:
    if isinstance(part, Files):
        return part.opened
    if isinstance(part, Text):
        inode = os.stat(part.source.path).st_ino
        return min(size, sum(each.touched for each in mappings if each.inode == inode))
    own = sys.getsizeof(part)
    for each in mappings:
        if each.start <= id(part) < each.end:
            # Its header is touched whenever it is looked at; and it may have grown together with its neighbours.
            touched = min(own, max(0, each.touched - PAGE))
            return int(touched / own * size) if each.end - each.start < 2 * own else None
    return None


def _mappings() -> Iterator[_Mapping]:
    start = end = inode = 0
    with open("/proc/self/smaps", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("Referenced:"):
                yield _Mapping(start, end, inode, int(line.split()[1]) << 10)
            elif found := _MAPPING.match(line):
                start, end, inode = int(found[1], 16), int(found[2], 16), int(found[3])
