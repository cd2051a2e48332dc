"""What the sandbox's lock file says: the exact versions of everything that a sandbox holds."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from rlm.assets import asset_dir

_PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)", re.MULTILINE)
_NAME = re.compile(r"^([A-Za-z0-9][\w.-]*)", re.MULTILINE)
MACHINERY = frozenset({"ipykernel"})
"""Requested for the kernel's own sake, not for the model's."""


def lock_file() -> Path:
    return asset_dir("sandbox") / "requirements.txt"


def normalised(name: str) -> str:
    """A distribution's name as the index compares it: `Foo.Bar_baz` -> `foo-bar-baz`."""
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def locked_versions() -> dict[str, str]:
    """Every distribution of the sandbox's lock file: normalised name -> version."""
    return read(lock_file())


def read(path: Path) -> dict[str, str]:
    """The pins of a requirements file: normalised name -> version."""
    return {normalised(name): version for name, version in _PIN.findall(path.read_text(encoding="utf-8"))}


@cache
def offered() -> tuple[str, ...]:
    """The packages that the sandbox offers to the model, by normalised name, in the order of requirements.in."""
    text = (asset_dir("sandbox") / "requirements.in").read_text(encoding="utf-8")
    return tuple(name for name in map(normalised, _NAME.findall(text)) if name not in MACHINERY)
