"""`rlm batch`: many questions from a file, each answered into a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from rlm.commands import options
from rlm.errors import ConfigError

_TASKS = "Batch"


@options.takes_settings(without=("trace_dir",), max_cost=options.RunMaxCost)
def batch(
    ctx: typer.Context,
    tasks: Annotated[
        Path,
        typer.Argument(
            metavar="TASKS",
            help="A file with one JSON object per line: id, question, and inputs (paths, relative to the file's "
            "folder) or context (a text).",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="DIR", help="For the results, DIR/ID.json, and the traces.", rich_help_panel=_TASKS
        ),
    ],
    workers: Annotated[
        int, typer.Option("--workers", min=1, metavar="N", help="Runs at the same time.", rich_help_panel=_TASKS)
    ] = 4,
    ahead: Annotated[
        int | None,
        typer.Option(
            "--ahead",
            min=0,
            metavar="N",
            help="Sandboxes started before their run's turn; by default as many as suit, at most 4.",
            rich_help_panel=_TASKS,
            show_default=False,
        ),
    ] = None,
    total_cost: Annotated[
        float | None,
        typer.Option(
            "--max-cost",
            min=0,
            metavar="MONEY",
            help="Most money for all runs, earlier ones into DIR included; needs a price for every model.",
            rich_help_panel=_TASKS,
            show_default=False,
        ),
    ] = None,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Try again what ended by an error or a limit.", rich_help_panel=_TASKS),
    ] = False,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(
            "--engine",
            metavar="local|ray",
            help="Where runs go on: in this process, or on the machines of a Ray cluster (extra ray). [default: local]",
            rich_help_panel=_TASKS,
            show_default=False,
        ),
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(
            "--ray-address",
            metavar="ADDRESS",
            help="The cluster's; RAY_ADDRESS when not given, else Ray is started on this machine.",
            rich_help_panel=_TASKS,
            show_default=False,
        ),
    ] = None,
    ray_cpus: Annotated[
        float,
        typer.Option(
            "--ray-cpus",
            min=0.01,
            metavar="N",
            help="Processors that one run takes of a machine.",
            rich_help_panel=_TASKS,
        ),
    ] = 1.0,
    *,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print a summary as one JSON object instead of the table.", rich_help_panel="Output"
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show no progress on stderr.", rich_help_panel="Output")
    ] = False,
) -> None:
    """Answer the questions of TASKS, some at a time, each into a file of DIR.

    The same command again goes on where it ended: what has a result is not
    tried again, and a run that was killed or interrupted goes on from its
    trace, so that nothing is paid for twice.

    Exit codes: 0 every task has a result (an answer, or the draft of a run
    that reached a limit), 1 a run failed, 2 wrong usage or configuration,
    3 the cost cap left tasks without a result, 130 interrupted.
    """
    from rlm.layers import load_settings

    settings = load_settings(options.given(ctx.params))
    if not settings.model_at(0):
        raise ConfigError('no model: give --model, set RLM_MODEL, or write model = "…" into the configuration')

    from rlm.batches.batch import Batch
    from rlm.batches.tasks import read_tasks
    from rlm.commands.batchrun import Engine, play_and_report
    from rlm.commands.console import say

    found = read_tasks(tasks)
    made = Batch(settings, found, out, max_cost=total_cost, retry_failed=retry_failed, notice=say)
    try:
        where = Engine(name=engine, workers=workers, ahead=ahead, ray_address=ray_address, ray_cpus=ray_cpus)
        raise typer.Exit(play_and_report(made, where, as_json=as_json, quiet=quiet))
    finally:
        made.close()
