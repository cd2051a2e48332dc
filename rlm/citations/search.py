"""Looking quotations up in the files of an input: piece by piece, in constant memory, whatever their size.

The files are read here, on the host: what the sandbox says of them is not evidence.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable, Iterable
from typing import NamedTuple

from rlm.citations.patterns import CODECS, Pattern, patterns
from rlm.context import Item, beneath
from rlm.context.manifest import Part

PIECE = 4 << 20
_SNIFF = 8 << 10
_UTF_16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


class OutOfTime(Exception):
    """The time for the search is over."""


class Place(NamedTuple):
    """Where a quotation stands: characters of the text from `start` to `end`, on a line counted from 1."""

    file: str
    start: int
    end: int
    line: int
    exact: bool


class Document(NamedTuple):
    """A text of the input."""

    name: str
    """As the user knows it."""
    part: Part


def documents(items: Iterable[Item]) -> list[Document]:
    """The texts of an input. What is no text (`path`) is left out: its bytes are not what code reads out of it."""
    return [
        Document(_name(item, part), part) for item in items if item.kind != "path" for part in item.parts if part.size
    ]


def _name(item: Item, part: Part) -> str:
    return os.path.join(item.source, part.name) if item.kind == "files" else item.source


class Search:
    """Looks quotations up in documents. `out_of_time` is asked for each piece; then `OutOfTime` is raised."""

    def __init__(self, found_in: list[Document], out_of_time: Callable[[], bool]) -> None:
        self._documents = found_in
        self._out_of_time = out_of_time
        self._patterns: dict[tuple[str, tuple[str, ...]], list[Pattern]] = {}

    def find(self, quotes: Iterable[str], *, within: Callable[[str], bool] | None = None) -> dict[str, Place]:
        """The first place of each quotation that is there, in documents whose names are `within`.

        A document is read once for all of them as they are written, and once more for those that are nowhere so.
        """
        places: dict[str, Place] = {}
        chosen = [each for each in self._documents if within is None or within(each.name)]
        wanted = list(dict.fromkeys(quotes))
        for exact in (True, False):
            for document in chosen:
                left = [quote for quote in wanted if quote not in places]
                if not left:
                    return places
                places |= self._in_document(document, left, exact=exact)
        return places

    def _in_document(self, document: Document, quotes: list[str], *, exact: bool) -> dict[str, Place]:
        root, path, _ = document.part.offered
        try:
            with beneath.file(root, path) as fd:
                head = os.pread(fd, _SNIFF, 0)
                marked = _UTF_16.get(head[:2])
                if marked is None and b"\0" in head:
                    return {}
                known = (marked,) if marked else CODECS
                looked_for = [(quote, pattern) for quote in quotes for pattern in self._patterns_of(quote, known)]
                hits = self._hits(fd, looked_for, exact=exact)
                return {
                    quote: Place(document.name, *self._measured(fd, start, end, codec), exact)
                    for quote, (start, end, codec) in hits.items()
                }
        except OSError:
            return {}  # it has gone since: then the quotation is not found

    def _patterns_of(self, quote: str, codecs_: tuple[str, ...]) -> list[Pattern]:
        """Made once: an input may have thousands of documents."""
        if (quote, codecs_) not in self._patterns:
            self._patterns[quote, codecs_] = patterns(quote, codecs_)
        return self._patterns[quote, codecs_]

    def _hits(self, fd: int, looked_for: list[tuple[str, Pattern]], *, exact: bool) -> dict[str, tuple[int, int, str]]:
        """The first hit of each quotation: bytes from and to, and the encoding."""
        hits: dict[str, tuple[int, int, str]] = {}
        wanted = len({quote for quote, _ in looked_for})
        overlap = max((pattern.reach for _, pattern in looked_for), default=0)
        at = 0
        while (piece := self._read(fd, PIECE + overlap, at)) and len(hits) < wanted:
            for quote, pattern in looked_for:
                if quote in hits:
                    continue
                span = _exactly(pattern, piece) if exact else _loosely(pattern, piece)
                if span:
                    hits[quote] = (at + span[0], at + span[1], pattern.codec)
            at += PIECE
        return hits

    def _measured(self, fd: int, start: int, end: int, codec: str) -> tuple[int, int, int]:
        """Characters from and to, and the line, of what lies between two bytes."""
        decoder = codecs.getincrementaldecoder(codec)("replace")
        characters, lines = 0, 1
        for at in range(0, start, PIECE):
            text = decoder.decode(self._read(fd, min(PIECE, start - at), at))
            if not at:
                text = text.removeprefix("\ufeff")  # the mark is no part of what the code reads
            characters += len(text)
            lines += text.count("\n")
        length = len(os.pread(fd, end - start, start).decode(codec, "replace"))
        return characters, characters + length, lines

    def _read(self, fd: int, size: int, at: int) -> bytes:
        if self._out_of_time():
            raise OutOfTime
        return os.pread(fd, size, at)


def _exactly(pattern: Pattern, piece: bytes) -> tuple[int, int] | None:
    spans = ((at, at + len(form)) for form in pattern.exact if (at := piece.find(form)) >= 0)
    return min(spans, default=None)


def _loosely(pattern: Pattern, piece: bytes) -> tuple[int, int] | None:
    match = pattern.loose.search(piece)
    return match.span() if match else None


def named_by(source: str, name: str) -> bool:
    """Whether the document `name` is what a model calls `source`: its name, or the end of it."""
    wanted = source.strip().lstrip("./")
    return bool(wanted) and (name == wanted or name.endswith(f"/{wanted}") or wanted.endswith(f"/{name}"))
