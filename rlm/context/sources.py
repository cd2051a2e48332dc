"""From what the caller named to what is really there: paths, globs, `-`, pipes, URLs, archives, values of the API."""

from __future__ import annotations

import glob
import json
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal

from rlm.context import archives, beneath, fetch
from rlm.context.choice import Choice
from rlm.context.scan import printable
from rlm.context.spool import Spool, read_pieces, text_pieces
from rlm.documents.formats import SNIFF, suffix_of
from rlm.errors import InputError


@dataclass(frozen=True, slots=True)
class Value:
    """A Python object as an input: a str, bytes, or what JSON can hold (then the guest gets that again)."""

    data: object
    name: str = "context"


@dataclass(frozen=True, slots=True)
class Named:
    """A file or folder that is known by another name than its path.

    The path is real and absolute, as somebody has checked it: where a link has come to stand on the way, it is refused.
    """

    path: Path
    name: str


Input = str | Path | Value | Named
"""A str is a path, a glob pattern, a URL, or `-` for stdin; a `Path` is only ever a path."""

Origin = Literal["path", "stdin", "url", "str", "bytes", "json"]


@dataclass(frozen=True, slots=True)
class FileSource:
    """One regular file. `path` is real and absolute; `given` is how the caller named it."""

    path: str
    given: str
    info: os.stat_result
    origin: Origin = "path"
    """Anything but `path` lies in the spool, at `spooled` beneath its root."""
    spooled: str = ""
    name: str = ""
    """Of a file whose name is not the end of `given`."""
    charset: str | None = None
    """The encoding, by the word of the server that it came from."""

    @property
    def base(self) -> str:
        """Its own name, without folders."""
        return self.name or os.path.basename(self.given.rstrip("/")) or self.given


@dataclass(frozen=True, slots=True)
class FolderSource:
    """One directory. `path` is real and absolute."""

    path: str
    given: str
    spooled: str = ""
    """An extracted archive's place beneath the spool's root."""
    container: FileSource | None = None
    """The archive."""

    @property
    def base(self) -> str:
        return self.container.base if self.container else os.path.basename(self.given.rstrip("/")) or self.given


Source = FileSource | FolderSource


