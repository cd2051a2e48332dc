"""Asking the person at the terminal, in the middle of a run, whether the model may install packages."""

from __future__ import annotations

import os
import select
import sys
import threading

from rlm.commands.console import say
from rlm.display import Display

_POLL = 0.2
"""Seconds; a read that blocked could not be ended together with the run."""


class TerminalConsent:
    """Shows the names on stderr and reads a yes or no from stdin; anything but a yes is a no.

    Called in a thread. `withdraw` ends a question that nobody has answered, with a no.
    """

    def __init__(self, display: Display) -> None:
        self._display = display
        self._withdrawn = threading.Event()

    @staticmethod
    def possible() -> bool:
        """Whether there is somebody to ask."""
        return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()

    def __call__(self, names: list[str]) -> bool:
        with self._display.paused():
            say(f"the model asks to install {', '.join(names)}: allow it? [y/N]")
            return self._read().strip().lower() in (b"y", b"yes")

    def withdraw(self) -> None:
        self._withdrawn.set()

    def _read(self) -> bytes:
        terminal = sys.stdin.fileno()
        while not self._withdrawn.is_set():
            if select.select([terminal], [], [], _POLL)[0]:
                return os.read(terminal, 1024)
        return b""
