"""Progress on a terminal: what is over scrolls by as lines, what goes on is redrawn in place."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from rlm.display.narrate import Line, Tone, narrate
from rlm.display.outlet import Outlet
from rlm.display.progress import Progress
from rlm.display.spending import Price
from rlm.display.tree import tree
from rlm.events import Event

REFRESH_PER_SECOND = 8
MOST_LINES = 5000
"""Lines that wait for a terminal which takes nothing (Ctrl-S); of more, the oldest are left out."""
PATIENCE = 2.0
"""Seconds that the end of a run waits for such a terminal."""

_STYLES: dict[Tone, str] = {
    "head": "bold cyan",
    "live": "cyan",
    "text": "bold",
    "quiet": "dim",
    "good": "green",
    "odd": "yellow",
    "bad": "red",
}


class LiveDisplay:
    """Folds events into a state, and draws that a few times a second in a thread of its own.

    So an event costs the run the same whatever is on the screen, and a slow terminal does not hold it up. Only
    `Text` objects are printed, never markup: a document cannot style, link or hide anything.
    """

    def __init__(self, console: Console | None = None, *, price: Price | None = None) -> None:
        self._console = console or Console(
            file=cast(IO[str], Outlet(sys.stderr)), markup=False, highlight=False, emoji=False
        )
        self._progress = Progress(price=price)
        self._told: deque[Line] = deque(maxlen=MOST_LINES)
        self._state = threading.Lock()  # of the two above
        self._drawing = threading.Lock()  # of the terminal
        self._paused = False
        self._closed = threading.Event()
        self._live = Live(
            get_renderable=self._render,
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
        )
        self._live.start()
        self._thread = threading.Thread(target=self._keep_drawing, name="rlm-display", daemon=True)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        with self._state:
            self._progress.update(event)
            self._told.extend(narrate(event, self._progress))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What happens meanwhile is told afterwards."""
        with self._drawing:
            self._draw()
            self._paused = True
            self._live.stop()
        try:
            yield
        finally:
            with self._drawing:
                self._paused = False
                if not self._closed.is_set():
                    self._live.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join(PATIENCE)
        if self._drawing.acquire(timeout=PATIENCE):
            try:
                self._draw()
                self._live.stop()
            finally:
                self._drawing.release()

    def _keep_drawing(self) -> None:
        while not self._closed.wait(1 / REFRESH_PER_SECOND):
            with self._drawing:
                if not self._paused:
                    self._draw()

    def _draw(self) -> None:
        """Print the lines that wait, and draw anew what goes on, once."""
        with self._state:
            told = list(self._told)
            self._told.clear()
        if told:
            width = self._console.width
            lines = [Text(line.text, _STYLES[line.tone]) if line.wrap else _fitted(line, width) for line in told]
            self._console.print(Text("\n").join(lines), soft_wrap=True)
        elif self._live.is_started:
            self._live.refresh()

    def _render(self) -> RenderableType:
        size = self._console.size
        with self._state:
            # The last column and row stay empty: writing there makes some terminals wrap or scroll.
            lines = tree(
                self._progress,
                width=max(1, size.width - 1),
                height=max(1, size.height - 1),
                ascii_only=self._console.options.ascii_only,
            )
        return Group(*(_fitted(line, max(1, size.width - 1)) for line in lines))


def _fitted(line: Line, width: int) -> Text:
    text = Text(line.text, style=_STYLES[line.tone], no_wrap=True)
    text.truncate(width, overflow="ellipsis")
    return text
