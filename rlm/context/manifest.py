"""What an input is and whether it is still the same: sizes, cheap fingerprints, and hashes on demand."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from rlm.context import beneath
from rlm.errors import InputError

PIECE = 1 << 20

Kind = Literal["str", "text", "json", "path", "files"]
"""What the guest makes of it: a str, a `Text`, parsed JSON, a path, or a mapping of files."""


@dataclass(frozen=True, slots=True)
class Part:
    """One file of an input: its name there, where it lies (beneath a root, without links), and its `stat`."""

    name: str
    root: str
    path: str
    size: int
    mtime_ns: int
    inode: int
    text: str = ""
    """Where the UTF-8 text lies that is offered in its place, e.g. of a PDF; `""` if it is offered as it is."""
    text_size: int = 0
    """Bytes of that text."""

    @property
    def offered(self) -> tuple[str, str, int]:
        """Root, path and size of what the sandbox reads."""
        root, name = os.path.split(self.text)
        return (root, name, self.text_size) if self.text else (self.root, self.path, self.size)


@dataclass(frozen=True, slots=True)
class Item:
    """One input, as it is listed in events."""

    name: str
    kind: Kind
    source: str
    """The path as the caller named it; for other origins their name, e.g. `stdin`."""
    bytes: int
    """Of the files as they are named: of a PDF, not of its text."""
    parts: tuple[Part, ...]
    type: str = ""
    """What it is in a word or two: `PDF`, `CSV`, `text`, `directory` …"""
    characters: int | None = None
    """Of the text that is offered, where that is known without reading more than both ends."""
    container: Part | None = None
    """The archive that the parts came from."""

    @property
    def files(self) -> int:
        return len(self.parts)

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "type": self.type,
            "source": self.source,
            "bytes": self.bytes,
            "characters": self.characters,
            "files": self.files,
            "fingerprint": self.fingerprint(),
        }

    def fingerprint(self) -> str:
        """A hash of names, sizes, modification times and inodes: reads no file."""
        digest = hashlib.sha256()
        for part in (self.container,) if self.container else self.parts:
            digest.update(json.dumps([part.name, part.size, part.mtime_ns, part.inode]).encode())
        return digest.hexdigest()

    def sha256(self, stopped: Callable[[], bool] = bool) -> str:
        """A hash of names and contents: reads every file. `InputError` if one cannot be read any more.

        For one file, an archive too, it is that of its content alone, as `sha256sum` prints it. Raises `Stopped` as
        soon as `stopped` says so.
        """
        if self.container is not None:
            return _content(self.container, stopped)
        if self.kind != "files":
            return _content(self.parts[0], stopped)
        digest = hashlib.sha256()
        for part in self.parts:
            digest.update(json.dumps([part.name, _content(part, stopped)]).encode())
        return digest.hexdigest()


class Stopped(Exception):
    """Nobody needs the hash any more."""


def _content(part: Part, stopped: Callable[[], bool]) -> str:
    digest = hashlib.sha256()
    try:
        with beneath.file(part.root, part.path) as fd:
            while piece := os.read(fd, PIECE):
                if stopped():
                    raise Stopped
                digest.update(piece)
        return digest.hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {part.name}: {error.strerror}") from error
