"""Progress on a terminal: what is over scrolls by as lines, what goes on is redrawn in place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rlm.display.narrate import Tone, narrate
from rlm.display.progress import Batch, Price, Progress
from rlm.display.text import cut, duration, visible
from rlm.events import Event

SHOWN_BATCHES = 6
SHOWN_LINES = 3
REFRESH_PER_SECOND = 8

_STYLES: dict[Tone, str] = {
    "head": "bold cyan",
    "text": "bold",
    "quiet": "dim",
    "good": "green",
    "odd": "yellow",
    "bad": "red",
}


class LiveDisplay:
    """Redraws itself a few times a second from the state that the events build up.

    Only `Text` objects are printed, never markup: a document cannot style, link or hide anything.
    """

    def __init__(self, console: Console | None = None, *, price: Price | None = None) -> None:
        self._console = console or Console(stderr=True, markup=False, highlight=False, emoji=False)
        self._progress = Progress(price=price)
        self._live = Live(
            get_renderable=self._render,
            console=self._console,
            refresh_per_second=REFRESH_PER_SECOND,
            transient=True,
            redirect_stdout=False,
        )
        self._closed = False
        self._live.start()

    def __call__(self, event: Event) -> None:
        self._progress.update(event)
        for line in narrate(event, self._progress):
            self._console.print(Text(line.text, style=_STYLES[line.tone]), soft_wrap=True)

    @contextmanager
    def paused(self) -> Iterator[None]:
        self._live.stop()
        try:
            yield
        finally:
            if not self._closed:
                self._live.start()

    def close(self) -> None:
        self._closed = True
        self._live.stop()

    def _render(self) -> RenderableType:
        """What the root model is writing, the running batches, the phase and the totals."""
        progress = self._progress
        width = max(20, self._console.width - 1)
        parts: list[RenderableType] = [Text(line, style="dim italic") for line in _last_lines(progress.writing, width)]
        # The loop's thread may change the dict meanwhile: `list` of a dict's values is atomic, iterating is not.
        if batches := list(progress.batches.values()):
            parts.append(_bars(batches[-SHOWN_BATCHES:]))
        status = f"  {progress.phase}, {duration(progress.elapsed)}; root {progress.root}; sub {progress.sub}"
        if progress.children:
            status += f"; {progress.children} children"
        if progress.spent:
            status += f"; cost ~{progress.spent:.4f}"
        parts.append(Text(cut(status, width), style="cyan"))
        return Group(*parts)


def _last_lines(text: str, width: int) -> list[str]:
    lines = [line for line in visible(text).splitlines() if line.strip()]
    return [cut(f"  ┆ {line.expandtabs(4)}", width) for line in lines[-SHOWN_LINES:]]


def _bars(batches: list[Batch]) -> Table:
    table = Table.grid(padding=(0, 1))
    for batch in batches:
        table.add_row(
            Text(f"  batch {batch.number}"),
            ProgressBar(total=max(1, batch.size), completed=batch.done, width=32),
            Text(f"{batch.done:,}/{batch.size:,}"),
            Text(f"{batch.failed:,} failed" if batch.failed else "", style="red"),
        )
    return table
