"""What `rlm resume` and `rlm replay` share: a run's record, and the settings to go on with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlm.config import Settings
from rlm.errors import ConfigError
from rlm.layers import load_settings, of_record
from rlm.record import Record
from rlm.trace.reader import find
from rlm.trace.store import runs_dir

_SPELLING = {"headers": "--header", "mcp": "--mcp", "tools": "--tool", "functions": "--function"}


def open_record(run: str | None, given: Mapping[str, Any], *, offline: bool = False) -> tuple[Record, Settings]:
    """A run as `rlm.trace.reader.find` knows it, and its settings with those that were `given`.

    Raises `InputError` and `ConfigError`; also for options that its trace does not keep and that were not given again.
    """
    record = Record(find(run, _trace_dir(given)), offline=offline)
    told = record.past.started["settings"]
    # A folder elsewhere may be a stranger's: it does not say where keys and prompts go.
    trusted = record.folder.parent == runs_dir(_trace_dir(given))
    settings = load_settings(given, recorded=of_record(told, trusted=trusted))
    for name in () if offline else told.get("left_out", ()):
        if not getattr(settings, name):
            raise ConfigError(f"the run was given {name}, which its trace does not keep: give {_SPELLING[name]} again")
    if record.folder.parent != runs_dir(settings.trace_dir):
        settings = settings.model_copy(update={"trace_dir": record.folder.parent})
    return record, settings


def _trace_dir(given: Mapping[str, Any]) -> Path | None:
    trace_dir: Path | None = given.get("trace_dir") or load_settings({}).trace_dir
    return trace_dir
