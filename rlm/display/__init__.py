"""What a person sees of a run: one interface, fed by the run's events, with several implementations.

A display is a sink of events (`rlm.events`) with a `close()`. All text of models, documents and sandboxes
passes through `rlm.display.text` before it reaches a terminal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, Protocol

from rlm.display.spending import Price
from rlm.events import Event

Kind = Literal["rich", "plain", "json", "none"]


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


def open_display(kind: Kind | None = None, *, price: Price | None = None, secrets: Iterable[str] = ()) -> Display:
    """A display on stderr. By default it is `rich` on a terminal and `plain` elsewhere; `rich` where there is no
    terminal, or a dumb one, is `plain` too.

    `price` lets the live display tell the cost so far. `json` writes the events, as the trace has them, with
    `secrets` blotted out.
    """
    if kind == "none":
        return NoDisplay()
    if kind == "json":
        from rlm.display.stream_json import StreamJson

        return StreamJson(sys.stderr.buffer, secrets=secrets)
    if kind != "plain" and sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
        from rlm.display.live import LiveDisplay  # rich is only needed on a terminal

        return LiveDisplay(price=price)
    from rlm.display.plain import PlainDisplay

    return PlainDisplay(sys.stderr)
