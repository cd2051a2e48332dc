"""Money that several runs draw on, so that all of them together stay below one cap.

Nothing is shared out beforehand: each request of each run holds what it may take at most until it is known what it
took, and each rollout what its last turn will take. So the cap holds however many runs there are, and the overrun is
at most the error of the estimates.
"""

from __future__ import annotations

import asyncio


class Purse:
    """`total` is the cap; `spent` what of it was spent before. Belongs to one event loop."""

    def __init__(self, total: float, *, spent: float = 0.0) -> None:
        self.total = total
        self.spent = spent
        self._held = 0.0
        """By requests under way."""
        self._aside = 0.0
        """For the last turns of rollouts."""
        self._waiting: list[asyncio.Future[None]] = []

    def left(self, *, unused: bool = False) -> float:
        """What a further request may take; `unused`: as if all requests under way came back unused."""
        return self.total - self.spent - self._aside - (0.0 if unused else self._held)

    def cut(self, cost: float | None, cap: float | None) -> bool:
        """Whether a run that reached its limit on cost, having cost so much of its own `cap`, lacked shared money."""
        return cap is None or self.left() < cap - (cost or 0.0)

    def hold(self, amount: float) -> None:
        self._held += amount

    def give_back(self, amount: float) -> None:
        """What was held for a request that is over."""
        self._held -= amount

    def set_aside(self, change: float) -> None:
        """Keep so much more, or less, for last turns."""
        self._aside += change

    def spend(self, amount: float) -> None:
        self.spent += amount

    def wake(self) -> None:
        """Have everybody look again who waits for money."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def changed(self) -> None:
        """Wait until something was given back."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter
