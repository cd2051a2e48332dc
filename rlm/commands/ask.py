"""`rlm ask`: one question about some inputs; the answer is on stdout."""

from __future__ import annotations

import os
import stat
import sys
from typing import Annotated

import typer

from rlm.commands import options


@options.takes_settings()
def ask(
    ctx: typer.Context,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to find out.", show_default=False)],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="Files, folders, globs, archives or URLs; - is the standard input, which is also read when it is "
            "piped and no INPUT is given.",
            show_default=False,
        ),
    ] = None,
    *,
    as_json: options.Json = False,
    stream_json: options.StreamJson = False,
    display: options.Display = None,
    quiet: options.Quiet = False,
) -> None:
    """Answer QUESTION about the INPUTs; the answer goes to stdout, progress to stderr.

    Exit codes: 0 answered, 1 the run failed, 2 wrong usage or configuration,
    3 a limit was reached (the best draft is printed), 4 the endpoint or its
    key failed, 5 no sandbox, 130 interrupted (the first Ctrl-C prints the best
    draft, the second one kills).

    Keys come from the environment only: OPENAI_API_KEY, or RLM_API_KEY and
    RLM_SUB_API_KEY.
    """
    from rlm.layers import load_settings

    options.check_output(as_json=as_json, stream_json=stream_json, quiet=quiet, display=display)
    settings = load_settings(options.given(ctx.params))

    from rlm.commands.running import Output, run_and_report  # the whole machinery: not before the settings are right

    output = Output(json=as_json, stream_json=stream_json, quiet=quiet, display=display)
    raise typer.Exit(run_and_report(settings, question, inputs or _piped(), output))


def _piped() -> list[str]:
    """The standard input, if it is a document: a pipe or a file, not a terminal or /dev/null."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return []  # closed
    return ["-"] if stat.S_ISFIFO(mode) or stat.S_ISREG(mode) else []
