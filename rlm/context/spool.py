"""The folder of a run in which the sandbox finds what cannot be mounted from where it lies.

It holds what came by stdin or through the API, files that the sandbox's user could not read at their own
place, and listings. The sandbox sees it as one read-only mount; on the host no other user can enter it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from rlm.errors import InputError

PIECE = 1 << 20


class Spool:
    """`folder` is made on first use: mode 0700, and in it the shared tree with folders 0755 and files 0644."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "input"
        self.root = self._folder / "shared"
        self.used = False

    def _place(self, path: str) -> str:
        """The absolute path for a new file at `path` beneath the root, its folders made."""
        if not self.used:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder.chmod(0o700)
            self.used = True
        at = self.root
        for part in ("", *Path(path).parent.parts):
            at = at / part
            if not at.is_dir():
                at.mkdir()
                at.chmod(0o755)
        return str(self.root / path)

    def _create(self, path: str) -> BinaryIO:
        place = self._place(path)
        Path(place).unlink(missing_ok=True)
        fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        os.fchmod(fd, 0o644)
        return os.fdopen(fd, "wb")

    def write(self, path: str, pieces: Iterable[bytes], *, what: str) -> os.stat_result:
        """Write the pieces one by one. Raises `InputError`, about `what`, if they cannot be had or kept."""
        try:
            with self._create(path) as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                return os.fstat(file.fileno())
        except OSError as error:
            raise InputError(f"cannot spool {what}: {error.strerror or error}") from error

    def write_json(self, path: str, value: object) -> None:
        self.write(path, [json.dumps(value, separators=(",", ":")).encode()], what="a listing")

    def stage(self, path: str, fd: int, *, link: bool) -> None:
        """Make the open file appear at `path`: by a hard link if `link` and where possible, else as a copy."""
        if link and self._link(self._place(path), fd):
            return
        with self._create(path) as copy, os.fdopen(os.dup(fd), "rb") as file:
            shutil.copyfileobj(file, copy, PIECE)

    def _link(self, place: str, fd: int) -> bool:
        Path(place).unlink(missing_ok=True)
        # A dir_fd makes Python call linkat, the only way to link what is open and not what the name is by now.
        here = os.open("/", os.O_PATH | os.O_CLOEXEC)
        try:
            os.link(f"/proc/self/fd/{fd}", place, src_dir_fd=here, follow_symlinks=True)
        except OSError:
            return False  # another file system, or not ours: a copy is as good
        finally:
            os.close(here)
        return True


def read_pieces(stream: BinaryIO) -> Iterable[bytes]:
    """A stream's bytes, as they come."""
    while piece := stream.read(PIECE):
        yield piece


def text_pieces(text: str) -> Iterable[bytes]:
    """A text in UTF-8, piece by piece; lone surrogates, which have no UTF-8, become `?`."""
    for at in range(0, len(text), PIECE):
        yield text[at : at + PIECE].encode("utf-8", "replace")
