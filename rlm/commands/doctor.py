"""`rlm doctor`: can a run succeed on this machine, and if not, what mends it?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer

from rlm.commands import checks
from rlm.commands.console import print_json, print_line


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as one JSON object.")] = False,
) -> None:
    """Check Python, the sandboxes, leftovers, the endpoint and the trace folder.

    Exit codes: 0 a run is possible, 5 no sandbox works, 4 the configured
    endpoint does not, 2 the configuration or the trace folder cannot be used.
    A note is no failure.
    """
    found = []
    for check in _checks():
        found.append(check)
        if not as_json:
            print_line(f"{check.status:<4}  {check.name}: {check.detail}")
            if check.fix and check.status != "ok":
                print_line(f"      -> {check.fix}")
    code = next((check.exit_code for check in found if check.status == "fail" and check.exit_code), 0)
    if as_json:
        print_json({"ok": code == 0, "checks": [asdict(check) for check in found]})
    raise typer.Exit(code)


def _checks() -> Iterator[checks.Check]:
    yield checks.python()
    configuration, settings = checks.configuration()
    yield configuration
    yield from checks.sandboxes()
    yield checks.leftovers()
    if settings is not None:
        yield checks.endpoint(settings)
        yield checks.state_folder(settings)
