"""The guest's package as sandboxes mount it: a byte-compiled, world-readable copy that never changes under a run."""

from __future__ import annotations

import hashlib
import os
import py_compile
import shutil
import sys
import tempfile
from pathlib import Path

from rlm.assets import asset_dir
from rlm.kernels.caches import cache_dir, remove_unused
from rlm.kernels.environment import GUEST_CODE
from rlm.kernels.rootfs import normalise_modes


def source_files() -> list[Path]:
    """The guest's files, relative to `sandbox/guest`, in a fixed order."""
    source = asset_dir("sandbox") / "guest"
    return sorted(p.relative_to(source) for p in source.rglob("*") if p.is_file() and "__pycache__" not in p.parts)


def digest() -> str:
    """Hash over the names and the contents of the guest's files."""
    source = asset_dir("sandbox") / "guest"
    digest = hashlib.sha256()
    for name in source_files():
        content = (source / name).read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def prepare() -> Path:
    """The folder to mount at `/rlm/guest`, for this interpreter's version; made in milliseconds if it is missing.

    Its name is `guest`, so its parent can stand on `sys.path` too.
    """
    cache = cache_dir("guest")
    final = cache / f"{digest()}-{sys.implementation.cache_tag}"
    if not final.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=cache, prefix="."))
        try:
            _fill(staging / "guest")
            normalise_modes(staging)
            staging.rename(final)
        except OSError:
            # Another process may have been first; its copy is the same.
            if not final.is_dir():
                raise
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    os.utime(final)
    return final / "guest"


def prune() -> list[Path]:
    """Remove the copies that no run has asked for within a day; says which."""
    return remove_unused(cache_dir("guest"))


def _fill(target: Path) -> None:
    source = asset_dir("sandbox") / "guest"
    for name in source_files():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)
        if name.suffix == ".py":
            # The bytecode names the place in the sandbox, and is trusted as it is: mounts lose timestamps.
            py_compile.compile(
                os.fspath(target / name),
                dfile=f"{GUEST_CODE}/{name}",
                doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
