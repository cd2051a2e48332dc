"""The table of `rlm runs list`."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from rich.cells import cell_len, set_cell_size

from rlm.display.text import duration, one_line
from rlm.trace.summary import Summary

WIDTH = 200
"""Columns of a line where there is no terminal."""
_SHORT = 8
_HEAD = ("RUN", "WHEN", "STATUS", "TURNS", "CALLS", "COST", "TIME", "QUESTION")
_TO_THE_RIGHT = {"TURNS", "CALLS", "COST", "TIME"}


def lines(runs: Sequence[Summary], ids: Sequence[str]) -> Iterator[str]:
    """A header and a line per run, cut to the terminal's width; `ids` are those of all runs."""
    short = short_names(ids)
    rows = [_HEAD, *(_row(run, short[run.run_id]) for run in runs)]
    yield from table(rows, right=_TO_THE_RIGHT, width=table_width())


def short_names(ids: Sequence[str]) -> dict[str, str]:
    """For each id the end of it, if that names no other run, else the whole."""
    ends = Counter(id_[-_SHORT:] for id_ in ids)
    begins = {id_[:_SHORT] for id_ in ids}
    names = {}
    for id_ in ids:
        end = id_[-_SHORT:]
        unique = len(id_) > _SHORT and id_[-_SHORT - 1] == "-" and ends[end] == 1 and end not in begins
        names[id_] = end if unique else id_
    return names


def table(rows: Sequence[Sequence[str]], *, right: set[str], width: int) -> Iterator[str]:
    """Columns, aligned; the first row names them, and those in `right` are aligned to the right."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = []
        for name, text, wide in zip(rows[0], row, widths, strict=True):
            pad = " " * (wide - cell_len(text))
            cells.append(pad + text if name in right else text + pad)
        yield fit("  ".join(cells).rstrip(), width)


def fit(line: str, width: int) -> str:
    """A line cut to so many columns of a terminal."""
    return line if cell_len(line) <= width else f"{set_cell_size(line, max(0, width - 1)).rstrip()}…"


def _row(run: Summary, name: str) -> tuple[str, ...]:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started)) if run.started else "-"
    return (
        one_line(name, 40),
        when,
        run.status,
        f"{run.turns:,}",
        f"{run.calls:,}",
        "-" if run.cost is None else f"{run.cost:.4f}",
        "-" if run.seconds is None else duration(run.seconds),
        one_line(run.question, WIDTH),
    )


def table_width() -> int:
    """Columns of the terminal, or what suits a file."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH
