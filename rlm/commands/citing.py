"""The citations below an answer: where each quotation stands in the input, or that it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rlm.commands.console import print_line, say
from rlm.display.text import one_line

SHOWN = 100
"""Characters of a quotation."""


def print_citations(citations: Sequence[Mapping[str, Any]]) -> None:
    """On stdout, below the answer; stderr has a word on what is not in the input."""
    print_line("")
    for each in citations:
        print_line(f"[{each['number']}] {_place(each)}: {one_line(each['quote'], SHOWN)}")
    if not citations:
        print_line("No quotations: nothing of this answer was looked up in the input.")
    missing = sum(each["status"] == "missing" for each in citations)
    if missing:
        say(f"{missing} of {len(citations)} quotations are not in the input")


def _place(citation: Mapping[str, Any]) -> str:
    if citation["status"] == "missing":
        return "NOT IN THE INPUT"
    if citation["status"] == "unchecked":
        return "not checked"
    about = "" if citation["exact"] else ", in other spacing or marks"
    return f"{citation['file']}:{citation['line']} (characters {citation['start']:,} to {citation['end']:,}{about})"
