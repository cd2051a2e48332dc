"""What the guest says about a cell, checked and bounded: every byte of it is hostile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlm.bridge.server import read_answer
from rlm.errors import ProtocolError
from rlm.protocols import Answer, CellError, CellResult, CellStatus, Variable

MAX_OUTPUT = 1 << 17
"""Characters of each end of the output."""
MAX_TRACEBACK = 1 << 15
MAX_VARIABLES = 100
MAX_NOTICES = 20
MAX_LINE = 2000
MAX_CELLS = 1_000_000


def read_report(content: Mapping[str, Any], *, status: CellStatus | None, seconds: float, active: float) -> CellResult:
    """The result of a cell from its execute reply; `status` overrides the guest's word.

    Raises `ProtocolError` if the reply is not what our kernel sends.
    """
    report = content.get("rlm")
    if not isinstance(report, dict):
        raise ProtocolError("an execute reply without a report")
    error = _error(report.get("error"))
    omitted, cell = report.get("omitted"), report.get("cell")
    return CellResult(
        status=status or ("error" if error else "ok"),
        output=_text(report.get("output"), MAX_OUTPUT),
        output_tail=_text(report.get("output_tail"), MAX_OUTPUT),
        omitted=omitted if type(omitted) is int and omitted >= 0 else 0,
        error=error,
        variables=tuple(_variables(report.get("variables"))),
        notices=tuple(_text(note, MAX_LINE) for note in _list(report.get("notices"))[:MAX_NOTICES]),
        answer=_answer(report.get("answer")),
        cell=cell if type(cell) is int and 0 <= cell <= MAX_CELLS else 0,
        seconds=seconds,
        active_seconds=active,
    )


def _answer(found: object) -> Answer:
    if not isinstance(found, dict):
        raise ProtocolError("a report without an answer")
    return read_answer(found)


def _error(found: object) -> CellError | None:
    if found is None:
        return None
    if not isinstance(found, dict):
        raise ProtocolError("a broken error in a report")
    return CellError(
        name=_text(found.get("name"), MAX_LINE),
        value=_text(found.get("value"), MAX_LINE),
        traceback=_text(found.get("traceback"), MAX_TRACEBACK),
    )


def _variables(found: object) -> list[Variable]:
    rows = [row for row in _list(found)[:MAX_VARIABLES] if isinstance(row, list) and len(row) == 3]
    return [Variable(*(_text(cell, 200) for cell in row)) for row in rows]


def _list(found: object) -> list[Any]:
    return found if isinstance(found, list) else []


def _text(found: object, limit: int) -> str:
    return found[:limit] if isinstance(found, str) else ""
