"""What is offered in a file's place: the text of a document, a text in UTF-8, or what a loader made of it.

All of it lies in the spool, so that a run that is taken up again finds what it began with.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from rlm.context import beneath, encodings, loaders
from rlm.context.choice import Choice
from rlm.context.loaders import Loader, Loaders
from rlm.context.scan import Scan
from rlm.context.sources import FileSource, Value
from rlm.context.spool import Spool, read_pieces, text_pieces
from rlm.documents.convert import Converted, Document, convert
from rlm.documents.formats import DOCUMENTS, SNIFF, SOURCES, suffix_of
from rlm.documents.parser import Parser
from rlm.errors import InputError

T = TypeVar("T")

SHOWN_PROBLEMS = 5
"""Notices about single documents of a directory; of more, the number."""


@dataclass(frozen=True, slots=True)
class Derived:
    """What stands in the spool for a file."""

    place: str
    """Beneath the spool's root."""
    bytes: int
    how: str
    """Where it comes from, e.g. `converted from PDF`."""
    characters: int | None = None
    kind: Literal["text", "json", "path"] = "text"
    name: str = ""
    """Another name for the input, by a loader."""


@dataclass(frozen=True, slots=True)
class _File:
    """One that may be derived from. `path` is real and absolute, `shown` is what the user calls it."""

    path: str
    root: str
    inside: str
    name: str
    shown: str
    single: bool
    suffix: str = ""
    charset: str | None = None

    def open(self) -> AbstractContextManager[int]:
        return beneath.file(self.root, self.inside)


class Deriver:
    """Derives for one run; `notices` says what could not be."""

    def __init__(self, spool: Spool, choice: Choice) -> None:
        """Raises `ConfigError` for a loader that cannot be found."""
        self.notices: list[str] = []
        self.parser = Parser()
        self._spool = spool
        self._choice = choice
        self._loaders = Loaders(choice.loaders)
        self._made: dict[str, Derived] = {}
        self._places = 0

    def derive(self, files: Sequence[FileSource], listings: Sequence[tuple[str, Scan]]) -> dict[str, Derived]:
        """By real path, what is offered in place of these files and of those of directories, given with their names.

        Blocks; raises `InputError` when the loader of a single file fails, or the spool cannot be written.
        """
        candidates = list(dict.fromkeys([*self._single(files), *self._listed(listings)]))
        loaded = [(file, loader) for file in candidates if (loader := self._loaders.of(file.name)) is not None]
        has_loader = {file.path for file, _ in loaded}
        documents = [file for file in candidates if file.suffix in DOCUMENTS and file.path not in has_loader]
        most = self._choice.max_documents
        if (beyond := len(loaded) + len(documents) - most) > 0 and most:
            self.notices.append(f"{beyond:,} documents are not converted to text: --max-documents is {most:,}")
        for file, loader in loaded[:most]:
            self._load(file, loader)
        self._convert(documents[: max(0, most - len(loaded))])
        for source in files:
            if source.path not in self._made and source.origin in ("path", "stdin", "url"):
                self._recode(source)
        return self._made

    def _single(self, files: Sequence[FileSource]) -> Iterator[_File]:
        for source in files:
            if source.origin in ("str", "json"):
                continue
            root, inside = os.path.split(source.path)
            suffix = suffix_of(source.base)
            if not suffix and source.origin in ("stdin", "url"):
                head = _read(beneath.file(root, inside), source.given, lambda fd: os.pread(fd, SNIFF, 0))
                suffix = suffix_of(source.base, head)
            yield _File(source.path, root, inside, source.base, source.given, True, suffix, source.charset)

    def _listed(self, listings: Sequence[tuple[str, Scan]]) -> Iterator[_File]:
        for name, listed in listings:
            for found in listed.files:
                suffix = suffix_of(found.name)
                wanted = suffix in DOCUMENTS and suffix not in SOURCES
                if wanted or self._loaders.of(found.name) is not None:
                    path = os.path.join(listed.root, found.path)
                    yield _File(path, listed.root, found.path, found.name, f"{name}/{found.name}", False, suffix)

    # --- documents --------------------------------------------------------------------------

    def _convert(self, files: Sequence[_File]) -> None:
        if not files:
            return
        documents = [
            Document(file.shown, file.suffix, file.open, file.charset or self._charset(file)) for file in files
        ]
        self.parser.preload = True
        results = convert(documents, parser=self.parser, seconds=self._choice.convert_timeout)
        problems: dict[str, list[str]] = {}
        for file, result in zip(files, results, strict=True):
            if result.place is None:
                problems.setdefault(result.problem, []).append(file.shown)
            else:
                self._keep_text(file, result, result.place)
        for problem, names in problems.items():
            more = f" and {len(names) - SHOWN_PROBLEMS:,} more documents" if len(names) > SHOWN_PROBLEMS else ""
            rest = problem if len(names) == 1 else f"each {problem}"
            self.notices.append(f"{', '.join(names[:SHOWN_PROBLEMS])}{more}: {rest}")

    def _charset(self, file: _File) -> str | None:
        """That of HTML in another encoding: what it says of itself is left to its parser otherwise."""
        if file.suffix not in SOURCES:
            return None
        return _read(file.open(), file.shown, encodings.detect)

    def _keep_text(self, file: _File, result: Converted, text: Path) -> None:
        with open(text, "rb") as pieces:
            place = self._place()
            size = self._spool.write(place, read_pieces(pieces), what=f"the text of {file.shown}").st_size
        how = f"converted from {DOCUMENTS[file.suffix]}"
        self._made[file.path] = Derived(place, size, how, result.chars)

    # --- loaders ----------------------------------------------------------------------------

    def _load(self, file: _File, loader: Loader) -> None:
        try:
            made = loaders.call(loader, file.path, file.shown)
            name = made.name if isinstance(made, Value) and made.name != Value("").name else ""
            data = made.data if isinstance(made, Value) else made
            if isinstance(data, str):
                self._keep(file, data, name)
            elif isinstance(data, bytes | bytearray | memoryview):
                place = self._place()
                size = self._spool.write(place, [bytes(data)], what=file.shown).st_size
                self._made[file.path] = Derived(place, size, "made by a loader", kind="path", name=name)
            else:
                self._keep(file, self._json(data, file.shown), name, kind="json" if file.single else "text")
        except InputError as error:
            if file.single:
                raise
            self.notices.append(str(error))

    def _keep(self, file: _File, text: str, name: str, kind: Literal["text", "json"] = "text") -> None:
        text = text.replace("\0", "\ufffd")
        place = self._place()
        size = self._spool.write(place, text_pieces(text), what=file.shown).st_size
        self._made[file.path] = Derived(place, size, "made by a loader", len(text), kind, name)

    def _json(self, data: object, shown: str) -> str:
        try:
            return json.dumps(data, separators=(",", ":"))
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"the loader of {shown} returned a {type(data).__name__} that JSON cannot hold") from error

    # --- encodings --------------------------------------------------------------------------

    def _recode(self, source: FileSource) -> None:
        root, inside = os.path.split(source.path)
        _read(beneath.file(root, inside), source.given, partial(self._recoded, source))

    def _recoded(self, source: FileSource, fd: int) -> None:
        encoding = encodings.detect(fd, source.charset)
        if encoding is None:
            return
        characters = 0

        def pieces() -> Iterator[bytes]:
            nonlocal characters
            for piece, count in encodings.recoded(fd, encoding):
                characters += count
                yield piece

        place = self._place()
        size = self._spool.write(place, pieces(), what=source.given).st_size
        name = encoding.upper().replace("_", "-")
        self._made[source.path] = Derived(place, size, f"converted from {name}", characters)
        self.notices.append(f"{source.given} is not UTF-8: read as {name}")

    def _place(self) -> str:
        self._places += 1
        return f"texts/{self._places}"


def _read(opening: AbstractContextManager[int], shown: str, work: Callable[[int], T]) -> T:
    try:
        with opening as fd:
            return work(fd)
    except OSError as error:
        raise InputError(f"cannot read {shown}: {error.strerror or error}") from error
