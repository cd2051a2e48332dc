"""Executes a run again from its trace: the same replies, the same outcomes of sub-calls, and nobody is asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from rlm.config import Settings
from rlm.events import Event, Sink
from rlm.record import Record
from rlm.result import RunResult
from rlm.run import Run


@dataclass(slots=True)
class Replay:
    """How the second execution compares with the first."""

    run_id: str
    answer: str
    """As it came out now."""
    recorded: str | None
    """As it had come out; None if the run had no end."""
    turns: int = 0
    cells: int = 0
    """Executed again, those of children included."""
    calls: int = 0
    """Sub-calls answered from the record."""
    unknown_calls: int = 0
    """Sub-calls that the record does not know."""
    diverged: list[Event] = field(default_factory=list)
    """`cell.diverged`, for each cell that did something else."""
    error: str | None = None
    """Why it could not be executed to the end."""

    @property
    def identical(self) -> bool:
        """Whether nothing came out otherwise; of a run without an end, as far as it went."""
        same = self.recorded is None or self.answer == self.recorded
        return same and not self.diverged and not self.unknown_calls and self.error is None

    def to_dict(self) -> dict[str, Any]:
        names = ("run_id", "answer", "recorded", "turns", "cells", "calls", "unknown_calls", "error")
        told = [
            {name: event[name] for name in ("rollout", "turn", "field", "expected", "got")} for event in self.diverged
        ]
        return {**{name: getattr(self, name) for name in names}, "identical": self.identical, "diverged": told}

    def __call__(self, event: Event) -> None:
        """Count what is executed; a sink of the run's events."""
        match event["type"]:
            case "cell.completed":
                self.cells += 1
            case "cell.diverged":
                self.diverged.append(event)
            case "call.completed" if event.get("past"):
                self.calls += 1
            case "call.completed" if not event["cached"] and "child" not in event:
                self.unknown_calls += 1


async def replay(settings: Settings, record: Record, *, sinks: Iterable[Sink] = ()) -> Replay:
    """Execute it again in the sandbox of `settings`. `record` is opened `offline`.

    Byte-identical answers are to be expected of cells that are deterministic: hashes are seeded alike, time and
    random numbers are not. Raises `UserError`.
    """
    outcome = Replay(record.run_id, "", record.end["answer"] if record.end else None)
    result: RunResult = await Run(settings, record.question, sinks=[outcome, *sinks], record=record).play()
    outcome.answer, outcome.turns = result.answer, result.turns
    if result.error is not None:
        outcome.error = result.error.message
    return outcome
