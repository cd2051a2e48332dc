"""The shared libraries that programs need to run in a root of their own, as the host's loader resolves them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rlm.errors import SandboxUnavailable

_BATCH = 200
_RESOLVED = re.compile(r"^\s+(\S+) => (/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)
_LOADER = re.compile(r"^\s+(/\S*/ld[\w.-]*) \(0x[0-9a-f]+\)$", re.MULTILINE)

PROMISED = (
    *("libgcc_s.so.1", "libstdc++.so.6", "libz.so.1", "libexpat.so.1", "libatomic.so.1", "libdl.so.2", "librt.so.1"),
    *("libpthread.so.0", "libutil.so.1", "libresolv.so.2", "libanl.so.1", "libnss_files.so.2", "libnss_dns.so.2"),
)
"""Libraries that every manylinux wheel, or glibc itself, may load without naming them to `ldd`."""


@dataclass(frozen=True, slots=True)
class Closure:
    """What must lie in a root so that the programs run there."""

    loader: Path
    """The dynamic loader; must keep its path."""
    directory: Path
    """Where libc lies: a directory that the loader always searches."""
    libraries: dict[str, Path]
    """Name -> file on the host. In `directory` under its name, each is found whatever its user's RPATH says."""


def is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def closure(programs: Iterable[Path]) -> Closure:
    """Resolve what `programs` (executables and extension modules, the first one an executable) need.

    Libraries that a program finds beside itself are listed too. Raises `SandboxUnavailable` where
    the host has no `ldd`, or its first program needs no loader.
    """
    ldd = shutil.which("ldd")
    if ldd is None:
        raise SandboxUnavailable("a sandbox from the host's own Python needs `ldd` (Debian: apt install libc-bin)")
    paths = [str(path) for path in programs]
    libraries: dict[str, Path] = {}
    loader: Path | None = None
    for start in range(0, len(paths), _BATCH):
        # ldd's status is not checked: it fails when any one file is static, and such a file needs nothing.
        output = subprocess.run([ldd, *paths[start : start + _BATCH]], capture_output=True, text=True).stdout
        for name, path in _RESOLVED.findall(output):
            libraries.setdefault(name, Path(path))
        if loader is None and (match := _LOADER.search(output)):
            loader = Path(match[1])
    libc = next((path for name, path in libraries.items() if name.startswith("libc.")), None)
    if loader is None or libc is None:
        raise SandboxUnavailable(f"cannot tell which libraries {paths[0]} needs: is it statically linked?")
    for name in PROMISED:
        for directory in (libc.parent, *{path.parent for path in libraries.values()}):
            if name not in libraries and (directory / name).exists():
                libraries[name] = directory / name
    return Closure(loader=loader, directory=libc.parent, libraries=libraries)
