"""One process at a time plays into a folder."""

from __future__ import annotations

import fcntl
from pathlib import Path

from rlm.errors import ConfigError


def take(fd: int, folder: Path, *, what: str) -> None:
    """Lock the open descriptor, of `folder` or of a file in it, until it is closed, also by the end of the process.

    `what` is played into it. Raises `ConfigError` if another process holds it.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(f"another process plays {what} into {folder}") from None
