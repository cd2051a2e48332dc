"""A view of the characters of a `Source`: what can be asked of a text by position."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, NoReturn, Self, SupportsIndex, overload

from guest.textsource import BLOCK, STRIDE, Source

STR_MAX = 1 << 20
"""A slice of at most so many characters is a `str`; a longer one is a view."""
HASH_MAX = 512 << 20
"""Bytes of a text up to which its hash, that of the equal `str`, is made."""


class View:
    """A read-only range of a source, as characters. `Text` adds what one does with a str."""

    def __init__(
        self,
        source: Source,
        *,
        first: int = 0,
        last: int | None = None,
        offset: int = 0,
        stride: int = STRIDE,
        str_max: int = STR_MAX,
    ) -> None:
        """`first` and `last` are bytes of the source, between characters; `offset` is the character at `first`."""
        self.source = source
        self.first = first
        self.last = source.size if last is None else last
        self.stride = stride
        self.str_max = str_max
        self._offset = offset
        self._length: int | None = None

    @classmethod
    def open(
        cls,
        path: str,
        start: int = 0,
        end: int | None = None,
        *,
        block: int = BLOCK,
        stride: int = STRIDE,
        str_max: int = STR_MAX,
    ) -> Self:
        """The bytes `start:end` of a file (a descriptor's parts). The other options are for tests: sizes of windows."""
        return cls(Source(path, start, end, block=block), stride=stride, str_max=str_max)

    def descriptor(self) -> dict[str, Any]:
        """Where the text lies: `{"path", "start", "end"}`, in bytes of the file; `open(**d)` is equal to it."""
        base = self.source.start
        return {"path": self.source.path, "start": base + self.first, "end": base + self.last}

    # --- characters -------------------------------------------------------------------------

    def byte_of(self, char: int) -> int:
        """The byte of the source at which the text's character `char` begins."""
        return self.source.byte_of(self._offset + char)

    def _char_of(self, byte: int) -> int:
        return self.source.char_of(byte) - self._offset

    def __len__(self) -> int:
        if self._length is None:
            self._length = self._char_of(self.last)
        return self._length

    def __bool__(self) -> bool:
        return self.last > self.first

    def __str__(self) -> str:
        return self.source.decode(self.first, self.last)

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __repr__(self) -> str:
        head = self.source.decode(self.first, min(self.last, self.first + 60))
        return f"<Text of {self.last - self.first:,} bytes: {head!r}…>"

    @overload
    def __getitem__(self, key: SupportsIndex) -> str: ...
    @overload
    def __getitem__(self, key: slice) -> str | Self: ...
    def __getitem__(self, key: Any) -> str | Self:
        if not isinstance(key, slice):
            at = key.__index__()
            first = self.byte_of(at + len(self) if at < 0 else at) if at >= 0 or -at <= len(self) else self.last
            if first >= self.last:
                raise IndexError("Text index out of range")
            return self.source.decode(first, min(first + 4, self.last))[0]
        if key.step not in (None, 1):
            return self._stepped(range(*key.indices(len(self))))
        start, first = self._edge(key.start, 0)
        last = max(first, self._edge(key.stop, None)[1])
        # Four bytes are the most that a character takes, so that long slices need not be counted.
        small = last - first <= 4 * self.str_max
        if small and len(part := self.source.decode(first, last)) <= self.str_max:
            return part
        return type(self)(
            self.source,
            first=first,
            last=last,
            offset=self._offset + start,
            stride=self.stride,
            str_max=self.str_max,
        )

    def _edge(self, index: SupportsIndex | None, default: int | None) -> tuple[int, int]:
        """One end of a slice: its character, not beyond the text where that is known, and its byte."""
        at = default if index is None else index.__index__()
        if at is None:
            return -1, self.last
        if at < 0:
            at = max(0, at + len(self))
        return at, min(self.byte_of(at), self.last)

    def _stepped(self, wanted: range) -> str:
        """The characters at `wanted`, picked from one window after another."""
        forward = wanted if wanted.step > 0 else wanted[::-1]
        out: list[str] = []
        base = 0
        for window in self._windows():
            if base >= forward.stop:
                break
            first = forward.start - base
            out.append(window[first if first >= 0 else first % forward.step : forward.stop - base : forward.step])
            base += len(window)
        picked = "".join(out)
        return picked if wanted.step > 0 else picked[::-1]

    def _windows(self) -> Iterator[str]:
        return self.source.windows(self.first, self.last, self.stride)

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self._windows())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, View):
            if self.source is other.source and (self.first, self.last) == (other.first, other.last):
                return True
            step = self.stride
            return len(self) == len(other) and all(
                self._part(at, at + step) == other._part(at, at + step) for at in range(0, len(self), step)
            )
        if not isinstance(other, str):
            return NotImplemented
        at = 0
        for window in self._windows():
            if not other.startswith(window, at):
                return False
            at += len(window)
        return at == len(other)

    def __hash__(self) -> int:
        """That of the equal `str`, which is made for it: refused above 512 MiB."""
        if self.last - self.first > HASH_MAX:
            raise TypeError(f"a Text of {self.last - self.first:,} bytes is too large to hash; use a slice")
        return hash(str(self))

    def __add__(self, other: object) -> str:
        return str(self) + str(other) if isinstance(other, str | View) else NotImplemented

    def __radd__(self, other: object) -> str:
        return other + str(self) if isinstance(other, str) else NotImplemented

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Text is a view of a mapped file and is not pickled: pickle str(text), or text.descriptor()")

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_") or not hasattr(str, name):
            raise AttributeError(f"'Text' object has no attribute {name!r}")
        raise AttributeError(f"'Text' has no .{name}(): it is not loaded. Use str(text[a:b]).{name}() on a part of it")

    def _part(self, low: int, high: int) -> str:
        return self.source.decode(self.byte_of(low), self.byte_of(high))
