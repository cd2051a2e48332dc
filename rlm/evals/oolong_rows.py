"""Rows of the published Oolong data set, from a file that the user has.

The source is `oolongbench/oolong-synth` on the Hugging Face hub, saved as JSON Lines: one row a line, with at least
`context_window_text`, `context_window_text_with_labels`, `question`, `answer` and `answer_type`.
"""

from __future__ import annotations

import ast
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from rlm.errors import InputError
from rlm.evals.oolong_questions import LESS, MORE, SAME

_DAY = re.compile(r"datetime\.date\((\d+), (\d+), (\d+)\)")


@lru_cache(maxsize=2)
def load_oolong_rows(path: Path) -> tuple[dict[str, Any], ...]:
    """All rows, in the order of the file. Raises `InputError` for what is no such file."""
    try:
        with path.open(encoding="utf-8") as file:
            rows = tuple(json.loads(line) for line in file if line.strip())
        for row in rows:
            row["gold"] = gold_of(row)
    except (OSError, ValueError, LookupError, TypeError, SyntaxError) as error:
        raise InputError(f"{path}: no rows of Oolong ({type(error).__name__}: {error})") from None
    if not rows:
        raise InputError(f"{path}: no rows of Oolong, the file is empty")
    return rows


def gold_of(row: dict[str, Any]) -> dict[str, Any]:
    """What is right, in the form in which the generated tasks say it.

    The published answer is the text of a Python list with one value, or of a date in one.
    """
    kind, answer = str(row["answer_type"]).rpartition(".")[2].lower(), str(row["answer"])
    if day := _DAY.search(answer):
        year, month, number = map(int, day.groups())
        return _gold("date", f"{year:04}-{month:02}-{number:02}")
    value = ast.literal_eval(answer)
    right = str(value[0] if isinstance(value, list) else value)
    if kind == "numeric":
        return {**_gold("number", right), "answers": [int(right)]}
    if kind == "comparison":
        return _gold("comparison", _phrase(right))
    # Which other names there are is not known here, so the right one has to stand alone.
    return _gold("user" if kind == "user" else "name", right)


def _gold(kind: str, right: str) -> dict[str, Any]:
    return {"kind": kind, "answers": [right], "names": []}


def _phrase(right: str) -> str:
    for phrase in (MORE, LESS, SAME):
        if phrase in right.lower():
            return phrase
    raise ValueError(f"{right!r} compares nothing")
