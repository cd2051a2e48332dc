"""What a trace says of a run, as the parts of a run need it that goes on with it, or executes it again.

What stands in a trace is never asked or done twice: replies of root models, outcomes of sub-calls, results of tools and
functions come from here. Cells are executed again, since a kernel's state cannot be written down.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rlm.events import ROOT, Event, identity
from rlm.protocols import Message, Tokens

CUT_OFF = "it was cut off"
"""What a function comes to that was under way when its cell, or the run, ended."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request to a root model, and its reply."""

    messages: list[Message]
    """All that was sent."""
    last: Any
    """The limit that made it the last one, or None."""
    reply: Event
    """`root.completed`."""


@dataclass(frozen=True, slots=True)
class Handover:
    """Older turns were summed up."""

    event: Event
    """`compaction.completed`."""


@dataclass(slots=True)
class PastRollout:
    """One rollout, as far as it came."""

    steps: list[Exchange | Handover] = field(default_factory=list)
    cells: dict[int, Event] = field(default_factory=dict)
    """`cell.completed` by turn; a cell that has none was running at the end."""
    stop_reason: Any = None
    """How it ended, if it did."""
    offline: bool = False
    """Nothing may be asked beyond the record."""
    sent: list[Message] = field(default_factory=list)
    """The messages of the last request, with or without a reply."""
    last: Any = None
    """The limit that made it the last one, or None."""


@dataclass(slots=True)
class PastCall:
    """A sub-call of several requests that had no outcome yet: its replies and what its tools returned."""

    replies: deque[Event] = field(default_factory=deque)
    """`call.replied`."""
    tools: list[Event] = field(default_factory=list)
    """`tool.completed`."""

    def tool(self, name: str, arguments: str) -> Event | None:
        """What this call of a tool came to; each is given once."""
        for event in self.tools:
            if (event["name"], event["arguments"]) == (name, arguments):
                self.tools.remove(event)
                return event
        return None


class Spending(NamedTuple):
    """What one event says was spent."""

    kind: Any
    """`root` or `sub`."""
    model: str
    tokens: Tokens
    attempts: int
    call: bool = False
    """Whether it is one of the sub-calls that are limited."""
    child: bool = False


class Past:
    """The record of one run; `rlm.pastreader` fills it. `offline`: the run is executed again from it alone, its
    children too.
    """

    def __init__(self, *, offline: bool = False) -> None:
        self.offline = offline
        self.started: Event = {}
        self.tools: Event = {}
        """`tools.opened`, if there were any."""
        self.result: dict[str, Any] | None = None
        """Of a run that has ended and was not taken up again."""
        self.hashes: dict[str, str] = {}
        """Of the inputs, by name."""
        self.seconds = 0.0
        """How long the run took so far."""
        self.last_seq = 0
        self.calls = 0
        """Sub-calls that have an outcome."""
        self.cached = 0
        """Sub-calls that were answered from a memo."""
        self.known: set[tuple[Any, ...]] = set()
        """What need not be told again; see `rlm.events.identity`."""
        self.rollouts: dict[str, PastRollout] = defaultdict(PastRollout)
        self.took: dict[str, tuple[int, int]] = {}
        """Tokens of a child and all below it, by its name."""
        self.spendings: list[Spending] = []
        self._outcomes: dict[tuple[str, str], deque[Event]] = defaultdict(deque)
        self._partial: dict[tuple[str, str], deque[PastCall]] = defaultdict(deque)
        self._functions: dict[str, deque[Event]] = defaultdict(deque)
        self._children: dict[tuple[str, str], deque[str]] = defaultdict(deque)
        self._numbers: dict[str, int] = defaultdict(int)

    # --- what is put in

    def add_outcome(self, rollout: str, event: Event) -> None:
        if event["key"] is not None:
            self._outcomes[rollout, event["key"]].append(event)

    def drop_outcome(self, rollout: str, event: Event) -> None:
        """This one is to be asked again."""
        self.known -= {identity(event), ("batch.completed", event["batch"])}
        outcomes = self._outcomes[rollout, event["key"]]
        if event in outcomes:
            outcomes.remove(event)

    def add_partial(self, call: PastCall) -> None:
        first = call.replies[0]
        self._partial[first["rollout"], first["key"]].append(call)

    def add_function(self, rollout: str, event: Event) -> None:
        self._functions[_of_function(rollout, event["name"], event["args"], event["kwargs"])].append(event)

    def add_child(self, event: Event) -> None:
        """By its `child.started`."""
        self._children[event["parent"], event["key"]].append(event["rollout"])
        parent, _, number = event["rollout"].rpartition(".")
        self._numbers[parent] = max(self._numbers[parent], int(number))

    # --- what the parts of a run ask

    def rollout(self, name: str) -> PastRollout:
        past = self.rollouts[name]
        past.offline = self.offline
        return past

    def outcome(self, rollout: str, key: str, *, child: bool) -> Event | None:
        """`call.completed` of a sub-call; each is given once. A child that is to be executed again has none."""
        if child and self.offline and self._children.get((rollout, key)):
            return None
        outcomes = self._outcomes.get((rollout, key))
        if not outcomes:
            return None
        event = outcomes.popleft()
        return {**event, "took": self.took.get(event["child"])} if "child" in event else event

    def partial(self, rollout: str, key: str) -> PastCall | None:
        """What is known of a sub-call without an outcome."""
        calls = self._partial.get((rollout, key))
        return calls.popleft() if calls else None

    def function(self, rollout: str, name: Any, args: Any, kwargs: Any) -> Event | None:
        """`function.completed` of a call with these arguments; each is given once."""
        results = self._functions.get(_of_function(rollout, name, args, kwargs))
        return results.popleft() if results else None

    def child(self, rollout: str, key: str) -> str | None:
        """The name of the child that was asked this; each is given once."""
        names = self._children.get((rollout, key))
        return names.popleft() if names else None

    def children(self, rollout: str) -> int:
        """The number of the last child."""
        return self._numbers[rollout]

    def replies(self) -> Iterator[Event]:
        """Every successful outcome that a memo may hold."""
        for outcomes in self._outcomes.values():
            for each in outcomes:
                again = self.offline and "child" in each
                if not each.get("error") and each.get("cache") is not False and not again:
                    yield each

    @property
    def turns(self) -> int:
        """The root's turns so far."""
        return len(self.rollouts[ROOT].cells)


def _of_function(rollout: str, *call: Any) -> str:
    return json.dumps([rollout, *call], sort_keys=True, default=str)
