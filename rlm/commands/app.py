"""The command tree, and the one place where errors become lines on stderr and exit codes."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from rlm.commands import (
    ask,
    batch,
    config,
    demo,
    doctor,
    eval,
    export,
    image,
    inputs,
    mcp,
    prompts,
    replay,
    resume,
    runs,
    serve,
    version,
    view,
)
from rlm.commands.console import debug_traceback, say_error
from rlm.errors import RLMError

INTERRUPTED = 130

app = typer.Typer(
    name="rlm",
    help="Recursive Language Models: a model answers questions about inputs of any size by writing code, "
    "which runs in a sandbox and calls sub-models in parallel.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("ask")(ask.ask)
app.command("batch")(batch.batch)
app.add_typer(config.app, name="config")
app.command("demo")(demo.demo)
app.command("eval")(eval.evaluate)
app.command("export")(export.export)
app.command("doctor")(doctor.doctor)
app.add_typer(image.app, name="image")
app.command("inputs")(inputs.inputs)
app.command("mcp")(mcp.mcp)
app.add_typer(prompts.app, name="prompts")
app.command("replay")(replay.replay)
app.command("resume")(resume.resume)
app.add_typer(runs.app, name="runs")
app.command("serve")(serve.serve)
app.command("view")(view.view)
app.command("version")(version.version)


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit code. Errors are one line on stderr; RLM_DEBUG=1 adds the traceback."""
    try:
        code = typer.main.get_command(app).main(list(arguments), prog_name="rlm", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except typer.TyperException as error:
        say_error(error.format_message())
        return error.exit_code
    except RLMError as error:
        debug_traceback()
        say_error(str(error))
        return error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:
        debug_traceback()
        say_error(f"unexpected {type(error).__name__}: {error} (RLM_DEBUG=1 shows the traceback)")
        return RLMError.exit_code
