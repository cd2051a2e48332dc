"""Reads traces: those of finished runs, of runs that go on, and of runs whose host was killed."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlm.errors import InputError
from rlm.events import SCHEMA_VERSION, Event
from rlm.trace import blobs
from rlm.trace.store import BLOBS, EVENTS_FILE, RESULT_FILE, runs_dir

LATEST = "last"
"""The name of the latest run."""


class Trace:
    """The trace in one run's folder. It may grow while it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / EVENTS_FILE
        self.run_id = folder.name

    def events(self, *, whole: bool = True) -> Iterator[Event]:
        """The events so far, in order. With `whole` large texts are read from their files, else they are excerpts
        (see `rlm.trace.blobs`).

        Raises `InputError` for a file that cannot be read, or that a later version of `rlm` has written.
        """
        try:
            with self.path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    if not line.endswith(b"\n"):
                        return  # half a line: the run goes on, or was killed
                    event = self.event(number, line)
                    yield blobs.restore(event, self.folder / BLOBS) if whole else event
        except OSError as error:
            raise InputError(f"cannot read the trace {self.path}: {error.strerror or error}") from error

    def event(self, number: int, line: bytes) -> Event:
        """What a line of the file says, with excerpts for large texts. Raises `InputError` as `events` does."""
        try:
            event: Any = json.loads(line)
            if event["type"] == "run.started" and event["schema_version"] > SCHEMA_VERSION:
                raise InputError(f"{self.path} was written by a later version of rlm")
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{self.path}, line {number}: not an event") from error
        found: Event = event
        return found

    def blob(self, digest: str) -> str | None:
        """A large text; None if there is none of this name."""
        return blobs.read(self.folder / BLOBS, digest)

    def result(self) -> dict[str, Any] | None:
        """The object of `RunResult.to_dict()`; None for a run that has not ended, or was killed."""
        path = self.folder / RESULT_FILE
        try:
            # A pipe of that name would be waited for.
            result = json.loads(path.read_bytes()) if path.is_file() else None
        except (OSError, ValueError):
            return None
        return result if isinstance(result, dict) and not self.goes_on() else None

    def goes_on(self) -> bool:
        """Whether a process is writing to it now."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False


def traces(trace_dir: Path | None = None) -> list[Trace]:
    """All runs in the folder of runs, the latest first."""
    try:
        folders = [entry.name for entry in os.scandir(runs_dir(trace_dir)) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [Trace(runs_dir(trace_dir) / name) for name in sorted(folders, reverse=True)]


def find(run: str | None = None, trace_dir: Path | None = None) -> Trace:
    """A run by its id, the beginning or the end of one, its folder or its trace file; the latest one by default.

    Raises `InputError` if there is none, or more than one.
    """
    if run and (os.sep in run or Path(run, EVENTS_FILE).is_file()):
        folder = Path(run).parent if Path(run).name == EVENTS_FILE else Path(run)
        if not (folder / EVENTS_FILE).is_file():
            raise InputError(f"there is no trace in {folder}")
        return Trace(folder.absolute())
    known = [trace for trace in traces(trace_dir) if trace.path.is_file()]
    if run in (None, LATEST):
        if not known:
            raise InputError(f"there are no runs in {runs_dir(trace_dir)}")
        return known[0]
    found = [t for t in known if t.run_id == run] or [
        t for t in known if run and (t.run_id.startswith(run) or t.run_id.endswith(run))
    ]
    if not found:
        raise InputError(f"there is no run {run!r} in {runs_dir(trace_dir)}; see: rlm runs list")
    if len(found) > 1:
        raise InputError(f"{len(found)} runs are called {run!r}, for example {found[0].run_id} and {found[1].run_id}")
    return found[0]
