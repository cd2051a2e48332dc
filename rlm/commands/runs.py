"""`rlm runs list|show|rm|path`: the runs that are kept, on stdout."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlm.commands import options
from rlm.commands.console import print_json, print_line, say
from rlm.errors import ConfigError, InputError

if TYPE_CHECKING:
    from rlm.trace.reader import Trace

app = typer.Typer(no_args_is_help=True, help="List the runs that are kept, look into one, or remove some.")

_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@app.command("list")
def list_(
    number: Annotated[int, typer.Option("-n", "--number", min=1, metavar="N", help="Most runs to list.")] = 20,
    every: Annotated[bool, typer.Option("--all", help="List all of them.")] = False,
    status: Annotated[
        str | None,
        typer.Option("--status", metavar="STATUS,…", help="Only these: answered, max_turns, running, killed, …"),
    ] = None,
    grep: Annotated[
        str | None, typer.Option("--grep", metavar="TEXT", help="Only those whose question has this text, in any case.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object with the list of runs.")] = False,
    trace_dir: options.TraceDir = None,
) -> None:
    """List the runs that are kept, the latest first.

    A run is running, or was killed before its end, or its trace is unreadable,
    or it has stopped for a reason: answered, max_turns, max_tokens, max_cost,
    timeout, loop, interrupted, error.
    """
    from rlm.commands.runlist import lines
    from rlm.trace.index import listing
    from rlm.trace.store import runs_dir

    chosen = _statuses(status)
    place = options.runs_place(trace_dir)
    known = listing(place)
    found = [run for run in known if not chosen or run.status in chosen]
    found = [run for run in found if grep is None or grep.casefold() in run.question.casefold()]
    shown = found if every else found[:number]
    if as_json:
        print_json({"runs": [run.to_dict() for run in shown]})
        return
    if not found:
        say(f"there are no {'such ' if known else ''}runs in {runs_dir(place)}")
        return
    for line in lines(shown, [run.run_id for run in known]):
        print_line(line)
    if len(found) > len(shown):
        say(f"{len(shown):,} of {len(found):,} runs; --all lists them all")


@app.command()
def show(
    run: options.Run = None,
    full: Annotated[bool, typer.Option("--full", help="Do not cut the question and the answer.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False,
    trace_dir: options.TraceDir = None,
) -> None:
    """Show one run: the question, what came of it, its turns and its metrics.

    Of a run that goes on, or was killed, also what is or was under way: where
    it hangs.
    """
    from rlm.commands.runview import View

    trace = _found(run, trace_dir)
    try:
        view = View.of(trace)
        told = view.to_dict() if as_json else list(view.lines(full=full))
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{trace.path} is not the trace of a run") from error
    if isinstance(told, dict):
        print_json(told)
        return
    for line in told:
        print_line(line)


@app.command()
def path(run: options.Run = None, trace_dir: options.TraceDir = None) -> None:
    """Print the folder of a run."""
    print_line(str(_found(run, trace_dir).folder))


@app.command()
def rm(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN", help=f"{options.RUN_HELP}.", show_default=False, autocompletion=options.complete_run
        ),
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="AGE", help="Those that were last written to before 30d, 12h, 2w, …"),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    trace_dir: options.TraceDir = None,
) -> None:
    """Remove runs; prints each with its size. A run that goes on is never removed."""
    from rlm.display.text import size
    from rlm.trace.removal import remove, size_of

    if sum((bool(runs), older_than is not None, every)) != 1:
        raise ConfigError("say which runs: RUN…, --older-than AGE, or --all")
    doomed = _named(runs, trace_dir) if runs else _old(_seconds(older_than) if older_than else 0, trace_dir)
    sizes = {trace.folder: size_of(trace.folder) for trace in doomed}
    if not doomed:
        say("there is nothing to remove")
        return
    if not yes:
        _ask(f"remove {len(doomed):,} run{'' if len(doomed) == 1 else 's'}, {size(sum(sizes.values()))}?")
    for folder, amount in sizes.items():
        remove(folder)
        print_line(f"{folder.name}  {size(amount)}")
    say(f"removed {len(sizes):,} run{'' if len(sizes) == 1 else 's'}, {size(sum(sizes.values()))}")


def _statuses(text: str | None) -> list[str]:
    from rlm.trace.summary import STATUSES

    chosen = [name.strip() for name in (text or "").split(",") if name.strip()]
    for name in chosen:
        if name not in STATUSES:
            raise ConfigError(f"--status: there is no {name!r}; there are: {', '.join(STATUSES)}")
    return chosen


def _found(run: str | None, trace_dir: Path | None) -> Trace:
    from rlm.trace.reader import find

    return find(run, options.runs_place(trace_dir))


def _named(names: list[str], trace_dir: Path | None) -> list[Trace]:
    """These runs, each once. Raises `InputError` for one that goes on, or lies elsewhere."""
    from rlm.trace.reader import find
    from rlm.trace.store import runs_dir

    place = options.runs_place(trace_dir)
    found = {trace.folder: trace for trace in (find(name, place) for name in names)}
    for folder, trace in found.items():
        # A folder of anybody's may hold a file of that name.
        if folder.is_symlink() or folder.resolve().parent != runs_dir(place).resolve():
            raise InputError(f"{folder} is not in {runs_dir(place)}: give --trace-dir")
        if trace.goes_on():
            raise InputError(f"the run {trace.run_id} goes on")
    return list(found.values())


def _old(seconds: float, trace_dir: Path | None) -> list[Trace]:
    """Runs that were not written to for so long; those that go on are left out."""
    from rlm.trace.reader import traces

    until = time.time() - seconds
    known = [
        trace for trace in traces(options.runs_place(trace_dir)) if trace.path.is_file() and not trace.path.is_symlink()
    ]
    return [trace for trace in known if trace.path.stat().st_mtime <= until and not trace.goes_on()]


def _seconds(age: str) -> float:
    number, unit = age[:-1], age[-1:]
    if not (number.isascii() and number.isdigit()) or unit not in _UNITS:
        raise ConfigError(f"--older-than: {age!r} is not an age as 30d, 12h or 2w")
    return float(number) * _UNITS[unit]


def _ask(question: str) -> None:
    """Raises `ConfigError` where there is nobody to ask, `typer.Abort` on a no."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfigError("this is no terminal to ask on: confirm with --yes")
    say(f"{question} [y/N]")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise typer.Abort
