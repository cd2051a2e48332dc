"""`rlm eval`: does it help, on what, and at what price."""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlm.commands import complete, options
from rlm.commands.console import print_line, say
from rlm.errors import ConfigError

if TYPE_CHECKING:
    from rlm.evals.rows import Row
    from rlm.evals.runner import Plan, Progress
    from rlm.evals.task import Environment

_WHAT, _HOW, _WHERE = "What", "How", "Where"
COMMAND_FILE = "command.txt"
UNTOLD = frozenset({"headers", "report_only", "retry_failed", "trajectories", "workers"})
"""Options that are not part of what made the rows, or may hold a key."""

# What an environment or an arm decides, and what makes no sense for many runs.
FIXED = ("route", "tools", "mcp", "functions", "cache", "runtime", "allow_install", "tips", "cite", "trace_dir", "otel")


@options.takes_settings(without=FIXED, max_cost=options.RunMaxCost)
def evaluate(
    ctx: typer.Context,
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="ENV",
            help="Environments: needle, oolong, oolong_pairs, verbatim, math_python, deepdive, codeqa, or one of your "
            "own as file.py:NAME.",
            show_default=False,
            autocompletion=complete.environments,
        ),
    ],
    arms: Annotated[
        str,
        typer.Option(
            "--arms",
            metavar="ARM,…",
            autocompletion=complete.arms,
            help="Ways to try each task: llm (one plain call), rlm, rlm+tips, rlm@0 to rlm@3 (by depth), auto. "
            "[default: llm,rlm,rlm+tips]",
            rich_help_panel=_WHAT,
            show_default=False,
        ),
    ] = "llm,rlm,rlm+tips",
    n: Annotated[
        int, typer.Option("--n", "-n", min=1, metavar="N", help="Tasks per environment.", rich_help_panel=_WHAT)
    ] = 10,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="The same seed makes the same tasks.", rich_help_panel=_WHAT)
    ] = 0,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            "-o",
            metavar="ENV.NAME=VALUE",
            help="An environment's option, e.g. needle.lines=2000; may be given several times.",
            rich_help_panel=_WHAT,
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="For rows.jsonl, the report and the traces.", rich_help_panel=_WHERE),
    ] = Path("eval-results"),
    trajectories: Annotated[
        Path | None,
        typer.Option(
            "--trajectories",
            metavar="FILE",
            help="Write the runs as chat transcripts with their rewards, one JSON object per line, for SFT and RL.",
            rich_help_panel=_WHERE,
            show_default=False,
        ),
    ] = None,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Run nothing: the report of what is there.", rich_help_panel=_HOW)
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what could not be carried out.", rich_help_panel=_HOW)
    ] = False,
    workers: Annotated[
        int, typer.Option("--workers", min=1, metavar="N", help="Runs at the same time.", rich_help_panel=_HOW)
    ] = 4,
    total_cost: Annotated[
        float | None,
        typer.Option(
            "--max-cost",
            min=0,
            metavar="MONEY",
            help="Most money in all, earlier rows of this folder included; needs a price for every model.",
            rich_help_panel=_HOW,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Try the tasks of ENV in several ways, and write what came of it as rows and as a report.

    --model scripted plays scripted models that solve the tasks without an LLM,
    --model scripted-bad such that fail. The same command again goes on where
    it ended; rows are never tried twice.

    Exit codes: 0 all was carried out, 1 some of it was not (see the report),
    2 wrong usage or configuration, 130 interrupted (finished rows stay).
    """
    from dataclasses import replace

    from rlm.evals import arms as arms_
    from rlm.evals.registry import chosen_options, environment
    from rlm.evals.runner import Plan
    from rlm.evals.scripted import MODELS, SCRIPTED_BAD, scripted

    environments = list({each.name: each for each in map(environment, dict.fromkeys(names))}.values())
    chosen, parsed = chosen_options(environments, option or []), arms_.parse_arms(arms)
    settings = _settings(ctx)
    is_scripted = ctx.params["model"] in MODELS
    plan = Plan(
        environments=environments,
        options=chosen,
        arms=parsed,
        n=n,
        seed=seed,
        settings=settings,
        model=settings.model_at(0) or "",
        sub_model="" if is_scripted else settings.sub_model_name or "",
        out=out,
        workers=workers,
        max_cost=total_cost,
        retry_failed=retry_failed,
    )
    with ExitStack() as stack:
        if is_scripted and not report_only:
            served = stack.enter_context(scripted(environments, bad=ctx.params["model"] == SCRIPTED_BAD))
            plan = replace(plan, for_environment=served)
        rows = _rows(plan) if report_only else _play(plan, _command(ctx))
    _report(plan, rows, environments)
    if trajectories is not None:
        _trajectories(rows, out, trajectories)
    raise typer.Exit(1 if any(row.error for row in rows) else 0)


def _settings(ctx: typer.Context) -> Any:
    from rlm.evals.scripted import MODELS
    from rlm.layers import load_settings

    flags = options.given(ctx.params)
    if flags.get("model") in MODELS and "sandbox" not in flags and not ctx.params["report_only"]:
        from rlm.commands.demo import best_sandbox

        flags["sandbox"] = best_sandbox()
    settings = load_settings(flags)
    if not settings.model_at(0):
        raise ConfigError("no model: give --model, or --model scripted for a run without an LLM")
    return settings


def _rows(plan: Plan) -> list[Row]:
    from rlm.evals.rows import RowFile
    from rlm.evals.runner import rows_of

    rows = rows_of(plan, RowFile(plan.out).read())
    if not rows:
        raise ConfigError(f"there are no rows of this in {plan.out}: run the same command without --report-only")
    return rows


def _play(plan: Plan, command: str) -> list[Row]:
    import asyncio

    from rlm.commands.running import reap
    from rlm.evals.runner import check, play

    check(plan)
    (plan.out / COMMAND_FILE).write_text(command + "\n", encoding="utf-8")
    reap()
    rows = asyncio.run(play(plan, _say_progress))
    missing = len(plan.environments) * len(plan.arms) * plan.n - len(rows)
    if missing:
        say(f"{missing:,} runs were not begun, or not finished: the cost cap of {plan.max_cost} is reached")
    return rows


def _say_progress(progress: Progress) -> None:
    row = progress.row
    what = f"[{progress.done}/{progress.total}] {row.env} {row.arm} {row.task_id or row.index}"
    tokens = row.root_input + row.root_output + row.sub_input + row.sub_output
    took = f"{tokens:,} tokens, {row.seconds:.1f} s"
    said = f"error: {row.error}" if row.error else f"reward {row.reward:.2f} ({row.stop_reason}), {took}"
    say(" ".join(f"{what}: {said}".split()))


def _report(plan: Plan, rows: list[Row], environments: list[Environment]) -> None:
    from rlm.evals import plots
    from rlm.evals.report import write_report
    from rlm.evals.summary import cells

    made_by = plan.out / COMMAND_FILE
    command = made_by.read_text(encoding="utf-8").strip() if made_by.is_file() else ""
    if not plots.available():
        say("no figures: matplotlib is not installed (pip install 'rlm-kernel[evals]')")
    written = write_report(rows, plan.out, command=command)
    for cell in cells(rows):
        reward = cell.reward
        shown = f"{reward.mean:.3f}  [{reward.low:.3f}, {reward.high:.3f}]" if reward else "no result"
        errors = f"  {cell.errors} errors" if cell.errors else ""
        print_line(f"{cell.env:<14} {cell.arm:<12} {shown}  n={len(cell.good)}{errors}")
    for path in written:
        print_line(str(path))


def _trajectories(rows: list[Row], out: Path, where: Path) -> None:
    from rlm.evals.trajectories import write_trajectories

    count = write_trajectories(rows, out, where)
    print_line(f"{where}: {count:,} transcripts")


def _command(ctx: typer.Context) -> str:
    """The command as it would be typed again, without what may hold a key."""
    words = ["rlm", "eval"]
    for parameter in ctx.command.params:
        value, source = ctx.params.get(parameter.name or ""), ctx.get_parameter_source(parameter.name or "")
        if source is None or source.name != "COMMANDLINE" or parameter.name in UNTOLD:
            continue
        if parameter.param_type_name == "argument":
            words += list(value or [])
            continue
        name = parameter.opts[0]
        if value is True or value is False:
            words.append(name if value else parameter.secondary_opts[0])
        else:
            each = value if isinstance(value, list | tuple) else [value]
            words += [word for one in each for word in (name, str(one))]
    return shlex.join(words)
