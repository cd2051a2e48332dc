"""`rlm resume`: go on with a run that was killed or interrupted, or whose endpoint failed."""

from __future__ import annotations

import typer

from rlm.commands import options

# What may differ from the settings that the run began with.
CHANGEABLE = (
    "base_url",
    "sub_base_url",
    "headers",
    "request_timeout",
    "concurrency",
    "tools",
    "mcp",
    "functions",
    "max_turns",
    "max_sub_calls",
    "max_tokens",
    "max_cost",
    "timeout",
    "sandbox",
    "runtime",
    "memory",
    "cpus",
    "trace_dir",
    "otel",
)


@options.takes_settings(only=CHANGEABLE)
def resume(
    ctx: typer.Context,
    run: options.Run = None,
    *,
    as_json: options.Json = False,
    stream_json: options.StreamJson = False,
    display: options.Display = None,
    quiet: options.Quiet = False,
) -> None:
    """Go on with a run whose process was killed or interrupted, or whose endpoint failed.

    Nothing that had arrived is asked, or paid, again. The cells are executed
    again to rebuild the REPL; if one does something else than before, this is
    said. A run that has ended otherwise prints its result.

    Settings are those that the run began with, unless given here; keys come
    from the environment. Exit codes are those of rlm ask.
    """
    from rlm.commands.records import open_record

    options.check_output(as_json=as_json, stream_json=stream_json, quiet=quiet, display=display)
    record, settings = open_record(run, options.given(ctx.params))

    from rlm.commands.console import say
    from rlm.commands.running import Output, report, run_and_report
    from rlm.result import RunResult

    output = Output(json=as_json, stream_json=stream_json, quiet=quiet, display=display)
    if record.end is not None:
        if not quiet:
            say(f"the run {record.run_id} has ended: {record.end['stop_reason']}")
        report(record.end, output)
        raise typer.Exit(RunResult.from_dict(record.end).exit_code)
    raise typer.Exit(run_and_report(settings, record.question, [], output, record=record))
