"""An exception as the model sees it: Python's own format, from the cell's first frame on, bounded."""

from __future__ import annotations

import os
import traceback
from types import TracebackType

LIMIT = 20_000
"""Characters of a traceback that are kept; its end matters most."""
FRAMES = 30
HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def describe_exception(error: BaseException) -> dict[str, str]:
    """`{"name", "value", "traceback"}`, all bounded."""
    try:
        shown = traceback.TracebackException(type(error), error, _own_frames(error.__traceback__), limit=-FRAMES)
        _leave_out_ours(shown)
        text = "".join(shown.format())
        value = str(error)
    except BaseException as failure:
        # An exception class of the user's may raise anything from __str__.
        text = value = f"({type(error).__name__}, whose text could not be made: {type(failure).__name__})"
    if len(text) > LIMIT:
        text = f"{text[: LIMIT // 4]}\n[… {len(text) - LIMIT:,} characters …]\n{text[-LIMIT * 3 // 4 :]}"
    return {"name": type(error).__name__[:200], "value": value[:2000], "traceback": text}


def _own_frames(tb: TracebackType | None) -> TracebackType | None:
    """Skip the frames of IPython and the kernel that called the cell."""
    first = tb
    while first is not None and not first.tb_frame.f_code.co_filename.startswith("<cell"):
        first = first.tb_next
    return first


def _leave_out_ours(shown: traceback.TracebackException) -> None:
    """Skip the frames within our own functions: where a cell has called them is what matters, and always the same."""
    rest: list[traceback.TracebackException | None] = [shown]
    while rest:
        if (each := rest.pop()) is not None:
            each.stack[:] = [frame for frame in each.stack if not frame.filename.startswith(HERE)]
            rest += [each.__cause__, each.__context__, *(each.exceptions or ())]
