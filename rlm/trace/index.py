"""The list of all runs, with what is known of each kept in `index.sqlite` beside their folders.

The index is a cache: a run whose trace has another size or time than its row says is read again, rows of runs that
are gone are dropped, and an index that is damaged, or of another version, is made anew. Where it cannot be written
the list is the same, only slower.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

from rlm.trace import summary
from rlm.trace.store import EVENTS_FILE, runs_dir
from rlm.trace.summary import Summary

INDEX_FILE = "index.sqlite"
VERSION = 1
_PATIENCE = 2.0
"""Seconds to wait for another process that writes to the index."""
_COLUMNS = tuple(each.name for each in fields(Summary))


class _Stamp(NamedTuple):
    """By which a trace that has changed is known."""

    size: int
    mtime_ns: int


def listing(trace_dir: str | Path | None = None) -> list[Summary]:
    """All runs in the folder of runs, the latest first. Never raises for what the folder holds."""
    runs = runs_dir(trace_dir)
    present = dict(_present(runs))
    kept = _load(runs / INDEX_FILE)
    current = {name: row for name, (stamp, row) in kept.items() if present.get(name) == stamp}
    changed = {name: summary.read(runs / name) for name in present.keys() - current.keys()}
    gone = kept.keys() - present.keys()
    if changed or gone:
        _save(runs / INDEX_FILE, {name: (present[name], row) for name, row in changed.items()}, gone)
    every = {**current, **changed}
    return [every[name].now(runs) for name in sorted(every, reverse=True)]


def _present(runs: Path) -> Iterator[tuple[str, _Stamp]]:
    """The folders with a trace. Names that are no text are left out."""
    try:
        with os.scandir(runs) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for name in names:
        try:
            name.encode()
            found = os.lstat(f"{runs}/{name}/{EVENTS_FILE}")
        except (OSError, ValueError):
            continue
        if stat.S_ISREG(found.st_mode):
            yield name, _Stamp(found.st_size, found.st_mtime_ns)


def _load(path: Path) -> dict[str, tuple[_Stamp, Summary]]:
    """What the index says; nothing if it cannot be used."""
    rows: dict[str, tuple[_Stamp, Summary]] = {}
    try:
        with _connected(path) as db:
            if _version(db) != VERSION:
                return {}
            for size, mtime_ns, *values in db.execute(f"SELECT size, mtime_ns, {', '.join(_COLUMNS)} FROM runs"):
                row = summary.checked(**dict(zip(_COLUMNS, values, strict=True)))
                rows[row.run_id] = _Stamp(size, mtime_ns), row
    except (OSError, sqlite3.Error, ValueError):
        return {}
    return rows


def _save(path: Path, changed: Mapping[str, tuple[_Stamp, Summary]], gone: set[str]) -> None:
    try:
        try:
            _write(path, changed, gone)
        except sqlite3.OperationalError:
            raise  # it is in use, or the folder is read-only
        except sqlite3.DatabaseError:
            path.unlink()
            _write(path, changed, gone)
    except (OSError, sqlite3.Error):
        return  # then the runs are read again next time


def _write(path: Path, changed: Mapping[str, tuple[_Stamp, Summary]], gone: set[str]) -> None:
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    with _connected(path, write=True) as db:
        db.execute("BEGIN IMMEDIATE")
        if _version(db) != VERSION:
            db.execute("DROP TABLE IF EXISTS runs")
            db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute(f"CREATE TABLE IF NOT EXISTS runs (size, mtime_ns, {', '.join(_COLUMNS)}, PRIMARY KEY (run_id))")
        db.executemany("DELETE FROM runs WHERE run_id = ?", [(name,) for name in gone])
        db.executemany(
            f"INSERT OR REPLACE INTO runs VALUES (?, ?{', ?' * len(_COLUMNS)})",
            [(*stamp, *row.to_dict().values()) for stamp, row in changed.values()],
        )
        db.execute("COMMIT")


@contextlib.contextmanager
def _connected(path: Path, *, write: bool = False) -> Iterator[sqlite3.Connection]:
    """Raises `OSError` for what is not a regular file: a link may lead anywhere."""
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise OSError(f"{path}: not a regular file")
    uri = f"{path.as_uri()}?mode={'rw' if write else 'ro'}"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_PATIENCE, isolation_level=None)) as db:
        yield db


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])
