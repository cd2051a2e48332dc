"""The demo's input: the sources of Python's standard library, some 30 MB with its tests."""

from __future__ import annotations

import platform
import shutil
import sysconfig
from pathlib import Path
from typing import NamedTuple

from rlm.errors import InputError

_SKIPPED = {"site-packages", "dist-packages", "__pycache__", "node_modules"}


class Sources(NamedTuple):
    """A folder of source files."""

    path: Path
    files: int
    bytes: int


def stage_sources(into: Path) -> Sources:
    """Copy the standard library's `.py` files to a folder in `into`, without what was installed beside them.

    Raises `InputError` where Python came without its sources.
    """
    library = Path(sysconfig.get_path("stdlib"))
    target = into / f"python-{platform.python_version()}"
    shutil.copytree(library, target, ignore=_not_sources, symlinks=True)
    sizes = [path.stat().st_size for path in target.rglob("*.py")]
    if not sizes:
        raise InputError(f"this Python came without the sources of its library: {library} holds no .py files")
    return Sources(target, len(sizes), sum(sizes))


def _not_sources(folder: str, names: list[str]) -> set[str]:
    """What of a folder is not copied: all but sources and folders, and links, which might lead anywhere."""
    here = Path(folder)
    return {
        name
        for name in names
        if name in _SKIPPED or (here / name).is_symlink() or not (name.endswith(".py") or (here / name).is_dir())
    }
