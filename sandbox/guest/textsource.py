"""The bytes under a `Text`: a mapped file, and the map between its characters and its bytes.

A character is what `bytes.decode("utf-8", "replace")` makes of the bytes: each maximal malformed piece
is one U+FFFD. Such pieces are decided by looking forward only, so a range that begins and ends between
two characters decodes to the same characters alone as within the whole.
"""

from __future__ import annotations

import codecs
import mmap
import os
from array import array
from bisect import bisect_right
from collections.abc import Iterator

BLOCK = 64 << 10
"""Bytes between two entries of the index."""
STRIDE = 1 << 20
"""Bytes that are copied out of the map at once."""
STEP = 16 << 20
"""Bytes of one step of indexing: some milliseconds."""

_new_decoder = codecs.getincrementaldecoder("utf-8")


class Source:
    """A byte range of a file, mapped read-only.

    `start` and `end` are bytes of the file; all other offsets are relative to `start`. Memory is constant
    but for the index of a text that is not pure ASCII: 16 bytes for each `block` bytes, built as far as needed.
    """

    def __init__(self, path: str, start: int = 0, end: int | None = None, *, block: int = BLOCK) -> None:
        self.path = os.path.abspath(path)
        with open(path, "rb") as file:
            length = os.fstat(file.fileno()).st_size
            self.start = min(start, length)
            self.end = length if end is None else max(self.start, min(end, length))
            whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if length else b""
        self.view = memoryview(whole)[self.start : self.end]
        self.size = len(self.view)
        self._block = block
        self._plain = 0
        self._plain_ended = False
        self._bytes = array("Q", [0])
        self._chars = array("Q", [0])

    def pieces(self, start: int, end: int, size: int = STRIDE) -> Iterator[bytes]:
        """Copies of the range, `size` bytes at a time."""
        for at in range(start, end, size):
            yield bytes(self.view[at : min(at + size, end)])

    def decode(self, start: int, end: int) -> str:
        return str(self.view[start:end], "utf-8", "replace")

    def windows(self, start: int, end: int, size: int = STRIDE) -> Iterator[str]:
        """The range decoded, some `size` bytes at a time, cut between characters."""
        decoder = _new_decoder("replace")
        for piece in self.pieces(start, end, size):
            yield decoder.decode(piece)
        yield decoder.decode(b"", True)

    @property
    def ascii(self) -> bool:
        """Whether every byte is ASCII, so that characters and bytes count alike. The first call reads all."""
        return self._is_plain(self.size)

    def index(self) -> Iterator[None]:
        """Learn where all characters lie, one short step at a time."""
        for end in range(STEP, self.size + STEP, STEP):
            if not self._is_plain(min(end, self.size)):
                break
            yield
        while self._plain_ended and self._bytes[-1] < self.size:
            self._extend(bytes_=min(self._bytes[-1] + STEP, self.size))
            yield

    def byte_of(self, char: int) -> int:
        """The byte at which character `char` begins; `size` for the end of the text or beyond."""
        if self._is_plain(min(char, self.size)):
            return min(char, self.size)
        self._extend(chars=char)
        entry = bisect_right(self._chars, char) - 1
        return self._advance(self._bytes[entry], char - self._chars[entry])

    def char_of(self, byte: int) -> int:
        """The character that begins at `byte`, which must be between two characters."""
        if self._is_plain(byte):
            return byte
        self._extend(bytes_=byte)
        entry = bisect_right(self._bytes, byte) - 1
        return self._chars[entry] + len(self.decode(self._bytes[entry], byte))

    def _is_plain(self, end: int) -> bool:
        """Whether the first `end` bytes are all ASCII, as far as whole pieces tell; reads on no further."""
        while self._plain < end and not self._plain_ended:
            stop = min(self._plain + STRIDE, self.size)
            if bytes(self.view[self._plain : stop]).isascii():
                self._plain = stop
            else:
                self._plain_ended = True
                self._bytes, self._chars = array("Q", [self._plain]), array("Q", [self._plain])
        return end <= self._plain

    def _extend(self, *, chars: int = -1, bytes_: int = -1) -> None:
        """Index on, until the last entry lies at or past the character or the byte."""
        at, count = self._bytes[-1], self._chars[-1]
        while at < self.size and (count <= chars or at < bytes_):
            decoder = _new_decoder("replace")
            stop = min(at + self._block, self.size)
            count += len(decoder.decode(self.view[at:stop], stop == self.size))
            at = stop - len(decoder.getstate()[0])
            self._bytes.append(at)
            self._chars.append(count)

    def _advance(self, byte: int, chars: int) -> int:
        """The byte that lies `chars` characters after the one at `byte`."""
        for step in (4096, 64):
            while chars > 0 and byte < self.size:
                decoder = _new_decoder("replace")
                stop = min(byte + step, self.size)
                length = len(decoder.decode(self.view[byte:stop], stop == self.size))
                if length > chars:
                    break
                chars -= length
                byte = stop - len(decoder.getstate()[0])
        while chars > 0 and byte < self.size:
            byte += self._width(byte)
            chars -= 1
        return byte

    def _width(self, byte: int) -> int:
        """Bytes of the one character at `byte`."""
        decoder = _new_decoder("replace")
        for width in range(1, 5):
            made = len(decoder.decode(self.view[byte + width - 1 : byte + width]))
            if made:
                # The byte that showed a malformed piece to be over is not part of it.
                return max(1, width - len(decoder.getstate()[0]) - (made - 1))
        return self.size - byte
