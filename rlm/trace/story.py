"""What happened in a run, turn by turn, and what was under way when its trace ends: a fold over its events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from rlm.events import ROOT, Event, below_root

_NAMED = 10
"""Calls of a batch without a reply that are named."""


@dataclass
class Turn:
    """One turn of the root, with all that happened below it meanwhile."""

    turn: int
    code_lines: int = 0
    cell: str = ""
    """The status of its cell; empty without one, or if it did not end."""
    model_seconds: float = 0.0
    cell_seconds: float = 0.0
    batches: int = 0
    calls: int = 0
    """Sub-calls that got their outcome, at any depth."""
    root_tokens: int = 0
    """Input and output."""
    sub_tokens: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}


@dataclass(frozen=True, slots=True)
class Open:
    """Something that began and has not ended."""

    kind: str
    """`request`, `cell`, `batch` or `child`."""
    rollout: str
    turn: int
    """Of that rollout."""
    seconds: float
    """How long it has been under way."""
    detail: str = ""
    """The batch and the calls without a reply; the beginning of the cell's code; the child's query."""

    def to_dict(self) -> dict[str, Any]:
        return {each: getattr(self, each) for each in self.__slots__}


@dataclass
class Story:
    """Fold events into it with `update`; its texts are raw."""

    begun: Event = field(default_factory=dict)
    """The event `run.started`, or `run.resumed` where there is no other."""
    result: dict[str, Any] | None = None
    """Of the last `run.completed`; None if the run has not ended, or was taken up again since."""
    turns: dict[int, Turn] = field(default_factory=dict)
    last: float = 0.0
    """When the latest event happened."""
    _open: dict[tuple[str, ...], Event] = field(default_factory=dict)
    _done: dict[tuple[str, ...], set[int]] = field(default_factory=dict)
    _turn_of: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, events: Iterable[Event]) -> Story:
        story = cls()
        for event in events:
            story.update(event)
        return story

    def update(self, event: Event) -> None:
        self.last = event["ts"]
        match event["type"]:
            case "run.started":
                self.begun = event
            case "run.resumed":
                # What was under way goes on, and is not told anew.
                self.begun, self.result = self.begun or event, None
            case "run.completed":
                self.result = event["result"]
        self._under_way(event)
        self._count(event, below=below_root(event))

    def _count(self, event: Event, *, below: bool) -> None:
        if event["type"] == "turn.started" and not below:
            self.turns.setdefault(event["turn"], Turn(event["turn"]))
        turn = self._now
        match event["type"]:
            case "root.completed" if not below:
                turn.code_lines = len((event.get("code") or "").splitlines())
                turn.model_seconds += event["seconds"]
                turn.root_tokens += _tokens(event)
            case "root.completed" | "compaction.completed":
                turn.sub_tokens += _tokens(event) if below else 0
                turn.root_tokens += 0 if below else _tokens(event)
            case "cell.completed" if not below:
                turn.cell, turn.cell_seconds = str(event["status"]), event["seconds"]
            case "batch.started":
                turn.batches += 1
            case "call.completed":
                turn.calls += 1
                turn.sub_tokens += _tokens(event)

    @property
    def _now(self) -> Turn:
        """The root's latest turn; what is before the first one counts nowhere."""
        return next(reversed(self.turns.values()), None) or Turn(0)

    def _under_way(self, event: Event) -> None:
        rollout = str(event.get("rollout", ROOT))
        batch = ("batch", rollout, str(event.get("batch")))
        match event["type"]:
            case "turn.started":
                self._turn_of[rollout] = event["turn"]
            case "root.requested":
                self._open["request", rollout] = event
            case "root.completed":
                self._open.pop(("request", rollout), None)
            case "cell.started":
                self._open["cell", rollout] = event
            case "cell.completed":
                self._open.pop(("cell", rollout), None)
            case "batch.started":
                self._open[batch] = event
                self._done[batch] = set()
            case "call.completed" if batch in self._done:
                self._done[batch].add(event["index"])
            case "batch.completed":
                self._open.pop(batch, None)
                self._done.pop(batch, None)
            case "child.started":
                self._open["child", rollout] = event
            case "child.completed":
                self._open = {key: value for key, value in self._open.items() if key[1] != rollout}
                self._done = {key: value for key, value in self._done.items() if key[1] != rollout}

    def unfinished(self, now: float | None = None) -> list[Open]:
        """What was under way at the end of the trace, or is at `now` (seconds since the epoch), the oldest first.
        After the end of the run nothing is."""
        if self.result is not None:
            return []
        until = self.last if now is None else max(now, self.last)
        return [
            Open(
                kind=key[0],
                rollout=key[1],
                turn=self._turn_of.get(key[1], 0),
                seconds=round(until - event["ts"], 3),
                detail=self._detail(key, event),
            )
            for key, event in self._open.items()
        ]

    def _detail(self, key: tuple[str, ...], event: Event) -> str:
        if key[0] != "batch":
            return str(event.get("code") or event.get("query") or "").strip()[:200]
        done, size = self._done[key], event["size"]
        missing = [str(index) for index in range(size) if index not in done]
        names = ", ".join(missing[:_NAMED]) + (", …" if len(missing) > _NAMED else "")
        return f"batch {key[2]}: {len(done):,} of {size:,} calls have their outcome, not {names}"


def _tokens(event: Event) -> int:
    return (event.get("input_tokens") or 0) + (event.get("output_tokens") or 0)
