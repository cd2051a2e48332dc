"""A folder to work in, a cache of its own, and both sides of the input without a sandbox."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from guest import inputs as guest_inputs

from rlm.context import Choice, PreparedInput, prepare


class Built(NamedTuple):
    prepared: PreparedInput
    context: Any
    originals: dict[str, Path]


class Desk:
    """A working folder that any user may enter, and what `prepare` makes of what is in it."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.cache = cache
        self.runs = 0

    def write(self, name: str, content: bytes | str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def build(self, *inputs: Any, stdin: Any = None, **choice: Any) -> Built:
        self.runs += 1
        spool = self.folder.parent / f"run{self.runs}"
        prepared = prepare(inputs, spool_dir=spool, stdin=stdin, choice=Choice(**choice))
        loaded = guest_inputs.load(json.loads(json.dumps(prepared.local_config())))
        return Built(prepared, loaded.context, loaded.originals)


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "here"
    folder.mkdir(mode=0o755)
    monkeypatch.chdir(folder)
    return Desk(folder, tmp_path / "cache" / "rlm" / "documents")
