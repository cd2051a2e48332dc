"""A prepared input kept beside its run, so that the run can be taken up again, if the input is still the same."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rlm.context import beneath
from rlm.context.manifest import Item, Part
from rlm.context.prepare import PreparedInput
from rlm.errors import InputError
from rlm.protocols import Mount


def save(prepared: PreparedInput, path: Path, *, redact: Callable[[bytes], bytes] = bytes) -> None:
    """Write where the input lies and what it was like; `redact` takes secrets out of JSON. Raises `OSError`."""
    kept = {**asdict(prepared), "folder": str(path.parent)}
    draft = path.with_name(f".{path.name}.part")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(redact(json.dumps(kept, separators=(",", ":")).encode()))
    draft.replace(path)


def load(path: Path) -> PreparedInput:
    """What `save` wrote; a run's folder may have been moved since. Raises `InputError`."""
    try:
        kept = json.loads(path.read_bytes())
        moved = _Moved(kept.pop("folder"), str(path.parent))
        kept["mounts"] = tuple(Mount(moved(each["source"]), each["target"]) for each in kept["mounts"])
        kept["items"] = tuple(
            Item(
                **{
                    **item,
                    "parts": tuple(moved.part(part) for part in item["parts"]),
                    "container": moved.part(item["container"]) if item.get("container") else None,
                }
            )
            for item in kept["items"]
        )
        return PreparedInput(**{**kept, "notices": ()})
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} does not say where the run's input is") from error


def check_unchanged(prepared: PreparedInput, hashes: Mapping[str, str]) -> None:
    """Raise `InputError` for an input that is not what it was: by size, time and inode, or else by its hash."""
    for item in prepared.items:
        files = (*item.parts, item.container) if item.container else item.parts
        if all(_as_it_was(part) for part in files):
            continue
        known = hashes.get(item.name)
        if known is None or item.sha256() != known:
            raise InputError(f"{item.source} has changed since the run began")


def _as_it_was(part: Part) -> bool:
    try:
        with beneath.file(part.root, part.path) as fd:
            stat = os.fstat(fd)
    except OSError as error:
        raise InputError(f"cannot read {part.name}, which the run began with: {error.strerror or error}") from error
    return (stat.st_size, stat.st_mtime_ns, stat.st_ino) == (part.size, part.mtime_ns, part.inode)


class _Moved:
    """Paths beneath one folder become paths beneath another."""

    def __init__(self, old: str, new: str) -> None:
        self._old, self._new = old, new

    def part(self, part: Mapping[str, Any]) -> Part:
        return Part(**{**part, "root": self(part["root"]), "text": self(part.get("text", ""))})

    def __call__(self, path: Any) -> str:
        inside = path == self._old or str(path).startswith(f"{self._old}{os.sep}")
        return f"{self._new}{path[len(self._old) :]}" if inside else str(path)
