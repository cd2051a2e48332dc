"""How many calls of one tool may run at once, whatever event loops and threads they come from."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import Future


class Place:
    """The right to run. Freed once, by whoever is last to need it; freeing it again does nothing."""

    def __init__(self, places: Places) -> None:
        self._places: Places | None = places

    def free(self) -> None:
        """From any thread."""
        places, self._places = self._places, None
        if places is not None:
            places.give_back()


class Places:
    """`size` places, given in the order in which they were asked for. Safe between threads."""

    def __init__(self, size: int) -> None:
        # Reentrant: a coroutine that waits here may be thrown away by the garbage collector, at any line.
        self._lock = threading.RLock()
        self._free = size
        self._waiting: deque[Future[None]] = deque()

    async def take(self) -> Place:
        """Wait for a place."""
        with self._lock:
            if self._free:
                self._free -= 1
                return Place(self)
            turn: Future[None] = Future()
            self._waiting.append(turn)
        try:
            await asyncio.wrap_future(turn)
        except BaseException:
            # Given just as nobody waited for it any more?
            if not turn.cancel():
                self.give_back()
            raise
        return Place(self)

    def give_back(self) -> None:
        """One place is free again; the next in line gets it."""
        with self._lock:
            while self._waiting:
                turn = self._waiting.popleft()
                if turn.set_running_or_notify_cancel():
                    turn.set_result(None)
                    return
            self._free += 1
