"""The runs that the viewer offers: those of the folder of runs, and one that lies elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rlm.errors import InputError
from rlm.events import Event
from rlm.trace.reader import Trace, traces
from rlm.view.model_prices import Prices, prices_of

MOST = 300
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
        return next((trace for trace in self._traces() if trace.run_id == run_id), None)

    def listing(self) -> dict[str, Any]:
        """`runs`, the latest first, and how many more there are (`left_out`)."""
        found = {trace.run_id: trace for trace in [*self._traces(), *self._others.values()]}
        latest = [found[name] for name in sorted(found, reverse=True)]
        return {"runs": [summary(trace) for trace in latest[:MOST]], "left_out": max(0, len(latest) - MOST)}

    def _traces(self) -> list[Trace]:
        return [trace for trace in traces(self._trace_dir) if trace.path.is_file()]


def summary(trace: Trace) -> dict[str, Any]:
    """What the list says of a run. `status` is `running`, `killed` (it has no end), or its stop reason."""
    started, result, goes_on = first(trace), trace.result(), trace.goes_on()
    status = "running" if goes_on else result.get("stop_reason") if result else "killed"
    kept = {name: result.get(name) for name in ("turns", "cost", "seconds", "usage")} if result else {}
    return {
        "run_id": trace.run_id,
        "status": status,
        "question": str(started.get("question", ""))[:_QUESTION],
        "model": started.get("model"),
        "sub_model": started.get("sub_model"),
        "started": started.get("ts"),
        **kept,
    }


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
