"""What a person sees of a run: one interface, fed by the run's events, with several implementations.

A display is a sink of events (`rlm.events`) with a `close()`. All text of models, documents and sandboxes
passes through `rlm.display.text` before it reaches a terminal.
"""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, Protocol

from rlm.display.progress import Price
from rlm.events import Event

Kind = Literal["live", "plain", "none"]


class Display(Protocol):
    """Shows events as they come; never raises because nobody is looking."""

    def __call__(self, event: Event) -> None: ...

    def paused(self) -> AbstractContextManager[None]:
        """Leaves the terminal to somebody else for a while."""
        ...

    def close(self) -> None:
        """Put the terminal back in order. Idempotent."""
        ...


class NoDisplay:
    """Shows nothing."""

    def __call__(self, event: Event) -> None: ...

    def paused(self) -> AbstractContextManager[None]:
        return nullcontext()

    def close(self) -> None: ...


def open_display(kind: Kind | None = None, *, price: Price | None = None) -> Display:
    """A display on stderr: live on a terminal, lines elsewhere, unless `kind` says which.

    `price` lets the live display tell the cost so far.
    """
    if kind is None:
        kind = "live" if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else "plain"
    if kind == "live":
        from rlm.display.live import LiveDisplay  # rich is only needed on a terminal

        return LiveDisplay(price=price)
    if kind == "plain":
        from rlm.display.plain import PlainDisplay

        return PlainDisplay(sys.stderr)
    return NoDisplay()
