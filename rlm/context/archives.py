"""ZIP and TAR as directories: extracted into the run's spool, within bounds, whatever the archive says."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import IO, BinaryIO, cast

from rlm.context.scan import printable, unique
from rlm.context.spool import PIECE, Spool
from rlm.errors import InputError

MAX_FILES = 50_000
MAX_BYTES = 8 << 30
MAX_RATIO = 200
"""Of what comes out to the archive's own size, beyond the first bytes."""
FREE_BYTES = 64 << 20
"""That may come out of an archive of any size."""
MAX_NAME = 1000
MAX_HEADER = 1 << 20

_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)


def is_archive(name: str, suffix: str) -> bool:
    """By its name; `suffix` is that of one which has none there (see `formats.suffix_of`)."""
    return suffix == ".zip" or name.lower().endswith(_TARS)


@dataclass
class Extracted:
    """What came out, at `place` beneath the spool's root."""

    place: str
    files: int = 0
    bytes: int = 0
    left_out: list[str] = field(default_factory=list)
    """Links, devices, and names that lead out."""


def extract(fd: int, shown: str, spool: Spool, place: str) -> Extracted:
    """Extract the open archive into the spool. Raises `InputError`: damaged, encrypted, or over a bound.

    What an archive holds is not extracted further.
    """
    done = Extracted(place)
    try:
        with ExitStack() as stack:
            file = stack.enter_context(os.fdopen(os.dup(fd), "rb"))
            size = os.fstat(file.fileno()).st_size
            bounds = _Bounds(shown, max(FREE_BYTES, MAX_RATIO * size))
            if zipfile.is_zipfile(file) and not shown.lower().endswith(_TARS):
                _Extraction(spool, done, bounds).zip(stack.enter_context(zipfile.ZipFile(file)))
            else:
                file.seek(0)
                stream = stack.enter_context(_uncompressed(file))
                counted = bounds.counted(stream)
                with tarfile.open(fileobj=counted, mode="r|", tarinfo=_Info) as tar:
                    _Extraction(spool, done, bounds).tar(tar)
    except InputError:
        raise
    except (*_DAMAGED, OSError, ValueError, RuntimeError) as error:
        why = "it is encrypted" if "password" in str(error) else " ".join(str(error).split())[:200]
        raise InputError(f"cannot extract {shown}: {why or type(error).__name__}") from error
    return done


class _Bounds:
    """What one archive may come to."""

    def __init__(self, shown: str, most: int) -> None:
        self._shown = shown
        self._most = min(most, MAX_BYTES)
        self._files = 0
        self._bytes = 0
        self._read = 0

    def file(self) -> None:
        self._files += 1
        if self._files > MAX_FILES:
            raise InputError(f"{self._shown} has more than {MAX_FILES:,} entries: it is not extracted")

    def came(self, count: int) -> None:
        self._bytes += count
        if self._bytes > self._most:
            raise InputError(
                f"{self._shown} is not extracted: more than {self._most:,} bytes would come out of it "
                f"(at most {MAX_RATIO} times its own size, and {MAX_BYTES:,} in all)"
            )

    def counted(self, stream: IO[bytes]) -> IO[bytes]:
        """The stream of a tar, which counts too: what lies between the files is decompressed as well."""
        return cast("IO[bytes]", _Counted(stream, self))

    def passed(self, count: int) -> None:
        self._read += count
        # Each file takes a header, and is padded: at most 1 KiB of both.
        if self._read > self._most + (MAX_FILES + 1) * 1024:
            raise InputError(f"{self._shown} is not extracted: more than {self._most:,} bytes would come out of it")


class _Info(tarfile.TarInfo):
    """Headers hold the names of files, and are read into memory as a whole."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        kinds = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE)
        if self.type in (*kinds, tarfile.SOLARIS_XHDTYPE) and self.size > MAX_HEADER:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        return super()._proc_member(tar)  # type: ignore[misc,no-any-return]


class _Counted:
    def __init__(self, stream: IO[bytes], bounds: _Bounds) -> None:
        self._stream, self._bounds = stream, bounds

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._bounds.passed(len(data))
        return data


class _Extraction:
    def __init__(self, spool: Spool, done: Extracted, bounds: _Bounds) -> None:
        self._spool = spool
        self._done = done
        self._bounds = bounds
        self._names: set[str] = set()
        self._folders: set[str] = set()

    def zip(self, archive: zipfile.ZipFile) -> None:
        for info in archive.infolist():
            self._bounds.file()
            mode = info.external_attr >> 16
            if info.is_dir():
                continue
            if (stat.S_IFMT(mode) not in (0, stat.S_IFREG)) or (name := self._name(info.filename)) is None:
                self._done.left_out.append(info.filename)
                continue
            with archive.open(info) as file:
                self._write(name, file)

    def tar(self, archive: tarfile.TarFile) -> None:
        for info in archive:
            self._bounds.file()
            if info.isdir():
                continue
            file = archive.extractfile(info) if info.isreg() else None
            if file is None or (name := self._name(info.name)) is None:
                self._done.left_out.append(info.name)
                continue
            self._write(name, file)

    def _name(self, given: str) -> str | None:
        """Where a file may go: below the place, not through another file; None for one that would lead elsewhere."""
        given = printable(given).replace("\\", "/")
        parts = [part for part in given.split("/") if part not in ("", ".")]
        if given.startswith("/") or ".." in parts or not parts or len(given) > MAX_NAME:
            return None
        parts = [_component(part) for part in parts]
        name = "/".join(parts)
        if any(folder in self._names for folder in _above(name)):
            return None  # a file lies where its folder would be
        if name in self._folders:
            name = f"{name} (file)"
        name = unique(name, self._names)
        self._folders.update(_above(name))
        return name

    def _write(self, name: str, file: IO[bytes]) -> None:
        self._spool.write(f"{self._done.place}/{name}", self._pieces(file), what=name)
        self._done.files += 1

    def _pieces(self, file: IO[bytes]) -> Iterator[bytes]:
        while piece := file.read(PIECE):
            self._bounds.came(len(piece))
            self._done.bytes += len(piece)
            yield piece


def _component(part: str) -> str:
    safe = "".join(char if char.isprintable() else "_" for char in part)
    while len(safe.encode()) > 240:
        safe = safe[1:]
    return safe


def _above(name: str) -> Iterator[str]:
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def _uncompressed(file: BinaryIO) -> IO[bytes]:
    head = file.read(6)
    file.seek(0)
    if head.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=file))
    if head.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if head.startswith(b"\xfd7zXZ"):
        return lzma.LZMAFile(file)
    return file
