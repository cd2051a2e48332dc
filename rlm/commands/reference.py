"""`python -m rlm.commands.reference` prints docs/cli.md: the help of every command, as Markdown."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any

import typer

from rlm.commands.app import app

HEAD = """\
# The command line

Generated from the commands' help by `make docs`; a test checks that it is current.

Options may also stand in `./rlm.toml` (a project's file cannot set endpoints, keys, headers, prices, the process
sandbox or trace folders), in the user's `config.toml`, and in `RLM_*` variables:
flags > `RLM_*` > `rlm.toml` > the user's `config.toml` > `OPENAI_API_KEY`, `OPENAI_BASE_URL` > defaults.

| exit code | meaning |
|---|---|
| 0 | answered |
| 1 | the run failed |
| 2 | wrong usage or configuration; nothing was spent |
| 3 | a limit was reached; the best draft is printed |
| 4 | the endpoint failed, or refused the key |
| 5 | the sandbox failed, or there is none |
| 130 | interrupted; the best draft is printed |

With `--json` the same names as in Python's `RunResult` are printed as one object, on every exit code but 2;
`metrics` holds the run's figures (see docs/events.md).
"""


def reference() -> str:
    """The whole page."""
    root = typer.main.get_command(app)
    return HEAD + "".join(_section(command, name) for name, command in _walk(root, "rlm"))


def _walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield name, command
        return
    for child, sub in children.items():
        yield from _walk(sub, f"{name} {child}")


def _section(command: Any, name: str) -> str:
    parameters = [parameter for parameter in command.params if "--help" not in parameter.opts]
    arguments = [parameter for parameter in parameters if parameter.param_type_name == "argument"]
    options = [parameter for parameter in parameters if parameter.param_type_name == "option"]
    usage = " ".join([name, *(["[OPTIONS]"] if options else []), *(_argument(argument) for argument in arguments)])
    text = f"\n## `{name}`\n\n```\n{usage}\n```\n\n{inspect.cleandoc(command.help or '')}\n"
    for argument in arguments:
        text += f"\n`{_argument(argument)}`: {argument.help}\n"
    for panel in dict.fromkeys(_panel(option) for option in options):
        text += f"\n| {panel} | |\n|---|---|\n"
        text += "".join(_row(option) for option in options if _panel(option) == panel)
    return text


def _argument(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _panel(option: Any) -> str:
    return str(option.rich_help_panel or "Options")


def _row(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in option.opts)
    value = "" if option.is_flag else f" `{_cell(option.metavar or 'TEXT')}`"
    return f"| {names}{value} | {_cell(option.help)} |\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(reference())
