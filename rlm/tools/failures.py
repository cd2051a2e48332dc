"""What went wrong in a call, in words for the model that made it."""

from __future__ import annotations

MAX_REASON = 500
"""Characters of an exception's text that are passed on."""


class ToolFailure(Exception):
    """A call without a result; its text is for the model. Whoever calls a tool catches it: users never see it."""


def reason(error: BaseException) -> str:
    """`ValueError: no such city`, in one line."""
    error = at_heart(error)
    try:
        text = one_line(str(error))
    except Exception as failure:
        # The text of an exception class of the user's can fail like any code of theirs.
        text = f"(its text raised {type(failure).__name__})"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def at_heart(error: BaseException) -> BaseException:
    """The one exception of a group that holds no other, as task groups raise it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def one_line(text: str) -> str:
    """The words of `text` in one line of at most `MAX_REASON` characters."""
    line = " ".join(text[: 4 * MAX_REASON].split())
    return line if len(line) <= MAX_REASON else f"{line[: MAX_REASON - 1]}…"
