"""Documents to text, several at a time, each in the limited process, and each once as long as the cache keeps it."""

from __future__ import annotations

import codecs
import hashlib
import importlib.metadata
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from rlm.documents.cache import TextCache
from rlm.documents.formats import DOCUMENTS
from rlm.documents.parser import ParseFailed, Parser

VERSION = 1
"""Raised when the same converter makes another text of a document."""
MAX_DOCUMENT = 512 << 20
"""Bytes of a document that is converted."""
ALL_SECONDS = 900.0
"""That all documents of one run may take."""
PIECE = 1 << 20
MISSING = "is not converted to text: that needs the extra docs, pip install 'rlm-kernel[docs]'"


@dataclass(frozen=True, slots=True)
class Document:
    """One to be converted. `open` gives a descriptor of it, and may raise `OSError`."""

    name: str
    suffix: str
    open: Callable[[], AbstractContextManager[int]]
    charset: str | None = None
    """Of HTML, where it is known."""


@dataclass(frozen=True, slots=True)
class Converted:
    """What became of it: a text in the cache, or why there is none."""

    place: Path | None = None
    bytes: int = 0
    chars: int = 0
    problem: str = ""
    """A sentence without its subject, e.g. `cannot be converted to text: …`."""


def available() -> str | None:
    """The converter with its version; None if it is not installed."""
    try:
        return f"markitdown {importlib.metadata.version('markitdown')}"
    except importlib.metadata.PackageNotFoundError:
        return None


def convert(
    documents: Sequence[Document],
    *,
    parser: Parser,
    seconds: float,
    cache: TextCache | None = None,
    all_seconds: float = ALL_SECONDS,
) -> list[Converted]:
    """Convert the documents; the results come in the same order. Blocks.

    `seconds` is the most that one may take, `all_seconds` the most that all of them together may.
    """
    converter = available()
    if converter is None:
        return [Converted(problem=MISSING) for _ in documents]
    cache = cache or TextCache()
    work = _Work(converter, parser, cache, seconds, time.monotonic() + all_seconds)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1, len(documents) or 1), "rlm-convert") as pool:
        results = list(pool.map(work.one, documents))
    if work.added:
        cache.prune()
    return results


@dataclass
class _Work:
    converter: str
    parser: Parser
    cache: TextCache
    seconds: float
    deadline: float
    added: bool = False

    def one(self, document: Document) -> Converted:
        try:
            # A copy, since what is hashed must be what is parsed, whatever happens to the file meanwhile.
            with document.open() as fd, tempfile.TemporaryFile() as copy:
                size = os.fstat(fd).st_size
                if size > MAX_DOCUMENT:
                    return Converted(problem=f"is too large to be converted to text ({size:,} bytes)")
                digest = hashlib.sha256(f"{VERSION} {self.converter} {document.suffix} {document.charset}\0".encode())
                while piece := os.read(fd, PIECE):
                    digest.update(piece)
                    copy.write(piece)
                copy.flush()
                return self._text(document, digest.hexdigest(), copy.fileno())
        except OSError as error:
            return Converted(problem=f"cannot be converted to text: {error.strerror or error}")

    def _text(self, document: Document, key: str, fd: int) -> Converted:
        if found := self.cache.get(key):
            place, chars = found
            return Converted(place, place.stat().st_size, chars)
        seconds = min(self.seconds, self.deadline - time.monotonic())
        if seconds <= 0:
            return Converted(problem="is not converted to text: the time for all documents is over")
        os.lseek(fd, 0, os.SEEK_SET)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        chars = 0
        with self.cache.writing() as file:

            def take(piece: bytes, final: bool = False) -> None:
                nonlocal chars
                text = decoder.decode(piece, final).replace(
                    "\0", "\ufffd"
                )  # a text with a zero would be taken for none
                chars += len(text)
                file.write(text.encode())

            try:
                self.parser.run("convert", fd, take, seconds=seconds, suffix=document.suffix, charset=document.charset)
            except ParseFailed as error:
                missing = "MissingDependency" in str(error)
                return Converted(problem=MISSING if missing else f"cannot be converted to text: {error}")
            take(b"", True)
            if not chars:
                what = DOCUMENTS.get(document.suffix, "document")
                return Converted(problem=f"is a {what} without any text in it (pictures of pages?)")
            place = self.cache.put(key, file, chars)
            self.added = True
            return Converted(place, place.stat().st_size, chars)
