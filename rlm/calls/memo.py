"""What was asked before is not asked again.

The key is the content of a request and its occurrence within the cell: three equal prompts in one
cell are three questions (voting, best of n), and the same cell run again finds all three answers, also
in another kernel of the same run.
"""

from __future__ import annotations

from collections import Counter
from typing import Generic, TypeVar

from rlm.calls.outcome import Reply

W = TypeVar("W")


class Occurrences:
    """Counts equal requests within the current cell of one kernel."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def begin_cell(self) -> None:
        """Count from the start."""
        self._seen.clear()

    def key(self, content_key: str, *, dedupe: bool) -> str:
        """The key of the next request with this content; with `dedupe` all of a cell share the first one's."""
        if dedupe:
            return f"{content_key}.0"
        occurrence = self._seen[content_key]
        self._seen[content_key] += 1
        return f"{content_key}.{occurrence}"


class Memo(Generic[W]):
    """Replies by key, and who waits for a reply that is on its way. Errors are not remembered."""

    def __init__(self) -> None:
        self._replies: dict[str, Reply] = {}
        self._in_flight: dict[str, list[W]] = {}

    def get(self, key: str) -> Reply | None:
        return self._replies.get(key)

    def put(self, key: str, reply: Reply) -> None:
        """Remember a reply that came from elsewhere."""
        self._replies[key] = reply

    def join(self, key: str, waiter: W) -> bool:
        """Wait for the request in flight under this key; False if there is none."""
        waiters = self._in_flight.get(key)
        if waiters is None:
            return False
        waiters.append(waiter)
        return True

    def begin(self, key: str) -> None:
        """The request of this key is on its way."""
        self._in_flight[key] = []

    def end(self, key: str, reply: Reply | None) -> list[W]:
        """It came back, with a reply to remember or without; returns who waits for it."""
        if reply is not None:
            self._replies[key] = reply
        return self._in_flight.pop(key)
