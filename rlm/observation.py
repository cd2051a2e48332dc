"""What the root model sees of a cell: a bounded excerpt of its output, and what changed.

The text grows with `limit` and not with what the cell printed. Everything in it that comes from the
sandbox is untrusted, and bounded here again whatever the guest did.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from rlm.prompts import render
from rlm.protocols import CellResult, Variable

MAX_VARIABLES = 30
MAX_NOTICES = 10
_NOTICE_LENGTH = 600
_NAME_LENGTH = 120
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class Excerpt(NamedTuple):
    """A text's head and tail; `omitted` characters lie between them."""

    head: str
    omitted: int
    tail: str


class Budget(NamedTuple):
    """What is left of a run, for the model to see. None: no limit."""

    turn: int
    """The number of the next turn."""
    max_turns: int
    seconds: float
    sub_calls: int | None = None
    tokens: int | None = None
    cost: float | None = None
    half_used: bool = True
    """Whether any of it is half used up."""


def observe(cell: CellResult, budget: Budget, *, limit: int, cell_timeout: float, lost: Sequence[str] = ()) -> str:
    """The message to the model after a cell. `lost` are the variables that died with the kernel."""
    traceback = ""
    if cell.error:
        traceback = keep_end(clean(cell.error.traceback) or f"{cell.error.name}: {cell.error.value}", limit // 2)
    output = excerpt(clean(cell.output), cell.omitted, clean(cell.output_tail), limit - len(traceback))
    return render(
        "observation",
        status=cell.status,
        death=cell.death,
        output=output,
        traceback=traceback,
        variables=[_describe(variable) for variable in cell.variables[:MAX_VARIABLES]],
        more_variables=max(0, len(cell.variables) - MAX_VARIABLES),
        notices=[clean(notice)[:_NOTICE_LENGTH] for notice in cell.notices[:MAX_NOTICES]],
        lost=[clean(name)[:_NAME_LENGTH] for name in lost[:MAX_VARIABLES]],
        more_lost=max(0, len(lost) - MAX_VARIABLES),
        empty_answer=cell.answer.ready and not cell.answer.content,
        cell_timeout=cell_timeout,
        left=remaining_line(budget),
    )


def _describe(variable: Variable) -> str:
    details = ", ".join(filter(None, (variable.type, variable.size)))
    return clean(f"{variable.name} ({details})")[:_NAME_LENGTH]


def excerpt(head: str, omitted: int, tail: str, limit: int) -> Excerpt:
    """At most `limit` characters of a text that is given whole, or as head and tail with a gap between."""
    if not omitted:
        text = head + tail
        if len(text) <= limit:
            return Excerpt(text, 0, "")
        half = limit // 2
        return Excerpt(text[:half], len(text) - limit, text[half - limit :])
    shown_head = head[: max(limit // 2, limit - len(tail))]
    shown_tail = tail[max(0, len(tail) - (limit - len(shown_head))) :]
    cut = len(head) + len(tail) - len(shown_head) - len(shown_tail)
    return Excerpt(shown_head, omitted + cut, shown_tail)


def keep_end(text: str, limit: int) -> str:
    """The last `limit` characters: the end of a traceback says what happened."""
    return text if len(text) <= limit else f"…{text[len(text) - limit + 1 :]}"


def clean(text: str) -> str:
    """Without terminal colours and control characters."""
    return _CONTROL.sub("", text)


def remaining_line(budget: Budget) -> str:
    """`turn 4 of 30; left: 4,990 sub-calls, 120,000 tokens, 57 min`: what is left, from the half-way point on."""
    turn = f"turn {budget.turn} of {budget.max_turns}"
    if not budget.half_used:
        return turn
    left = []
    if budget.sub_calls is not None:
        left.append(f"{budget.sub_calls:,} sub-calls")
    if budget.tokens is not None:
        left.append(f"{budget.tokens:,} tokens")
    if budget.cost is not None:
        left.append(f"{budget.cost:.4f} of cost")
    left.append(f"{budget.seconds / 60:.0f} min" if budget.seconds >= 120 else f"{max(0.0, budget.seconds):.0f} s")
    return f"{turn}; left: {', '.join(left)}"
