"""`rlm export`: runs in other forms, from their traces."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from rlm.commands import options
from rlm.commands.console import print_answer, print_line
from rlm.errors import ConfigError, InputError, RLMError

if TYPE_CHECKING:
    from rlm.export.redact import Redact
    from rlm.trace.reader import Trace

_FORM, _CONTENT, _WHERE = "Form", "Content", "Where"
STDOUT = "-"


def export(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help="A run's id, the beginning or the end of one, or its folder; the latest run by default. Several for "
            "--messages only.",
            show_default=False,
            autocompletion=options.complete_run,
        ),
    ] = None,
    html: Annotated[
        bool, typer.Option("--html", help="One page with all of the run, to be opened anywhere.", rich_help_panel=_FORM)
    ] = False,
    ipynb: Annotated[
        bool, typer.Option("--ipynb", help="A notebook that can be run again.", rich_help_panel=_FORM)
    ] = False,
    messages: Annotated[
        bool,
        typer.Option(
            "--messages", help="Chat transcripts, one JSON object per rollout and line.", rich_help_panel=_FORM
        ),
    ] = False,
    sub_calls: Annotated[
        bool,
        typer.Option("--sub-calls", help="With --messages: a line for each sub-call too.", rich_help_panel=_CONTENT),
    ] = False,
    outcome: Annotated[
        str | None,
        typer.Option(
            "--outcome",
            metavar="REASON,…",
            help="With --messages: only rollouts that ended so, e.g. answered,max_turns.",
            rich_help_panel=_CONTENT,
        ),
    ] = None,
    redact: Annotated[
        bool,
        typer.Option(
            "--redact",
            help="Without the texts of documents: code, structure, sizes, tokens and times stay.",
            rich_help_panel=_CONTENT,
        ),
    ] = False,
    redact_pattern: Annotated[
        list[str] | None,
        typer.Option(
            "--redact-pattern",
            metavar="REGEX",
            help="Blot out what matches, in every text; may be given several times.",
            rich_help_panel=_CONTENT,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to; - is stdout. By default RUN.html and RUN.ipynb in this folder, and stdout for --messages.",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    trace_dir: options.TraceDir = None,
) -> None:
    """Write a run as a page, as a notebook, or as chat transcripts.

    The name of the file that was written goes to stdout, or what was asked for
    where that is stdout. A trace holds parts of your documents, and so does
    what is made of it: see --redact.

    Exit codes: 0 written, 1 it could not be written, 2 wrong usage, no such
    run, or a trace that cannot be read.
    """
    from rlm.trace.reader import LATEST, find

    if html + ipynb + messages != 1:
        raise ConfigError("choose one of --html, --ipynb and --messages")
    if (sub_calls or outcome) and not messages:
        raise ConfigError("--sub-calls and --outcome go with --messages")
    if runs and len(runs) > 1 and not messages:
        raise ConfigError("several runs go with --messages only")
    outcomes = _outcomes(outcome)
    new_redactor = partial(_redactor, redact, redact_pattern or [])
    new_redactor()  # a pattern that is none is found before anything is read
    place = options.runs_place(trace_dir)
    traces = [find(run, place) for run in runs or [LATEST]]
    if messages:
        lines = (line for trace in traces for line in _transcripts(trace, new_redactor(), sub_calls, outcomes))
        _write(lines, output or STDOUT)
        return
    (trace,) = traces
    text = _page(trace, new_redactor()) if html else _notebook(trace, new_redactor())
    _write(iter([text]), output or f"{trace.run_id}.{'html' if html else 'ipynb'}")


def _outcomes(given: str | None) -> set[str]:
    from rlm.result import StopReason

    names = {name.strip() for name in (given or "").split(",") if name.strip()}
    if unknown := sorted(names - set(get_args(StopReason))):
        raise ConfigError(f"--outcome: {unknown[0]!r} is none; there are: {', '.join(get_args(StopReason))}")
    return names


def _redactor(content: bool, patterns: list[str]) -> Redact | None:
    """A fresh one for each run: it remembers."""
    from rlm.export.redact import redactor

    return redactor(content=content, patterns=patterns) if content or patterns else None


def _page(trace: Trace, redact: Redact | None) -> str:
    from rlm.export.html import to_html

    return to_html(trace, redact=redact)


def _notebook(trace: Trace, redact: Redact | None) -> str:
    from rlm.export.ipynb import to_ipynb

    return to_ipynb(trace, redact=redact)


def _transcripts(trace: Trace, redact: Redact | None, sub_calls: bool, outcomes: set[str]) -> Iterator[str]:
    import json

    from rlm.export.messages import transcripts

    events = trace.events()
    for line in transcripts(map(redact, events) if redact else events, sub_calls=sub_calls, outcomes=outcomes):
        yield json.dumps(line, ensure_ascii=False) + "\n"


def _write(pieces: Iterator[str], where: str) -> None:
    """All of it, or nothing: what cannot be read is found before a file is touched."""
    text = "".join(pieces)
    if where == STDOUT:
        if text:
            print_answer(text)
        return
    try:
        Path(where).write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        kind = InputError if isinstance(error, FileNotFoundError | IsADirectoryError) else RLMError
        raise kind(f"cannot write {where}: {error.strerror or error}") from error
    print_line(where)
