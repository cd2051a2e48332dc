"""One run in a few figures, read from the ends of its trace: for lists of runs.

A run's folder may hold anything: what is no trace is called `unreadable`, and nothing of it is believed unchecked.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, BinaryIO, get_args

from rlm.events import SCHEMA_VERSION, Event, below_root
from rlm.result import StopReason
from rlm.trace.blobs import LARGE
from rlm.trace.reader import Trace
from rlm.trace.store import EVENTS_FILE

RUNNING, KILLED, UNREADABLE = "running", "killed", "unreadable"
STATUSES = (*get_args(StopReason), RUNNING, KILLED, UNREADABLE)
_UNFINISHED = ""
_LONGEST_LINE = 64 << 20
_TAIL = 64 << 10
_BEGIN = ("run.started", "run.resumed")


@dataclass(frozen=True, slots=True)
class Summary:
    """What a list of runs tells of one."""

    run_id: str
    started: float | None = None
    """Seconds since the epoch."""
    status: str = UNREADABLE
    """One of `STATUSES`."""
    turns: int = 0
    calls: int = 0
    """Requests below the root, as `usage.sub.calls` of the result."""
    cost: float | None = None
    seconds: float | None = None
    question: str = ""
    """At most `rlm.trace.blobs.LARGE` characters; an excerpt of a longer one."""
    model: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def now(self, runs: Path) -> Summary:
        """With the status of an unfinished run as it is now."""
        if self.status != _UNFINISHED:
            return self
        return replace(self, status=RUNNING if Trace(runs / self.run_id).goes_on() else KILLED)


def read(folder: Path) -> Summary:
    """The summary of the run in `folder`; whether an unfinished one goes on, `Summary.now` tells. Never raises for
    what the file holds, or that there is none."""
    nothing = Summary(folder.name)
    try:
        with _opened(folder / EVENTS_FILE) as file:
            last = _last_line(file)
            file.seek(0)
            lines = _lines(file)
            first = next(lines, None)
            if first is None:
                return replace(nothing, status=_UNFINISHED)
            begun = _begun(nothing, first)
            if last is not None and last.get("type") == "run.completed":
                return _ended(begun, last)
            return _scanned(begun, first, lines)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return nothing


def checked(**values: Any) -> Summary:
    """A summary from values that somebody else has kept. Raises `ValueError` for those of another type."""
    whole, real, text = (int,), (int, float, type(None)), (str,)
    kinds = {"turns": whole, "calls": whole, "cost": real, "seconds": real, "started": real}
    for name, value in values.items():
        if not isinstance(value, kinds.get(name, text)):
            raise ValueError(f"{name} cannot be {value!r}")
    if values["status"] not in (*STATUSES, _UNFINISHED):
        raise ValueError(f"no status: {values['status']!r}")
    return Summary(**values)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A regular file; a link is not followed, and a pipe is not waited for."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError("not a regular file")
        yield file


def _lines(file: BinaryIO) -> Iterator[Event]:
    while (line := file.readline(_LONGEST_LINE)).endswith(b"\n"):
        yield _event(line)
    if len(line) == _LONGEST_LINE:
        raise ValueError("a line without an end")


def _last_line(file: BinaryIO) -> Event | None:
    """The last event, if the file ends with a whole one that is not too long to look for."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL))
    tail = file.read(_TAIL)
    before, newline, line = tail.rpartition(b"\n")[0].rpartition(b"\n")
    if not tail.endswith(b"\n") or (not newline and size > _TAIL):
        return None
    return _event(line if newline else before or line)


def _event(line: bytes) -> Event:
    event: Event = json.loads(line)
    if not isinstance(event, dict) or not isinstance(event["type"], str):
        raise ValueError("not an event")
    return event


def _begun(summary: Summary, event: Event) -> Summary:
    if event["type"] not in _BEGIN or (_number(event.get("schema_version")) or 0) > SCHEMA_VERSION:
        raise ValueError("not the beginning of a trace")
    question, model = str(event.get("question") or "")[:LARGE], str(event.get("model") or "")[:200]
    question, model = (text.encode("utf-8", "replace").decode() for text in (question, model))
    return replace(summary, started=_number(event["ts"]), question=question, model=model, status=_UNFINISHED)


def _ended(begun: Summary, event: Event) -> Summary:
    result = event["result"]
    if result["stop_reason"] not in get_args(StopReason):
        raise ValueError("no reason to stop")
    return replace(
        begun,
        status=result["stop_reason"],
        turns=int(_number(result["turns"]) or 0),
        calls=int(_number(result["usage"]["sub"]["calls"]) or 0),
        cost=_number(result["cost"]),
        seconds=_number(result["seconds"]),
    )


def _scanned(begun: Summary, first: Event, lines: Iterator[Event]) -> Summary:
    """A run that has not ended, or whose trace goes on after its end: as far as its events tell."""
    turns = calls = 0
    last, end = first, None
    for last in lines:
        match last["type"]:
            case "run.completed":
                end = last
            case "run.resumed":
                end = None
            case "turn.started" if not below_root(last):
                turns = max(turns, int(_number(last.get("turn")) or 0))
            case "call.completed":
                calls += int(_number(last.get("attempts")) or 0)
            case "root.completed" if below_root(last):
                calls += int(_number(last.get("attempts")) or 0)
    if end is not None:
        return _ended(begun, end)
    until, since = _number(last.get("ts")), begun.started
    seconds = None if until is None or since is None else round(max(0.0, until - since), 3)
    return replace(begun, turns=turns, calls=calls, seconds=seconds)


def _number(value: Any) -> float | None:
    """A number that can be one of a trace, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < 1e15 else None
