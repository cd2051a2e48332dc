"""Replies that are kept across runs: a SQLite file in a folder of the user's (`--cache DIR`).

The keys are digests of requests and of the endpoint that they went to. A file that fails is left
alone from then on, with a word to the user: a cache is not worth a run.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from rlm.calls.outcome import Reply
from rlm.errors import ConfigError

FILE = "calls.sqlite"
BUSY_SECONDS = 2.0
"""How long another process's write is waited for."""
_TABLE = "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT)"


class ReplyCache(Protocol):
    """Replies by key."""

    def get(self, key: str) -> Reply | None: ...

    def put(self, key: str, reply: Reply) -> None: ...

    def flush(self) -> None:
        """Have everything on disk."""
        ...

    def close(self) -> None: ...


class NoCache:
    """Keeps nothing."""

    def get(self, key: str) -> Reply | None:
        return None

    def put(self, key: str, reply: Reply) -> None:
        return None

    def flush(self) -> None:
        return None

    def close(self) -> None:
        return None


class SqliteCache:
    """A `ReplyCache` in `folder`. Belongs to one thread; several processes may share the file.

    Raises `ConfigError` if the folder or the file cannot be used. `on_error` is told once of a later failure.
    """

    def __init__(self, folder: Path, *, salt: str, on_error: Callable[[str], None]) -> None:
        """`salt` is what determines replies and is not in the keys."""
        self._salt = salt
        self._on_error = on_error
        self._dirty = False
        path = folder.expanduser() / FILE
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Made here, since SQLite would make it readable by others.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._db: sqlite3.Connection | None = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"cache: {path}: {getattr(error, 'strerror', None) or error}") from error

    def get(self, key: str) -> Reply | None:
        if self._db is None:
            return None
        try:
            row = self._db.execute("SELECT reply FROM replies WHERE key = ?", (self._salted(key),)).fetchone()
            return None if row is None else Reply(**json.loads(row[0]))
        except (sqlite3.Error, ValueError, TypeError) as error:
            self._give_up(error)
            return None

    def put(self, key: str, reply: Reply) -> None:
        if self._db is None:
            return
        kept = json.dumps({"text": reply.text, "model": reply.model, "extra": reply.extra})
        try:
            if not self._dirty:
                self._db.execute("BEGIN IMMEDIATE")
                self._dirty = True
            self._db.execute("INSERT OR REPLACE INTO replies VALUES (?, ?)", (self._salted(key), kept))
        except sqlite3.Error as error:
            self._give_up(error)

    def flush(self) -> None:
        if self._db is None or not self._dirty:
            return
        self._dirty = False
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._give_up(error)

    def close(self) -> None:
        self.flush()
        if self._db is not None:
            self._db.close()
            self._db = None

    def _salted(self, key: str) -> str:
        return f"{self._salt}:{key}"

    def _give_up(self, error: Exception) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()
        self._on_error(f"the cache is not used any more: {error}")
