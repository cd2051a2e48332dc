"""Notices a root model that does the same thing again and again."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import Literal

WINDOW = 6
"""Cells that are remembered; cycles of two cells are seen as well."""
TOO_OFTEN = 3


class Repetition:
    """Counts equal cells with equal outcomes among the last few. The same code with new output is progress."""

    def __init__(self) -> None:
        self._recent: deque[bytes] = deque(maxlen=WINDOW)
        self._warned = False

    def see(self, code: str, outcome: str) -> Literal["fine", "warn", "stop"]:
        """The verdict on one more cell: `warn` once, `stop` when it goes on after that."""
        mark = hashlib.blake2b(f"{code.strip()}\0{outcome}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
        self._recent.append(mark)
        if self._recent.count(mark) < TOO_OFTEN:
            return "fine"
        if self._warned:
            return "stop"
        self._warned = True
        return "warn"
