"""What a run is at, as short lines for whoever asked for it from afar: counts and names of steps, and no texts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rlm.events import Event, below_root

EVERY = 1.0
"""Seconds between two lines about the same batch."""


class Steps:
    """A sink of events that hands each step of the root's to `tell`, one line at a time."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._batches: dict[Any, list[int]] = {}
        """Of each that goes on: how many calls are done, and how many there are."""
        self._told_at = 0.0

    def __call__(self, event: Event) -> None:
        if below_root(event):
            return
        if (line := self._line(event)) is not None:
            self._tell(line)

    def _line(self, event: Event) -> str | None:
        match event["type"]:
            case "run.started":
                return "started"
            case "kernel.started":
                return "the sandbox is ready"
            case "turn.started":
                return f"turn {event['turn']} of {event['max_turns']}"
            case "batch.started":
                self._batches[event["batch"]] = [0, event["size"]]
                self._told_at = time.monotonic()
                what = "children" if event.get("kind") == "recursive" else "sub-calls"
                return f"{event['size']:,} {what}"
            case "call.completed":
                return self._call_done(event)
            case "batch.completed":
                self._batches.pop(event["batch"], None)
                failed = f", {event['failed']:,} failed" if event["failed"] else ""
                return f"sub-calls done: {event['ok']:,}{failed}"
            case "compaction.completed":
                return "older turns summed up"
            case "answer.changed":
                return "the answer is ready" if event["ready"] else "a draft of the answer"
        return None

    def _call_done(self, event: Event) -> str | None:
        batch = self._batches.get(event["batch"])
        if batch is None:
            return None
        batch[0] += 1
        now = time.monotonic()
        if now - self._told_at < EVERY:
            return None
        self._told_at = now
        return f"sub-calls: {batch[0]:,} of {batch[1]:,}"
