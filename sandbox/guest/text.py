"""`Text`: a read-only text of any size that reads like a `str` and stays in its file."""

from __future__ import annotations

import re as _re
from collections.abc import Callable, Iterator
from typing import Any, SupportsIndex

from guest import textsearch
from guest.textscan import MAX_MATCH, TextMatch, raw_anchored, raw_matches
from guest.textview import View

Pattern = str | _re.Pattern[str]


class Text(View):
    """A read-only view of UTF-8 text in a file, mapped and never loaded as a whole.

    Indices, lengths and match offsets are characters; malformed bytes read as U+FFFD. What it offers:

        len(t)  t[i]  t[a:b]  x in t  t == "…"  str(t)
        t.find  t.rfind  t.index  t.rindex  t.count  t.startswith  t.endswith
        t.lines(keepends=False)  t.chunks(size, overlap=0)      lazily, each piece a str
        t.search  t.match  t.fullmatch  t.finditer  t.findall   by pattern; `re.search(pattern, t)` works too
        t.sub  t.split  t.splitlines                            results are str, and as large as the text

    A slice of up to 1,048,576 characters is a `str`, and so is every slice with a step; a longer one is a
    `Text` of the same file. `str(t)` is the full text. What only takes a `str` (`json.loads`, `"".join`)
    needs `str(t)` or a slice. In a text that is not pure ASCII a regular expression sees windows: no match
    is longer than `max_match` (64 Ki characters unless given).
    """

    # --- fixed strings ----------------------------------------------------------------------

    def _bounds(self, start: SupportsIndex | None, end: SupportsIndex | None) -> tuple[int, int]:
        """Characters, with start > len(self) kept as it is: no empty string is found there."""
        length = len(self)
        low = 0 if start is None else start.__index__()
        high = length if end is None else end.__index__()
        return max(0, low + length) if low < 0 else low, max(0, high + length) if high < 0 else min(high, length)

    def find(self, sub: str, start: SupportsIndex | None = None, end: SupportsIndex | None = None) -> int:
        return self._locate(sub, start, end, backward=False)

    def rfind(self, sub: str, start: SupportsIndex | None = None, end: SupportsIndex | None = None) -> int:
        return self._locate(sub, start, end, backward=True)

    def index(self, sub: str, start: SupportsIndex | None = None, end: SupportsIndex | None = None) -> int:
        return _found(self.find(sub, start, end))

    def rindex(self, sub: str, start: SupportsIndex | None = None, end: SupportsIndex | None = None) -> int:
        return _found(self.rfind(sub, start, end))

    def __contains__(self, sub: object) -> bool:
        if not isinstance(sub, str):
            raise TypeError(f"'in <Text>' requires string as left operand, not {type(sub).__name__}")
        return self.find(sub) >= 0

    def _locate(self, sub: str, start: Any, end: Any, *, backward: bool) -> int:
        if not isinstance(sub, str):
            raise TypeError(f"must be str, not {type(sub).__name__}")
        if not backward and start is None and end is None and sub and (bytes_ := textsearch.needle(sub)) is not None:
            # The common call: no length is needed, so that nothing beyond the match is read or indexed.
            found = textsearch.find(self.source, bytes_, self.first, self.last, stride=self.stride)
            return self._char_of(found) if found >= 0 else -1
        low, high = self._bounds(start, end)
        if low + len(sub) > high:
            return -1
        if not sub:
            return high if backward else low
        if (bytes_ := textsearch.needle(sub)) is None:
            spots = [match.start() for match in self._literal(sub, low, high, last=backward)]
            return spots[-1] if spots else -1
        search = textsearch.rfind if backward else textsearch.find
        found = search(self.source, bytes_, self.byte_of(low), self.byte_of(high), stride=self.stride)
        return self._char_of(found) if found >= 0 else -1

    def _literal(self, sub: str, low: int, high: int, *, last: bool) -> Iterator[TextMatch]:
        """Where `sub` occurs in the decoded text: the first place, or all of them, overlapping ones too."""
        pattern = _re.compile(f"(?={_re.escape(sub)})" if last else _re.escape(sub))
        for match in self._matches(pattern, low, high, max(MAX_MATCH, len(sub))):
            yield match
            if not last:
                return

    def count(self, sub: str, start: SupportsIndex | None = None, end: SupportsIndex | None = None) -> int:
        """Occurrences without overlap, as `str.count`."""
        low, high = self._bounds(start, end)
        if low + len(sub) > high:
            return 0
        if not sub:
            return high - low + 1
        if (bytes_ := textsearch.needle(sub)) is None:
            return sum(1 for _ in self._matches(_re.compile(_re.escape(sub)), low, high, max(MAX_MATCH, len(sub))))
        return textsearch.count(self.source, bytes_, self.byte_of(low), self.byte_of(high), stride=self.stride)

    def startswith(
        self, prefix: str | tuple[str, ...], start: SupportsIndex | None = None, end: SupportsIndex | None = None
    ) -> bool:
        low, high = self._bounds(start, end)
        choices = prefix if isinstance(prefix, tuple) else (prefix,)
        return any(low + len(p) <= high and self._part(low, low + len(p)) == p for p in choices)

    def endswith(
        self, suffix: str | tuple[str, ...], start: SupportsIndex | None = None, end: SupportsIndex | None = None
    ) -> bool:
        low, high = self._bounds(start, end)
        choices = suffix if isinstance(suffix, tuple) else (suffix,)
        return any(low + len(s) <= high and self._part(high - len(s), high) == s for s in choices)

    # --- pieces -----------------------------------------------------------------------------

    def lines(self, keepends: bool = False) -> Iterator[str]:
        """The lines, one str each, read as they are asked for; cut where `str.splitlines` cuts."""
        held: list[str] = []
        for window in self._windows():
            if held and held[-1].endswith("\r") and window:
                if window[0] == "\n":
                    held.append("\n")
                    window = window[1:]
                yield from "".join(held).splitlines(keepends)
                held = []
            parts = window.splitlines(True)
            if parts and held and (len(parts) > 1 or _ended(parts[0])):
                parts[0] = "".join(held) + parts[0]
                held = []
            if parts and not _ended(parts[-1]):
                held.append(parts.pop())
            for part in parts:
                yield part if keepends else part.splitlines()[0]
        yield from "".join(held).splitlines(keepends)

    def chunks(self, size: int, overlap: int = 0) -> Iterator[str]:
        """Pieces of `size` characters, one str each, read as they are asked for.

        Each begins `size - overlap` characters after the one before; the last one ends with the text and may
        be shorter. `ValueError` unless `0 <= overlap < size`.
        """
        if not 0 <= overlap < size:
            raise ValueError(f"chunks need 0 <= overlap < size, not size={size}, overlap={overlap}")
        return self._chunks(size, size - overlap)

    def _chunks(self, size: int, step: int) -> Iterator[str]:
        held, length = [""], 0
        for window in self._windows():
            held.append(window)
            length += len(window)
            if length <= size:
                continue
            buffer, at = "".join(held), 0
            # There is a character after this chunk, so that it is not the last.
            while at + size < length:
                yield buffer[at : at + size]
                at += step
            held, length = [buffer[at:]], length - at
        if rest := "".join(held):
            yield rest

    def splitlines(self, keepends: bool = False) -> list[str]:
        return list(self.lines(keepends))

    def sub(
        self, pattern: Pattern, repl: str | Callable[[TextMatch], str], count: int = 0, *, max_match: int = MAX_MATCH
    ) -> str:
        """As `re.sub`; the result is a str, as large as the text."""
        return self.subn(pattern, repl, count, max_match=max_match)[0]

    def subn(
        self, pattern: Pattern, repl: str | Callable[[TextMatch], str], count: int = 0, *, max_match: int = MAX_MATCH
    ) -> tuple[str, int]:
        """As `re.subn`: the new str, and how many matches were replaced."""
        out, at, done = [], 0, 0
        compiled, end = _re.compile(pattern), len(self)
        for raw, shift in raw_matches(compiled, self, 0, end, max_match=max_match):
            match = TextMatch(raw, shift, compiled, self, (0, end))
            out += [self._part(at, match.start()), repl(match) if callable(repl) else match.expand(repl)]
            at, done = match.end(), done + 1
            if done == count:
                break
        return "".join([*out, self._part(at, end)]), done

    def split(self, sep: str | None = None, maxsplit: int = -1) -> list[str]:
        """As `str.split` (by a fixed string); the list is as large as the text."""
        return str(self).split(sep, maxsplit)

    # --- regular expressions ----------------------------------------------------------------

    def _matches(self, pattern: Pattern, pos: int, endpos: int | None, max_match: int) -> Iterator[TextMatch]:
        compiled, (low, high) = _re.compile(pattern), self._clamp(pos, endpos)
        if low > high:
            return
        for match, shift in raw_matches(compiled, self, low, high, max_match=max_match):
            yield TextMatch(match, shift, compiled, self, (low, high))

    def _clamp(self, pos: int, endpos: int | None) -> tuple[int, int]:
        return min(max(0, pos), len(self)), len(self) if endpos is None else min(max(0, endpos), len(self))

    def finditer(
        self, pattern: Pattern, pos: int = 0, endpos: int | None = None, *, max_match: int = MAX_MATCH
    ) -> Iterator[TextMatch]:
        """All matches without overlap, found as they are asked for."""
        return self._matches(pattern, pos, endpos, max_match)

    def search(
        self, pattern: Pattern, pos: int = 0, endpos: int | None = None, *, max_match: int = MAX_MATCH
    ) -> TextMatch | None:
        """The first match, or None."""
        return next(self._matches(pattern, pos, endpos, max_match), None)

    def match(
        self, pattern: Pattern, pos: int = 0, endpos: int | None = None, *, max_match: int = MAX_MATCH
    ) -> TextMatch | None:
        """A match that begins at `pos`, or None."""
        return self._anchored(_re.compile(pattern), pos, endpos, max_match, whole=False)

    def fullmatch(
        self, pattern: Pattern, pos: int = 0, endpos: int | None = None, *, max_match: int = MAX_MATCH
    ) -> TextMatch | None:
        """A match of all from `pos` to `endpos`, or None."""
        return self._anchored(_re.compile(pattern), pos, endpos, max_match, whole=True)

    def _anchored(
        self, pattern: _re.Pattern[str], pos: int, endpos: int | None, max_match: int, *, whole: bool
    ) -> TextMatch | None:
        low, high = self._clamp(pos, endpos)
        found = raw_anchored(pattern, self, low, high, whole=whole, max_match=max_match) if low <= high else None
        return TextMatch(found[0], found[1], pattern, self, (low, high)) if found else None

    def findall(
        self, pattern: Pattern, pos: int = 0, endpos: int | None = None, *, max_match: int = MAX_MATCH
    ) -> list[Any]:
        """As `re.findall`: a str for each match, its one group, or a tuple of its groups."""
        found = self._matches(pattern, pos, endpos, max_match)
        count = _re.compile(pattern).groups
        if count == 0:
            return [match[0] for match in found]
        return [match.groups("")[0] if count == 1 else match.groups("") for match in found]


def _found(at: int) -> int:
    if at < 0:
        raise ValueError("substring not found")
    return at


def _ended(line: str) -> bool:
    """Whether the line is whole: it ends in a break that the next window cannot lengthen."""
    return not line.endswith("\r") and line.splitlines()[0] != line
