"""One ledger per run tree: what may still be spent, and what was.

Every request reserves its estimated input and its output cap before it is sent, and settles what it
really took afterwards. Reserving and settling do not await, so on the run's event loop they are
atomic, and a parallel batch can overrun a limit by no more than the error of its estimates.

A rollout, the root's or a child's, sets aside from the start what its last turn will take: only that
turn, which names the rollout as `last`, may use it.

Several runs may share a `Purse`; then each is bound by it as by a limit of its own.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from rlm.prices import PriceTable
from rlm.protocols import Tokens
from rlm.purse import Purse
from rlm.result import RunUsage, Usage

Kind = Literal["root", "sub"]
LimitName = Literal["max_tokens", "max_cost", "max_sub_calls"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Hard bounds of a run tree; None is no bound."""

    max_tokens: int | None = None
    max_cost: float | None = None
    max_sub_calls: int | None = None
    timeout: float | None = None
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why a reservation was refused."""

    limit: LimitName
    message: str
    temporary: bool = False
    """Whether it would fit if all open reservations came back unused."""


class Remaining(NamedTuple):
    """What is left for ordinary requests; None where there is no limit."""

    tokens: int | None
    cost: float | None
    sub_calls: int | None
    seconds: float | None = None

    def half_used(self, limits: Limits) -> bool:
        """Whether half of any limit on tokens, cost or calls is used up."""
        pairs = (
            (self.tokens, limits.max_tokens),
            (self.cost, limits.max_cost),
            (self.sub_calls, limits.max_sub_calls),
        )
        return any(left is not None and limit is not None and left <= limit / 2 for left, limit in pairs)


@dataclass(slots=True)
class _Account:
    input_tokens: int = 0
    output_tokens: int = 0
    calls: int = 0
    cached_calls: int = 0
    estimated: bool = False

    def usage(self) -> Usage:
        return Usage(self.input_tokens, self.output_tokens, self.calls, self.cached_calls, self.estimated)


@dataclass(slots=True)
class Reservation:
    """Room in the budget for one request. Exactly one of `settle`, `fail` and `release` ends it."""

    _ledger: Ledger
    kind: Kind
    model: str
    tokens: int
    cost: float
    counted: bool
    """Whether it is one of the sub-calls that the limit counts."""
    child: bool = False
    open: bool = field(default=True, init=False)

    def settle(self, tokens: Tokens, *, attempts: int = 1) -> None:
        """The request succeeded and took this."""
        self._close()
        self._ledger._spend(self.kind, self.model, tokens, attempts)

    def fail(self, *, attempts: int = 1) -> None:
        """The request failed, or was cut off without a usage figure: it counts as calls only."""
        self._close()
        self._ledger._record(self.kind, self.model, Tokens(), attempts)

    def release(self) -> None:
        """The request was never made."""
        self._close()
        self._ledger._sub_calls -= self.counted
        self._ledger.children -= self.child

    def _close(self) -> None:
        if not self.open:
            raise RuntimeError("this reservation is closed already")
        self.open = False
        self._ledger._give_back(self)


class Ledger:
    """Limits and consumption of one run tree, in tokens, money and calls."""

    def __init__(self, limits: Limits, prices: PriceTable | None = None, *, purse: Purse | None = None) -> None:
        self.limits = limits
        self._prices = prices or PriceTable()
        self._purse = Purse(float("inf")) if purse is None else purse
        self._capped = purse is not None or limits.max_cost is not None
        self._accounts: dict[Kind, _Account] = {"root": _Account(), "sub": _Account()}
        self._cost: float | None = 0.0
        self._sub_calls = 0
        self.children = 0
        """Children that were started."""
        self._reserved_tokens = 0
        self._reserved_cost = 0.0
        self._aside: dict[object, tuple[int, float]] = {}
        self.deadline = float("inf")
        """When the time of the run is over, as of `time.monotonic`."""

    def start_clock(self, *, used: float = 0.0) -> None:
        """The run's time begins now, or goes on after as many seconds."""
        if self.limits.timeout is not None:
            self.deadline = time.monotonic() + max(0.0, self.limits.timeout - used)

    def recall(self, kind: Kind, model: str, tokens: Tokens, *, attempts: int, call: bool, child: bool) -> None:
        """Count what was spent before this process took the run up again; `call`: as one of its sub-calls.

        The purse, if there is one, knows of it.
        """
        self._sub_calls += call
        self.children += child
        self._record(kind, model, tokens, attempts)

    def set_aside(self, owner: object, model: str, input_tokens: int, output_tokens: int) -> None:
        """Keep this much for the last turn of the rollout `owner`, instead of what was kept before."""
        cost = self._prices.cost(model, Tokens(input_tokens, output_tokens)) or 0.0
        self._purse.set_aside(cost - self._aside.get(owner, (0, 0.0))[1])
        self._aside[owner] = (input_tokens + output_tokens, cost)

    def drop_aside(self, owner: object) -> None:
        """The rollout is over."""
        if kept := self._aside.pop(owner, None):
            self._purse.set_aside(-kept[1])
            self._purse.wake()

    def reserve(
        self,
        kind: Kind,
        model: str,
        input_tokens: int,
        max_output: int,
        *,
        last: object = None,
        counted: bool | None = None,
    ) -> Reservation | Shortage:
        """Room for one request of this estimated input and at most this output.

        `counted` says whether it is one more sub-call; by default what is of that kind is.
        """
        counted = kind == "sub" if counted is None else counted
        if counted and self._no_more_calls():
            return Shortage("max_sub_calls", f"all {self.limits.max_sub_calls:,} sub-calls of this run are used")
        tokens = input_tokens + max_output
        cost = self._prices.cost(model, Tokens(input_tokens, max_output))
        shortage = self._token_shortage(tokens, last) or self._cost_shortage(model, cost, last)
        if shortage:
            return shortage
        self._sub_calls += counted
        self._reserved_tokens += tokens
        self._reserved_cost += cost or 0.0
        self._purse.hold(cost or 0.0)
        return Reservation(self, kind, model, tokens, cost or 0.0, counted=counted)

    def reserve_child(self) -> Reservation | Shortage:
        """A child is one sub-call; what its turns take, they reserve themselves."""
        if self._no_more_calls():
            return Shortage("max_sub_calls", f"all {self.limits.max_sub_calls:,} sub-calls of this run are used")
        self._sub_calls += 1
        self.children += 1
        return Reservation(self, "sub", "", 0, 0.0, counted=True, child=True)

    async def given_back(self) -> None:
        """Wait until an open reservation ends, or a rollout needs its last turn's share no more."""
        await self._purse.changed()

    def room(
        self, model: str, input_tokens: int, *, last: object = None, unused: bool = False
    ) -> tuple[int, LimitName] | None:
        """The output tokens that a request with this input may have, and the limit that says so; None: no limit.

        `unused`: as if all open reservations came back unused.
        """
        rooms: list[tuple[int, LimitName]] = []
        tokens, money = self._free_tokens(last), self._free_cost(last, unused=unused)
        if unused:
            tokens = None if tokens is None else tokens + self._reserved_tokens
        if tokens is not None:
            rooms.append((max(0, tokens - input_tokens), "max_tokens"))
        if money is not None:
            rooms.append((self._prices.affordable_output(model, money, input_tokens) or 0, "max_cost"))
        return min(rooms, default=None)

    def count_cached(self, calls: int = 1) -> None:
        """Sub-calls were answered from the memo."""
        self._accounts["sub"].cached_calls += calls

    def remaining(self) -> Remaining:
        """What ordinary requests may still use, open reservations counted as used."""
        tokens, cost, calls = self._free_tokens(None), self._own_cost(None), self.limits.max_sub_calls
        return Remaining(
            None if tokens is None else max(0, tokens),
            None if cost is None else max(0.0, cost),
            None if calls is None else max(0, calls - self._sub_calls),
            None if self.limits.timeout is None else max(0.0, self.deadline - time.monotonic()),
        )

    def usage(self) -> RunUsage:
        return RunUsage(self._accounts["root"].usage(), self._accounts["sub"].usage())

    def cost(self) -> float | None:
        """Money spent so far; None once a model without a known price was used."""
        return self._cost

    @property
    def open_tokens(self) -> int:
        """Tokens that open reservations hold."""
        return self._reserved_tokens

    def _no_more_calls(self) -> bool:
        return self.limits.max_sub_calls is not None and self._sub_calls >= self.limits.max_sub_calls

    def _free_tokens(self, last: object) -> int | None:
        if self.limits.max_tokens is None:
            return None
        used = sum(account.input_tokens + account.output_tokens for account in self._accounts.values())
        aside = sum(tokens for owner, (tokens, _) in self._aside.items() if owner is not last)
        return self.limits.max_tokens - used - self._reserved_tokens - aside

    def _free_cost(self, last: object, *, unused: bool = False) -> float | None:
        """By the run's own limit and by what it shares with others, whichever is less."""
        if not self._capped:
            return None
        shared = self._purse.left(unused=unused) + self._aside.get(last, (0, 0.0))[1]
        own = self._own_cost(last, unused=unused)
        return shared if own is None else min(own, shared)

    def _own_cost(self, last: object, *, unused: bool = False) -> float | None:
        if self.limits.max_cost is None:
            return None
        aside = sum(cost for owner, (_, cost) in self._aside.items() if owner is not last)
        return self.limits.max_cost - (self._cost or 0.0) - (0.0 if unused else self._reserved_cost) - aside

    def _give_back(self, place: Reservation) -> None:
        self._reserved_tokens -= place.tokens
        self._reserved_cost -= place.cost
        self._purse.give_back(place.cost)
        self._purse.wake()

    def _token_shortage(self, tokens: int, last: object) -> Shortage | None:
        free = self._free_tokens(last)
        if free is None or tokens <= free:
            return None
        message = f"it may take {tokens:,} tokens, input and output, and the run has {max(0, free):,} left"
        return Shortage("max_tokens", message, tokens <= free + self._reserved_tokens)

    def _cost_shortage(self, model: str, cost: float | None, last: object) -> Shortage | None:
        free = self._free_cost(last)
        if free is None:
            return None
        if cost is None:
            return Shortage("max_cost", f"the price of {model!r} is not known")
        if cost <= free:
            return None
        message = f"it may cost {cost:.4f}, and the run has {max(0.0, free):.4f} left"
        unused = self._free_cost(last, unused=True)
        return Shortage("max_cost", message, unused is not None and cost <= unused)

    def _spend(self, kind: Kind, model: str, tokens: Tokens, attempts: int) -> None:
        self._record(kind, model, tokens, attempts)
        self._purse.spend(self._prices.cost(model, tokens) or 0.0)

    def _record(self, kind: Kind, model: str, tokens: Tokens, attempts: int) -> None:
        account = self._accounts[kind]
        account.input_tokens += tokens.input
        account.output_tokens += tokens.output
        account.calls += attempts
        account.estimated |= tokens.estimated
        cost = self._prices.cost(model, tokens)
        if cost is None and (tokens.input or tokens.output):
            self._cost = None
        elif self._cost is not None:
            self._cost += cost or 0.0
