"""The cost cap of an evaluation: what each run may spend, so that all of them together stay below it."""

from __future__ import annotations


class Allowance:
    """Shares what is left among the runs that may be under way at once. `total` None is no cap.

    What a run may spend is set aside while it goes on, so runs in parallel do not overrun the cap together.
    """

    def __init__(self, total: float | None, *, spent: float, workers: int, each: float | None) -> None:
        self._total = total
        self._spent = spent
        self._workers = workers
        self._each = each
        """The cap on one run, if it has one."""
        self._held: list[float] = []

    @property
    def used_up(self) -> bool:
        return self._total is not None and self._spent >= self._total

    def take(self) -> float | None:
        """What the next run may spend; None is no limit, and 0 that it must not begin."""
        if self._total is None:
            return self._each
        left = self._total - self._spent - sum(self._held)
        share = max(0.0, left) / max(1, self._workers - len(self._held))
        return share if self._each is None else min(share, self._each)

    def hold(self, share: float | None) -> None:
        if self._total is not None and share is not None:
            self._held.append(share)

    def settle(self, share: float | None, cost: float | None) -> None:
        """The run is over."""
        if self._total is not None and share is not None:
            self._held.remove(share)
        self._spent += cost or 0.0

    def cut(self, share: float | None) -> bool:
        """Whether a run with this share had less than a run may have by itself."""
        return self._total is not None and share != self._each