class Resolver:
    """Resolves inputs one by one; `notices` gathers what the user should know."""

    def __init__(self, spool: Spool, stdin: BinaryIO | None, choice: Choice) -> None:
        self.notices: list[str] = []
        self._spool = spool
        self._stdin = stdin
        self._choice = choice
        self._stdin_used = False
        self._spooled = self._extracted = 0

    def resolve(self, inputs: Sequence[Input]) -> list[Source]:
        """In the order given; a glob's matches sorted. Raises `InputError`, one line each."""
        return [self._opened(source) for given in inputs for source in self._one(given)]

    def _one(self, given: Input) -> Iterator[Source]:
        if isinstance(given, Value):
            yield self._value(given)
        elif isinstance(given, Named):
            yield self._named(given)
        elif given == "-":
            yield self._standard_input()
        elif isinstance(given, str) and fetch.is_url(given):
            yield self._url(given)
        elif isinstance(given, str) and not os.path.lexists(given) and glob.has_magic(given):
            yield from self._glob(given)
        else:
            yield self._path(str(given))

    def _path(self, given: str) -> Source:
        shown = printable(given)
        try:
            # A pipe (`<(command)`) has no real path: what /dev/fd/N leads to is found by asking for it.
            info = os.stat(given)
            if stat.S_ISFIFO(info.st_mode):
                with open(given, "rb") as pipe:
                    return self._keep("stdin", os.path.basename(shown), read_pieces(pipe), what=shown)
            real = os.path.realpath(given, strict=True)
        except (OSError, ValueError) as error:
            raise InputError(_why(shown, error)) from error
        if stat.S_ISDIR(info.st_mode):
            return FolderSource(real, shown)
        if not stat.S_ISREG(info.st_mode):
            raise InputError(f"not a file or directory: {shown}")
        if not os.access(real, os.R_OK):
            raise InputError(f"cannot read {shown}: Permission denied")
        return FileSource(real, shown, info)

    def _named(self, given: Named) -> Source:
        try:
            source = self._path(str(given.path))
        except InputError:
            raise InputError(f"cannot read {printable(given.name)}") from None
        if source.path != str(given.path):
            raise InputError(f"{printable(given.name)} is not where it was")
        return replace(source, given=printable(given.name))

    def _glob(self, pattern: str) -> Iterator[Source]:
        base = os.path.realpath(_fixed_part(pattern))
        matches = sorted(set(glob.glob(pattern, recursive=True)))
        files = [match for match in matches if os.path.isfile(match)]
        if not files:
            what = "only directories match" if matches else "no file matches"
            raise InputError(f"{what} {printable(pattern)}")
        inside = [match for match in files if os.path.realpath(match).startswith(base.rstrip("/") + "/")]
        if outside := len(files) - len(inside):
            self.notices.append(f"{outside:,} links that lead out of {printable(base)} were not followed")
        for match in inside:
            yield self._path(match)

    def _url(self, url: str) -> Source:
        choice, shown = self._choice, fetch.visible(url)
        with fetch.fetch(url, max_bytes=choice.max_download, allow_private=choice.allow_private_urls) as download:
            source = self._keep("url", shown, download.pieces, what=shown)
        return replace(source, name=download.name, charset=download.charset)

    def _opened(self, source: Source) -> Source:
        """An archive is what is in it."""
        if isinstance(source, FolderSource) or source.origin in ("str", "json"):
            return source
        try:
            with beneath.file(*os.path.split(source.path)) as fd:
                suffix = suffix_of(source.base)
                if source.origin != "path" and not suffix:
                    suffix = suffix_of(source.base, os.pread(fd, SNIFF, 0))
                if not archives.is_archive(source.base, suffix):
                    return source
                self._extracted += 1
                made = archives.extract(fd, source.given, self._spool, f"archives/{self._extracted}")
        except OSError as error:
            raise InputError(f"cannot read {source.given}: {error.strerror}") from error
        if made.left_out:
            some = ", ".join(map(printable, made.left_out[:5])) + (" …" if len(made.left_out) > 5 else "")
            self.notices.append(
                f"{source.given}: {len(made.left_out):,} not extracted, links or names that lead out: {some}"
            )
        if not made.files:
            raise InputError(f"there is no file in {source.given}")
        return FolderSource(str(self._spool.root / made.place), source.given, made.place, source)

    def _standard_input(self) -> Source:
        if self._stdin_used:
            raise InputError("stdin (-) can be read only once")
        self._stdin_used = True
        if self._stdin is None and sys.stdin is None:
            raise InputError("stdin (-) is closed")
        # Raw, since a thread that waits within a buffered reader would hold its lock when the interpreter ends.
        stream = self._stdin if self._stdin is not None else getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
        if stream.isatty():
            raise InputError("stdin (-) is a terminal: pipe a document into the command")
        return self._keep("stdin", "stdin", read_pieces(stream), what="stdin")

    def _value(self, value: Value) -> Source:
        data = value.data
        if isinstance(data, str):
            return self._keep("str", value.name, text_pieces(data), what=value.name)
        if isinstance(data, bytes | bytearray | memoryview):
            return self._keep("bytes", value.name, [bytes(data)], what=value.name)
        try:
            encoded = json.dumps(data, separators=(",", ":"))
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"{value.name}: a {type(data).__name__} that JSON cannot hold ({error})") from error
        return self._keep("json", value.name, text_pieces(encoded), what=value.name)

    def _keep(self, origin: Origin, name: str, pieces: Iterable[bytes], *, what: str) -> FileSource:
        self._spooled += 1
        place = f"given/{self._spooled}"
        info = self._spool.write(place, pieces, what=what)
        return FileSource(str(self._spool.root / place), name, info, origin, place)


def _fixed_part(pattern: str) -> str:
    """The folder that a glob starts from."""
    parts = pattern.split("/")
    fixed = next(at for at, part in enumerate(parts) if glob.has_magic(part))
    return "/".join(parts[:fixed]) or ("/" if pattern.startswith("/") else ".")


def _why(shown: str, error: Exception) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"no such file or directory: {shown}"
    return f"cannot read {shown}: {getattr(error, 'strerror', None) or error}"
