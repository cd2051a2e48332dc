"""The state of a run, as its events tell it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rlm.display.text import count, one_line, visible
from rlm.events import Event
from rlm.protocols import Tokens

_WRITING = 4000

Price = Callable[[str, Tokens], float | None]
"""What a model's tokens cost; None when that is not known."""


@dataclass
class Batch:
    """One batch of sub-calls."""

    number: int
    size: int
    model: str = ""
    recursive: bool = False
    done: int = 0
    failed: int = 0


@dataclass
class Tally:
    """Tokens and calls of the root or of the sub-calls, so far."""

    input: int = 0
    output: int = 0
    calls: int = 0
    estimated: bool = False

    @classmethod
    def of(cls, usage: Mapping[str, Any]) -> Tally:
        """The tally of a `Usage` object of a result."""
        return cls(usage["input_tokens"], usage["output_tokens"], usage["calls"], usage.get("estimated", False))

    def add(self, event: Event) -> None:
        self.input += event.get("input_tokens") or 0
        self.output += event.get("output_tokens") or 0
        self.calls += event.get("attempts") or 0
        self.estimated = self.estimated or bool(event.get("estimated"))

    def __str__(self) -> str:
        about = "~" if self.estimated else ""
        calls = f"{self.calls:,} call{'' if self.calls == 1 else 's'}"
        return f"{about}{count(self.input)} in {about}{count(self.output)} out, {calls}"


@dataclass
class Progress:
    """Fold events into it with `update`. Its texts are fit to be shown, except `writing`, a model's raw text."""

    price: Price | None = None
    started: float = field(default_factory=time.monotonic)
    question: str = ""
    model: str = ""
    sub_model: str = ""
    sandbox: str = ""
    turn: int = 0
    max_turns: int = 0
    phase: str = "starting"
    writing: str = ""
    """The end of what the root model is writing now."""
    batches: dict[Any, Batch] = field(default_factory=dict)
    children: int = 0
    """Child RLMs at work now, at any depth."""
    root: Tally = field(default_factory=Tally)
    sub: Tally = field(default_factory=Tally)
    spent: float | None = 0.0
    """Money so far, without discounts for cached input; None when a price is not known."""

    @property
    def elapsed(self) -> float:
        """Seconds since the display was opened."""
        return time.monotonic() - self.started

    def update(self, event: Event) -> None:
        if is_of_child(event):
            self._of_child(event)
        else:
            self._of_root(event)

    def _of_child(self, event: Event) -> None:
        """Children show by their number, and in the totals."""
        match event["type"]:
            case "child.started":
                self.children += 1
            case "child.completed":
                self.children -= 1
            case "root.completed" | "compaction.completed":
                self._count(self.sub, str(event.get("model") or self.sub_model), event)
            case "call.completed" if not event.get("cached"):
                self._count(self.sub, str(event.get("model") or self.sub_model), event)

    def _of_root(self, event: Event) -> None:
        match event["type"]:
            case "run.started":
                self.question = one_line(str(event["question"]), 400)
                self.model, self.sub_model = visible(str(event["model"])), visible(str(event["sub_model"]))
                self.sandbox = visible(str(event["sandbox"]))
                self.phase = "starting the sandbox"
            case "kernel.started":
                self.sandbox = visible(str(event["sandbox"]))
            case "turn.started":
                self.turn, self.max_turns = event["turn"], event["max_turns"]
                self.phase, self.writing = "the root model writes", ""
            case "root.delta":
                self.writing = (self.writing + str(event["text"]))[-_WRITING:]
            case "root.completed":
                self._count(self.root, str(event.get("model") or self.model), event)
                self.phase, self.writing = "working", ""
            case "compaction.completed":
                self._count(self.root, self.model, event)
            case "cell.started":
                self.phase = "the cell runs"
            case "cell.completed":
                self.phase = "working"
            case "batch.started":
                model = visible(str(event.get("model") or self.sub_model))
                recursive = event.get("kind") == "recursive"
                self.batches[event["batch"]] = Batch(len(self.batches) + 1, event["size"], model, recursive)
            case "call.completed":
                self._call(event)
            case "batch.completed":
                self.batches.pop(event["batch"], None)

    def _call(self, event: Event) -> None:
        if not event.get("cached"):
            self._count(self.sub, str(event.get("model") or self.sub_model), event)
        batch = self.batches.get(event["batch"])
        if batch is not None:
            batch.done += 1
            batch.failed += bool(event.get("error"))

    def _count(self, tally: Tally, model: str, event: Event) -> None:
        tally.add(event)
        tokens = Tokens(event.get("input_tokens") or 0, event.get("output_tokens") or 0)
        cost = self.price(model, tokens) if self.price and tokens.input + tokens.output else 0.0
        self.spent = None if self.spent is None or cost is None else self.spent + cost


def is_of_child(event: Event) -> bool:
    """Whether a rollout below the root says it."""
    return "." in str(event.get("rollout", ""))
