"""Opening what lies beneath a folder without ever following a link.

An input may come from a stranger and may change while it is read: a name that was a file when it was
listed may be a link to the user's keys when it is opened.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, a pipe put in the place of a file would wait for its writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def folder(root: str, path: str) -> Iterator[int]:
    """A descriptor of the folder at `path` (relative, `""` for `root` itself). `OSError` if a link is on the way."""
    fd = os.open(root, _FOLDER)
    try:
        for part in path.split("/") if path else ():
            inner = os.open(part, _FOLDER, dir_fd=fd)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


@contextmanager
def file(root: str, path: str) -> Iterator[int]:
    """A descriptor of the regular file at `path` beneath `root`. `OSError` if it is none, or behind a link."""
    parent, _, name = path.rpartition("/")
    with folder(root, parent) as inside:
        fd = os.open(name, _FILE, dir_fd=inside)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        yield fd
    finally:
        os.close(fd)
