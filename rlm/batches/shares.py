"""What the runs of a batch share when they are not in one process: places at the endpoint, and money.

One `Shares` hands both out in pieces that last for a while, so that nobody asks it per request. All pieces that are out
are never more than there is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from rlm.purse import Purse

Ask = Callable[[float], Awaitable[float]]
"""Asks for so much money; returns what was granted, 0 if there is none left."""


class Shares:
    """`concurrency` is the most requests in flight, `money` what may still be spent; None is no cap."""

    def __init__(self, *, concurrency: int, money: float | None) -> None:
        self._concurrency = concurrency
        self._money = money
        self._places: dict[str, int] = {}
        """Requests that each run may have in flight."""
        self._short: set[str] = set()
        """Runs that have fewer than they want and would get if all had the same."""
        self._before: dict[str, float] = {}
        """What each run had cost when it first began here: that is no part of `money`."""
        self._granted: dict[str, float] = {}

    def begin(self, run_id: str, cost: float) -> None:
        """A run begins, here and now for the first time or after its machine was lost; it has cost so much so far."""
        self._granted[run_id] = cost - self._before.setdefault(run_id, cost)
        self._places.pop(run_id, None)

    def places(self, run_id: str, in_flight: int, wanted: int) -> int:
        """How many requests a run may have in flight from now on, which has `in_flight` and could use `wanted`.

        0: none yet; ask again.
        """
        others = sum(held for other, held in self._places.items() if other != run_id)
        fair = max(1, self._concurrency // len({*self._places, run_id}))
        wanted = max(1, wanted)
        granted = max(0, min(wanted, self._concurrency - others))
        if self._short - {run_id}:
            granted = min(granted, fair)
        (self._short.add if granted < min(wanted, fair) else self._short.discard)(run_id)
        # What is in flight stays so, whatever was asked for.
        self._places[run_id] = max(granted, in_flight)
        return granted

    def more(self, run_id: str, amount: float) -> float:
        """Money for a run: as much as it asks for, or what is left."""
        if self._money is None:
            return amount
        granted = max(0.0, min(amount, self._money - sum(self._granted.values())))
        self._granted[run_id] += granted
        return granted

    def end(self, run_id: str, cost: float) -> float:
        """A run is over and has cost so much in all; what it had beyond that is free. Returns what it cost here."""
        self._places.pop(run_id, None)
        self._short.discard(run_id)
        self._granted[run_id] = cost - self._before.get(run_id, 0.0)
        return self._granted[run_id]

    def leave(self, run_id: str) -> None:
        """A run was lost: its places are free, and its money waits for what its trace says."""
        self._places.pop(run_id, None)
        self._short.discard(run_id)


class GrantedPurse(Purse):
    """A purse that is filled by asking for more, a `piece` at first. Close its task, `fill`, when the run is over."""

    def __init__(self, ask: Ask, *, piece: float, cap: float) -> None:
        super().__init__(0.0)
        self._ask = ask
        self._piece = piece
        self._cap = cap
        self._may_grow = True
        self._needed = asyncio.Event()

    def left(self, *, unused: bool = False) -> float:
        left = super().left(unused=unused)
        return max(left, self._cap) if unused and self._may_grow else left

    async def changed(self) -> None:
        self._needed.set()
        await super().changed()

    async def fill(self) -> None:
        """Ask for more whenever somebody waits for money, until there is none."""
        while self._may_grow:
            await self._needed.wait()
            self._needed.clear()
            granted = await self._ask(self._piece)
            self._may_grow = granted > 0
            self.total += granted
            self._piece *= 2  # who still waits then needs a lot
            self.wake()
