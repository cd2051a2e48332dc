"""One builder at a time: an advisory lock on a file, which the kernel releases when its holder dies."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path, *, progress: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock `path` (created if missing) for the block; blocks, and says so once, while another holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if progress is not None:
                progress("waiting for another rlm that is building the same")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
