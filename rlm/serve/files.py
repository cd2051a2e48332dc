"""Uploaded documents: kept for a while, each for the key that brought it, in a private folder of this process."""

from __future__ import annotations

import os
import secrets
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from rlm.serve.failures import ApiError, invalid

MOST = 1000
"""Files of one key."""
MAX_NAME = 200
"""Bytes of a name."""
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A document that was uploaded. `path` is nothing that a client has a say in, but for the name's last part."""

    id: str
    owner: str
    name: str
    purpose: str
    bytes: int
    created: float
    path: Path


class FileStore:
    """Files by owner and id. May be used from many threads.

    `max_storage` bounds the bytes of all files, `ttl` the seconds that each is kept.
    """

    def __init__(self, folder: Path, *, max_file: int, max_storage: int, ttl: float) -> None:
        self._folder = folder
        self._max_file = max_file
        self._max_storage = max_storage
        self._ttl = ttl
        self._files: dict[str, StoredFile] = {}
        self._used = 0
        self._lock = threading.Lock()

    def add(self, owner: str, name: str, purpose: str, content: BinaryIO, size: int) -> StoredFile:
        """Keep `size` bytes of a document. Raises `ApiError` where it is too large, or there is no room."""
        self.sweep()
        if size > self._max_file:
            raise ApiError(413, f"a file has at most {self._max_file:,} bytes", param="file", code="file_too_large")
        file_id = f"file-{secrets.token_hex(12)}"
        path = self._folder / file_id / safe_name(name)
        made = StoredFile(file_id, owner, safe_name(name), purpose, size, time.time(), path)
        with self._lock:
            if sum(each.owner == owner for each in self._files.values()) >= MOST:
                raise ApiError(429, f"at most {MOST} files are kept: delete some", code="too_many_files")
            if self._used + size > self._max_storage:
                raise ApiError(507, "there is no room for more files now", code="storage_full")
            self._used += size
        try:
            keep(path, content, size)
        except OSError as error:
            self._remove(made)
            raise ApiError(507, "the file could not be kept", code="storage_full") from error
        with self._lock:
            self._files[file_id] = made
        return made

    def get(self, owner: str, file_id: str) -> StoredFile:
        """Raises `ApiError` for one that there is not, or that is another's: nobody learns which."""
        self.sweep()
        found = self._files.get(file_id)
        if found is None or found.owner != owner:
            raise ApiError(404, "there is no such file", param="file_id", code="file_not_found")
        return found

    def all(self, owner: str) -> list[StoredFile]:
        """The files of this owner, the latest first."""
        self.sweep()
        with self._lock:
            return [each for each in reversed(self._files.values()) if each.owner == owner]

    def delete(self, owner: str, file_id: str) -> None:
        """Runs that read it go on. Raises `ApiError` as `get` does."""
        self._forget(self.get(owner, file_id))

    def sweep(self) -> None:
        """Remove what has been kept for long enough."""
        oldest = time.time() - self._ttl
        with self._lock:
            over = [each for each in self._files.values() if each.created < oldest]
        for each in over:
            self._forget(each)

    def to_dict(self, file: StoredFile) -> dict[str, Any]:
        """The object that OpenAI's API has for a file."""
        return {
            "id": file.id,
            "object": "file",
            "bytes": file.bytes,
            "created_at": int(file.created),
            "expires_at": int(file.created + self._ttl),
            "filename": file.name,
            "purpose": file.purpose,
            "status": "processed",
        }

    def _forget(self, file: StoredFile) -> None:
        with self._lock:
            known = self._files.pop(file.id, None)
        if known is not None:
            self._remove(known)

    def _remove(self, file: StoredFile) -> None:
        shutil.rmtree(file.path.parent, ignore_errors=True)
        with self._lock:
            self._used -= file.bytes


def keep(path: Path, content: BinaryIO, size: int) -> None:
    """Write `size` bytes to a new file in a new folder. Raises `OSError`, also if there are fewer."""
    path.parent.mkdir(mode=0o700)
    # Others cannot enter the folder; the sandbox, to which it is mounted, may be another user.
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(fd, "wb") as file:
        os.fchmod(fd, 0o644)
        while size:
            piece = content.read(min(size, _PIECE))
            if not piece:
                raise OSError("the content ended early")
            file.write(piece)
            size -= len(piece)


def clean(text: str) -> str:
    """A client's text as UTF-8 can hold it: half a surrogate pair becomes `?`."""
    return text.encode("utf-8", "replace").decode()


def safe_name(name: str) -> str:
    """The last part of a client's file name, printable; never empty, hidden or a way out of a folder."""
    last = clean(name[-4 * MAX_NAME :]).replace("\\", "/").rstrip("/").rpartition("/")[2]
    shown = "".join(char if char.isprintable() else "_" for char in last)
    # Cut from the front, as the end says what kind of file it is.
    shown = shown.encode()[-MAX_NAME:].decode("utf-8", "ignore").strip().lstrip(".")
    return shown or "file"


def check_purpose(purpose: str) -> str:
    """Raises `ApiError` for what is no purpose of a file."""
    if not purpose.isidentifier() or len(purpose) > 64:
        raise invalid("purpose: a word such as user_data", "purpose")
    return purpose
