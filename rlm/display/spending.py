"""What a run has consumed so far and what its limits leave, as its events tell it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rlm.display.text import count
from rlm.events import Event
from rlm.protocols import Tokens

Price = Callable[[str, Tokens], float | None]
"""What a model's tokens cost; None when that is not known."""


class Left(NamedTuple):
    """What is left of the limits; None where there is no limit, or it is not known what was used."""

    tokens: int | None
    cost: float | None
    sub_calls: int | None
    seconds: float | None


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
class Spending:
    """Tokens, calls and money. Requests in flight are not in it: their figures are not known yet."""

    price: Price | None = None
    root: Tally = field(default_factory=Tally)
    sub: Tally = field(default_factory=Tally)
    cost: float | None = 0.0
    """Money so far, without discounts for cached input; None when a price is not known."""
    sub_calls: int = 0
    """Sub-calls that `max_sub_calls` counts: those that made a request, and children."""
    limits: Mapping[str, Any] = field(default_factory=dict)

    def add(self, tally: Tally, model: str, event: Event) -> None:
        """One reply of `model`."""
        tally.add(event)
        tokens = Tokens(event.get("input_tokens") or 0, event.get("output_tokens") or 0)
        cost = self.price(model, tokens) if self.price and tokens.input + tokens.output else 0.0
        self.cost = None if self.cost is None or cost is None else self.cost + cost

    def go_on(self, event: Event) -> None:
        """From what `run.resumed` says was spent."""
        self.sub_calls = event["calls"]
        self.root, self.sub = (Tally.of(event["usage"][kind]) for kind in ("root", "sub"))
        self.cost = event["cost"]

    def left(self, elapsed: float) -> Left:
        """What is left after so many seconds."""
        used = {
            "max_tokens": self.root.input + self.root.output + self.sub.input + self.sub.output,
            "max_cost": self.cost,
            "max_sub_calls": self.sub_calls,
            "timeout": elapsed,
        }
        return Left(*(_less(self.limits.get(name), amount) for name, amount in used.items()))


def _less(limit: Any, used: Any) -> Any:
    return None if limit is None or used is None else max(0, limit - used)
