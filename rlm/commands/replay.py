"""`rlm replay`: execute a run again from its trace, and compare."""

from __future__ import annotations

from typing import Any

import typer

from rlm.commands import options
from rlm.display.text import one_line

SHOWN = 5
"""Cells that are told of when they came out otherwise."""
WIDTH = 100


@options.takes_settings(only=("sandbox", "runtime", "memory", "cpus", "trace_dir"))
def replay(
    ctx: typer.Context,
    run: options.Run = None,
    *,
    as_json: options.Json = False,
) -> None:
    """Execute a run again from its trace, without asking anybody, and compare.

    Replies of models and results of tools come from the trace; every cell, also
    of children, is executed. Cells that depend on time or chance come out
    otherwise, and are named.

    Exit codes: 0 all came out the same, 1 it did not, 2 there is no such run or
    its input has changed, 5 no sandbox.
    """
    from rlm.commands.records import open_record

    given = options.given(ctx.params)
    record, settings = open_record(run, given, offline=True)
    if "sandbox" not in given and settings.sandbox == "process":
        # Code of a trace is not run without a wall unless that is asked for.
        settings = settings.model_copy(update={"sandbox": "auto"})

    import asyncio

    from rlm.commands.console import print_json, print_line
    from rlm.replay import replay as replayed

    outcome = asyncio.run(replayed(settings, record))
    if as_json:
        print_json(outcome.to_dict())
    else:
        for line in _lines(outcome):
            print_line(line)
    raise typer.Exit(0 if outcome.identical else 1)


def _lines(outcome: Any) -> list[str]:
    done = f"{outcome.cells:,} cells executed, {outcome.calls:,} sub-calls from the trace"
    lines = [f"run {outcome.run_id}: {done}"]
    for event in outcome.diverged[:SHOWN]:
        where = f"rollout {event['rollout']}, turn {event['turn']}: another {event['field']}"
        lines += [
            where,
            f"  was: {one_line(str(event['expected']), WIDTH)}",
            f"  now: {one_line(str(event['got']), WIDTH)}",
        ]
    if len(outcome.diverged) > SHOWN:
        lines.append(f"… and {len(outcome.diverged) - SHOWN:,} more cells")
    if outcome.unknown_calls:
        lines.append(f"{outcome.unknown_calls:,} sub-calls that are not in the trace")
    if outcome.error:
        lines.append(f"it ended early: {one_line(outcome.error, WIDTH)}")
    if outcome.recorded is None:
        lines.append("the run had no end: there is no answer to compare")
    else:
        lines.append("the answer is identical" if outcome.answer == outcome.recorded else "the answer is another one")
    return lines
