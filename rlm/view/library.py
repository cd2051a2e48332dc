"""The runs that the viewer offers: those of the folder of runs, and some that lie elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rlm.errors import InputError
from rlm.events import Event
from rlm.trace import index, summary
from rlm.trace.reader import Trace, traces
from rlm.view.model_prices import Prices, prices_of

MOST = 500
"""Runs in the list."""
_HEAD = 1 << 20
"""Bytes of a trace that are looked through for its first event."""
_QUESTION = 500
"""Characters of a question in the list."""


class Library:
    """Runs by id. An id is only ever compared with what is there; it never becomes a path."""

    def __init__(self, trace_dir: Path | None = None, others: Iterable[Trace] = ()) -> None:
        self._trace_dir = trace_dir
        self._others = {trace.run_id: trace for trace in others}

    def find(self, run_id: str) -> Trace | None:
        """A run by its whole id."""
        if run_id in self._others:
            return self._others[run_id]
        return next((t for t in traces(self._trace_dir) if t.run_id == run_id and t.path.is_file()), None)

    def listing(self) -> dict[str, Any]:
        """`runs`, the latest first, and how many more there are (`left_out`)."""
        found = {each.run_id: each.to_dict() for each in index.listing(self._trace_dir)}
        found.update({name: about(trace) for name, trace in self._others.items() if name not in found})
        latest = [_short(found[name]) for name in sorted(found, reverse=True)]
        return {"runs": latest[:MOST], "left_out": max(0, len(latest) - MOST)}


def about(trace: Trace) -> dict[str, Any]:
    """What the list says of a run (see `rlm.trace.summary`)."""
    return _short(summary.read(trace.folder).now(trace.folder.parent).to_dict())


def _short(run: dict[str, Any]) -> dict[str, Any]:
    return {**run, "question": run["question"][:_QUESTION]}


def prices(trace: Trace) -> Prices:
    """What is known of the prices of a run's models."""
    return prices_of(first(trace))


def first(trace: Trace) -> Event:
    """The `run.started` event, long texts as excerpts; empty if there is none (yet), or it cannot be read."""
    try:
        with trace.path.open("rb") as file:
            for line in file.read(_HEAD).splitlines(keepends=True):
                event = json.loads(line)
                if isinstance(event, dict) and event.get("type") == "run.started":
                    return event
    except (OSError, ValueError):
        return {}  # the list shows the run nevertheless
    return {}


def search_blobs(trace: Trace, query: str, *, most: int = 500, around: int = 60) -> dict[str, dict[str, Any]]:
    """The large texts that hold `query`, whatever its case: by digest `at`, the first place, `count` and `excerpt`."""
    found: dict[str, dict[str, Any]] = {}
    needle = query.lower()
    for digest in _digests(trace):
        text = trace.blob(digest) or ""
        lowered = text.lower()
        at = lowered.find(needle)
        if at < 0:
            continue
        excerpt = text[max(0, at - around) : at + len(query) + around]
        found[digest] = {"at": at, "count": lowered.count(needle), "excerpt": excerpt}
        if len(found) == most:
            break
    return found


def _digests(trace: Trace) -> Iterable[str]:
    try:
        events = trace.events(whole=False)
        return list(dict.fromkeys(digest for event in events for digest in _blobs(event).values()))
    except InputError:
        return ()


def _blobs(event: Event) -> dict[str, str]:
    found = event.get("blobs")
    return found if isinstance(found, dict) else {}
