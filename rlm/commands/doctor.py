"""`rlm doctor`: can a run succeed on this machine, and if not, what mends it?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer

from rlm.commands import checks, complete, options, walls
from rlm.commands.console import print_json, print_line
from rlm.errors import ConfigError

_ENDPOINT = ("base_url", "api", "provider", "headers", "root_params", "context_window", "request_timeout")
_MODEL = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help="Try this model at the endpoint instead of looking at the machine: streaming, tools, structured output, "
        "images, context window, concurrency. It takes about a dozen requests of a few words each, which are paid for.",
        rich_help_panel="Models",
        show_default=False,
    ),
]


@options.takes_settings(only=("model", *_ENDPOINT), model=_MODEL)
def doctor(
    ctx: typer.Context,
    sandbox: Annotated[
        str | None,
        typer.Option(
            "--sandbox",
            metavar="docker|bwrap|process",
            autocompletion=complete.one_of("docker|bwrap|process"),
            help="The sandbox to try; the one that auto takes if not given.",
        ),
    ] = None,
    runtime: options.Runtime = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as one JSON object.")] = False,
) -> None:
    """Check Python, the sandboxes, leftovers, the endpoint and the trace folder.

    One sandbox is tried property by property, by code that runs in it: each is
    ok, or weaker, or none, with the reason. docs/security.md has the table.

    With --model one model is tried instead, for real: what it can do, what not,
    what could not be found out, and what to set. docs/providers.md says what is
    known of providers beforehand.

    Exit codes: 0 a run is possible, 5 no sandbox works, 4 the configured
    endpoint does not, 2 the configuration or the trace folder cannot be used.
    A note is no failure.
    """
    found = []
    if sandbox not in (None, "docker", "bwrap", "process"):
        raise ConfigError(f"--sandbox: {sandbox!r} is none of docker, bwrap, process")
    if runtime is not None and sandbox not in (None, "docker"):
        raise ConfigError("--runtime: only the docker sandbox has runtimes")
    given = options.given(ctx.params)
    flags = {name: given[name] for name in ("model", *_ENDPOINT) if name in given}
    for check in _model_checks(flags) if "model" in flags else _checks(sandbox, runtime, flags):
        found.append(check)
        if not as_json:
            print_line(f"{check.status:<4}  {check.name}: {check.detail}")
            if check.fix and (check.status != "ok" or "model" in flags):
                for line in check.fix.splitlines():
                    print_line(f"      -> {line}")
    code = next((check.exit_code for check in found if check.status == "fail" and check.exit_code), 0)
    if as_json:
        print_json({"ok": code == 0, "checks": [asdict(check) for check in found]})
    raise typer.Exit(code)


def _model_checks(flags: Mapping[str, Any]) -> Iterator[checks.Check]:
    from rlm.commands.modelcheck import model_checks

    configuration, settings = checks.configuration(flags)
    if settings is None:
        yield configuration
    else:
        yield from model_checks(settings, flags["model"])


def _checks(sandbox: str | None, runtime: str | None, flags: Mapping[str, Any]) -> Iterator[checks.Check]:
    yield checks.python()
    configuration, settings = checks.configuration(flags)
    yield configuration
    yield from checks.sandboxes()
    yield from walls.walls(sandbox, runtime)
    yield checks.leftovers()
    if settings is not None:
        yield checks.endpoint(settings)
        yield checks.state_folder(settings)
