"""The standard library of this machine, or some packages of it, as a folder of its own."""

from __future__ import annotations

import hashlib
import shutil
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from rlm.errors import ConfigError
from rlm.evals.codeqa.facts import Facts

LEFT_OUT = {"test", "tests", "idle_test", "__pycache__"}


@dataclass(frozen=True, slots=True)
class Library:
    """The chosen packages."""

    files: dict[str, Path]
    """The files of this machine by their path in the folder, e.g. `json/decoder.py`."""
    facts: Facts


@lru_cache(maxsize=4)
def read_library(packages: tuple[str, ...]) -> Library:
    """Parse the packages. Raises `ConfigError` for one that is not there."""
    base = Path(sysconfig.get_paths()["stdlib"])
    files: dict[str, Path] = {}
    for name in packages:
        found = {path.relative_to(base).as_posix(): path for path in sorted((base / name).rglob("*.py"))}
        if not found:
            raise ConfigError(f"codeqa: the standard library has no package {name!r} with Python files")
        files.update({inner: path for inner, path in found.items() if LEFT_OUT.isdisjoint(inner.split("/"))})
    texts = {inner: path.read_text(encoding="utf-8") for inner, path in files.items()}
    return Library(files, Facts(texts))


def write_library(packages: tuple[str, ...], place: Path) -> Path:
    """A folder below `place` with copies of the packages; one that is there already is taken as it is."""
    library = read_library(packages)
    key = hashlib.sha256(repr((sys.version_info[:3], packages)).encode()).hexdigest()[:12]
    folder = place / f"codeqa-{key}"
    if folder.is_dir():
        return folder
    place.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=place, prefix=".codeqa-"))
    draft.chmod(0o755)
    for inner, path in library.files.items():
        (draft / inner).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, draft / inner)
    try:
        draft.rename(folder)
    except OSError:
        # Another process was first.
        shutil.rmtree(draft)
        if not folder.is_dir():
            raise
    return folder
