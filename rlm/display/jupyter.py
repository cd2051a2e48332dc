"""Progress in a Jupyter notebook: one output that is redrawn, and becomes the result."""

from __future__ import annotations

import sys
import time
from collections import deque
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from rlm.display.narrate import Line, narrate
from rlm.display.progress import Progress
from rlm.events import Event
from rlm.metrics import Metrics
from rlm.resulthtml import text, to_html

UPDATES_PER_SECOND = 8
SHOWN_LINES = 12
SHOWN_BATCHES = 6
_COLOURS = {"good": "green", "odd": "darkorange", "bad": "crimson", "head": "teal"}
_STYLE = "font-family:monospace;white-space:pre-wrap;overflow-wrap:anywhere"


def in_jupyter() -> bool:
    """Whether a Jupyter kernel runs this, so that it can show HTML and redraw it."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel")


class JupyterDisplay:
    """The last lines of a run, its open batches and what it took so far; at the end its result."""

    def __init__(self) -> None:
        from IPython.display import HTML, display

        self._html = HTML
        self._handle: Any = display(HTML("<div>starting …</div>"), display_id=True)
        self._progress = Progress()
        self._metrics = Metrics()
        self._lines: deque[Line] = deque(maxlen=SHOWN_LINES)
        self._batches: dict[str, tuple[int, int]] = {}
        """Outcomes and size of those that are open."""
        self._shown = 0.0
        self._begun = time.monotonic()

    def __call__(self, event: Event) -> None:
        self._progress.update(event)
        self._metrics(event)
        self._lines.extend(narrate(event, self._progress))
        match event["type"]:
            case "batch.started":
                self._batches[event["batch"]] = (0, event["size"])
            case "call.completed" if event["batch"] in self._batches:
                done, size = self._batches[event["batch"]]
                self._batches[event["batch"]] = (done + 1, size)
            case "batch.completed":
                self._batches.pop(event["batch"], None)
            case "run.completed":
                self._handle.update(self._html(to_html(event["result"])))
                return
        if time.monotonic() - self._shown >= 1 / UPDATES_PER_SECOND:
            self._shown = time.monotonic()
            self._handle.update(self._html(self._render()))

    def paused(self) -> AbstractContextManager[None]:
        return nullcontext()

    def close(self) -> None:
        """What is shown stays."""

    def _render(self) -> str:
        lines = "".join(
            f'<div style="color:{_COLOURS.get(line.tone, "inherit")}">{text(line.text)}</div>' for line in self._lines
        )
        bars = "".join(
            f'<div>{text(name)} <progress value="{done}" max="{max(1, size)}"></progress> {done:,}/{size:,}</div>'
            for name, (done, size) in list(self._batches.items())[-SHOWN_BATCHES:]
        )
        found = self._metrics.to_dict()
        root, sub = (f"{found[f'{k}_input_tokens']:,} in {found[f'{k}_output_tokens']:,} out" for k in ("root", "sub"))
        seconds = time.monotonic() - self._begun
        status = f"{seconds:.0f} s; root {root}; sub {sub}, {found['sub_calls']:,} calls"
        return f'<div class="rlm-progress" style="{_STYLE}">{lines}{bars}<div>{text(status)}</div></div>'
