"""Untrusted text made fit to be shown on a terminal."""

from __future__ import annotations

import re

from rlm.escapes import visible as visible

_SPACE = re.compile(r"\s+")


def one_line(text: str, width: int) -> str:
    """`text` on one line of at most `width` characters, whitespace folded, the end cut with `…`."""
    # Cut first: a text of many megabytes costs nothing then.
    folded = _SPACE.sub(" ", visible(text[: 4 * width])).strip()
    if len(folded) > width or len(text) > 4 * width:
        return folded[: width - 1] + "…"
    return folded


def first_lines(text: str, count: int, width: int) -> list[str]:
    """The first `count` lines that are not blank, each cut to `width`; a last line says how many follow."""
    lines = [line for line in text.splitlines() if line.strip()]
    shown = [cut(visible(line).expandtabs(4), width) for line in lines[:count]]
    if len(lines) > count:
        shown.append(f"… {len(lines) - count} more lines")
    return shown


def cut(line: str, width: int) -> str:
    """A line cut to `width` characters, its indentation kept."""
    return line if len(line) <= width else line[: width - 1] + "…"


def count(number: int) -> str:
    """`999`, `12.3k`, `4.5M`."""
    if number < 1000:
        return str(number)
    if number < 999_950:
        return f"{number / 1000:.1f}k"
    return f"{number / 1_000_000:.1f}M"


def size(number: int) -> str:
    """`999 B`, `12.3 kB`, `4.5 MB`, `1.2 GB`."""
    if number < 1000:
        return f"{number} B"
    amount = float(number)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if amount < 999.95 or unit == "GB":
            break
    return f"{amount:,.1f} {unit}"


def duration(seconds: float) -> str:
    """`0.4 s`, `12.3 s`, `4 min 05 s`, `2 h 03 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min"
