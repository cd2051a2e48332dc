"""The state of a run, as its events tell it: the one fold from events to what displays show.

Each event costs a few dictionary operations, however many batches and children there are.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from rlm.display.spending import Price, Spending
from rlm.display.text import one_line, visible
from rlm.events import ROOT, Event

"""The name of the root's rollout."""
_WRITING = 4000
_AT_WORK = ("turn.started", "cell.started", "batch.started")


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
class Rollout:
    """What the root, or a child, is at."""

    name: str
    query: str = ""
    batch: Any = None
    """The batch of its parent that it belongs to."""
    turn: int = 0
    max_turns: int = 0
    phase: str = "starting"
    since: float = field(default_factory=time.monotonic)
    """When the phase began."""
    batches: dict[Any, Batch] = field(default_factory=dict)
    """Those that go on."""
    begun: int = 0
    """Batches so far."""

    @property
    def parent(self) -> str:
        return self.name.rpartition(".")[0]

    def enter(self, phase: str) -> None:
        self.phase, self.since = phase, time.monotonic()

    def update(self, event: Event) -> None:
        match event["type"]:
            case "turn.started":
                self.turn, self.max_turns = event["turn"], event["max_turns"]
                self.enter("the model writes")
            case "root.completed" | "cell.completed":
                self.enter("working")
            case "cell.started":
                self.enter("the cell runs")
            case "batch.started":
                self.begun += 1
                recursive = event.get("kind") == "recursive"
                model = visible(str(event.get("model") or ""))
                self.batches[event["batch"]] = Batch(self.begun, event["size"], model, recursive)
            case "call.completed":
                if (batch := self.batches.get(event["batch"])) is not None:
                    batch.done += 1
                    batch.failed += bool(event.get("error"))
            case "batch.completed":
                self.batches.pop(event["batch"], None)


@dataclass
class Progress:
    """Fold events into it with `update`. Its texts are fit to be shown, except `writing`, a model's raw text."""

    price: Price | None = None
    started: float = field(default_factory=time.monotonic)
    """When the run began; before that, when the display was opened."""
    question: str = ""
    model: str = ""
    sub_model: str = ""
    sandbox: str = ""
    writing: str = ""
    """The end of what the root model is writing now."""
    root: Rollout = field(default_factory=lambda: Rollout(ROOT))
    children: dict[str, Rollout] = field(default_factory=dict)
    """Child RLMs at work now, at any depth, by name: those that did something last stand last, and each before
    its parent."""
    spending: Spending = field(init=False)

    def __post_init__(self) -> None:
        self.spending = Spending(self.price)

    @property
    def elapsed(self) -> float:
        """Seconds of the run so far."""
        return time.monotonic() - self.started

    def update(self, event: Event) -> None:
        if is_of_child(event):
            self._of_child(event)
        else:
            self._of_root(event)
        self._spend(event)

    def _of_child(self, event: Event) -> None:
        name = str(event["rollout"])
        if event["type"] == "child.started":
            query = one_line(str(event.get("query") or ""), 200)
            self.children[name] = Rollout(visible(name), query, event.get("batch"))
        elif event["type"] == "child.completed":
            self.children.pop(name, None)
        elif event["type"] in _AT_WORK and name not in self.children:
            self.children[name] = Rollout(visible(name))  # begun before the run was taken up again
        if (child := self.children.get(name)) is not None:
            child.update(event)
        # What a child does, its parents do: a child that is shown has its parents shown.
        while "." in name:
            if (active := self.children.pop(name, None)) is not None:
                self.children[name] = active
            name = name.rpartition(".")[0]

    def _of_root(self, event: Event) -> None:
        self.root.update(event)
        match event["type"]:
            case "run.started":
                self._begin(event)
            case "run.resumed":
                self._begin(event)
                self.started -= event["seconds"]
                self.spending.go_on(event)
            case "kernel.started":
                self.sandbox = visible(str(event["sandbox"]))
            case "root.delta":
                self.writing = (self.writing + str(event["text"]))[-_WRITING:]
            case "turn.started" | "root.completed":
                self.writing = ""

    def _begin(self, event: Event) -> None:
        self.question = one_line(str(event["question"]), 400)
        self.model, self.sub_model = visible(str(event["model"])), visible(str(event["sub_model"]))
        self.sandbox = visible(str(event["sandbox"]))
        self.spending.limits = event.get("limits") or {}
        self.started = time.monotonic()
        self.root.enter("starting the sandbox")

    def _spend(self, event: Event) -> None:
        spending, below = self.spending, is_of_child(event)
        match event["type"]:
            case "root.completed" | "compaction.completed":
                model = event.get("model") or (self.sub_model if below else self.model)
                spending.add(spending.sub if below else spending.root, str(model), event)
            case "call.completed" if not event.get("cached"):
                spending.add(spending.sub, str(event.get("model") or self.sub_model), event)
                spending.sub_calls += bool(event.get("attempts"))
            case "child.started":
                spending.sub_calls += 1


def is_of_child(event: Event) -> bool:
    """Whether a rollout below the root says it."""
    return "." in str(event.get("rollout", ""))
