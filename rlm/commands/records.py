"""What `rlm resume` and `rlm replay` share: a run's record, and the settings to go on with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlm.commands import options
from rlm.config import Settings
from rlm.errors import ConfigError
from rlm.record import Record
from rlm.trace.reader import find
from rlm.trace.store import runs_dir

_SPELLING = {"headers": "--header", "mcp": "--mcp", "tools": "--tool", "functions": "--function"}


def open_record(run: str | None, given: Mapping[str, Any], *, offline: bool = False) -> tuple[Record, Settings]:
    """A run as `rlm.trace.reader.find` knows it, and its settings with those that were `given`.

    Raises `InputError` and `ConfigError`; also for options that its trace does not keep and that were not given again.
    """
    runs = runs_dir(options.runs_place(given.get("trace_dir")))
    record = Record(find(run, runs), offline=offline)
    settings = record.settings(given, runs=runs)
    for name in () if offline else record.past.started["settings"].get("left_out", ()):
        if not getattr(settings, name):
            raise ConfigError(f"the run was given {name}, which its trace does not keep: give {_SPELLING[name]} again")
    if record.folder.parent != runs_dir(settings.trace_dir):
        settings = settings.model_copy(update={"trace_dir": record.folder.parent})
    return record, settings
