"""Private folders that go with their run; what a killed process leaves of them goes with the next command."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from rlm.errors import ConfigError
from rlm.kernels.hostid import HostId

_OWNER = "owner"
_ORPHANED_SECONDS = 24 * 3600
"""A folder without an owner may be one that is being made."""


@contextmanager
def scratch_dir() -> Iterator[Path]:
    """A new, empty folder, removed at the end. Raises `ConfigError` where none can be made."""
    root = default_root()
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        outer = Path(tempfile.mkdtemp(dir=root))
        (outer / _OWNER).write_text(HostId.current().encode(), encoding="utf-8")
        folder = outer / "data"
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise ConfigError(f"cannot write to {root}: {error.strerror or error}") from error
    try:
        yield folder
    finally:
        # A thread that was left behind may still write here; then the next command removes it.
        shutil.rmtree(outer, ignore_errors=True)


def reap() -> list[Path]:
    """Remove the folders of dead processes; says which. Blocking, and quick when there are none."""
    root = default_root()
    dead = [outer for outer in root.iterdir() if _is_dead(outer)] if root.is_dir() else []
    for outer in dead:
        shutil.rmtree(outer, ignore_errors=True)
    return dead


def _is_dead(outer: Path) -> bool:
    try:
        owner = HostId.decode((outer / _OWNER).read_text(encoding="utf-8"))
        return owner.is_dead() if owner else time.time() - outer.stat().st_mtime > _ORPHANED_SECONDS
    except FileNotFoundError:
        return outer.exists() and time.time() - outer.stat().st_mtime > _ORPHANED_SECONDS
    except OSError:
        return False  # another user's, or gone meanwhile


def default_root() -> Path:
    """Where the folders are: the user's own, and the same for all of their commands."""
    return platformdirs.user_state_path("rlm") / "scratch"
