"""The folders of the user's cache that hold what sandboxes are made of: `env`, `guest`, `packages`."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import platformdirs

UNUSED_SECONDS = 24 * 3600
"""A tree that was asked for within this time is left alone: a run may have it mounted."""


def cache_dir(name: str = "") -> Path:
    return Path(platformdirs.user_cache_dir("rlm")) / name


def remove_unused(folder: Path, *, keep: Path | None = None) -> list[Path]:
    """Remove the trees in `folder` (each touched whenever it is asked for) that nobody needs; says which."""
    removed = []
    for tree in sorted(path for path in folder.glob("*") if path.is_dir() and path != keep):
        if time.time() - tree.stat().st_mtime > UNUSED_SECONDS:
            shutil.rmtree(tree)
            removed.append(tree)
    return removed
