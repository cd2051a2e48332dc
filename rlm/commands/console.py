"""What commands write: the answer to stdout and nothing else, remarks and errors to stderr."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Mapping
from typing import Any, TextIO

from rlm.display.text import visible
from rlm.errors import RLMError


def open_missing_streams() -> None:
    """A command that was started with a standard stream closed writes to nowhere, and not into its next open file."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            if name != "stdin":
                setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))


def say(line: str) -> None:
    """One line on stderr."""
    with contextlib.suppress(OSError, ValueError):  # nobody reads stderr any more: there is nobody left to tell
        sys.stderr.write(f"rlm: {visible(line)}\n")
        sys.stderr.flush()


def say_error(message: str) -> None:
    """One line on stderr, whatever the message holds."""
    say(f"error: {' '.join(message.split())}")


def debug_traceback() -> None:
    """With RLM_DEBUG=1, the traceback of the exception that is being handled."""
    if os.environ.get("RLM_DEBUG") == "1":
        traceback.print_exc()


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A replacement for `warnings.showwarning`: one line, without the place in our code."""
    say(f"warning: {message}")


def print_answer(answer: str) -> None:
    """The answer on stdout: made harmless on a terminal, as it is in a pipe or a file."""
    _write(visible(answer) if sys.stdout.isatty() else answer)


def print_line(line: str) -> None:
    """One line of a report on stdout."""
    _write(visible(line))


def print_json(value: Mapping[str, Any]) -> None:
    """One object on one line of stdout."""
    _write(json.dumps(value, ensure_ascii=sys.stdout.isatty()))


def _write(text: str) -> None:
    data = text.encode("utf-8", "backslashreplace")
    try:
        sys.stdout.buffer.write(data if data.endswith(b"\n") else data + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # The reader has seen enough. Without this the interpreter would complain once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise RLMError(f"cannot write to stdout: {error.strerror or error}") from error
