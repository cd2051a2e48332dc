"""Removes runs: never one that goes on, and never anything outside of its folder."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlm.errors import InputError, RLMError
from rlm.trace.store import EVENTS_FILE


def size_of(folder: Path) -> int:
    """Bytes of the files in `folder`; links are not followed."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                found = os.lstat(os.path.join(parent, name))
            except OSError:
                continue  # gone meanwhile
            total += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return total


def remove(folder: Path) -> None:
    """Remove the run in `folder`. The trace goes last, so that what was left by a failure is still a run.

    Raises `InputError` for a run that goes on, `RLMError` if something cannot be removed.
    """
    try:
        with _held(folder / EVENTS_FILE):
            for entry in list(os.scandir(folder)):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                elif entry.name != EVENTS_FILE:
                    os.unlink(entry.path)
            os.unlink(folder / EVENTS_FILE)
        os.rmdir(folder)
    except BlockingIOError:
        raise InputError(f"the run {folder.name} goes on") from None
    except OSError as error:
        raise RLMError(f"cannot remove {folder}: {error.strerror or error}") from error


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Locked as by a writer, so that nobody takes the run up meanwhile. Raises `BlockingIOError`."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)
