"""Bounds the events of what costs nothing: replies from the memo, and calls that were never made.

A cell may ask for those as often as it likes, and each event takes room on the host's disk.
"""

from __future__ import annotations

FREE_EVENTS = 5_000
"""Per cell; batches count their outcomes however many there are."""


class FreeEvents:
    """What is left of it in this cell."""

    def __init__(self) -> None:
        self._left = FREE_EVENTS

    def begin_cell(self) -> None:
        self._left = FREE_EVENTS

    def take(self) -> bool:
        """Whether one more may be written."""
        self._left -= 1
        return self._left >= 0
