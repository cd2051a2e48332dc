"""`rlm prompts list|show`: what models are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rlm.commands import complete, options
from rlm.commands.console import print_answer, print_json, print_line
from rlm.errors import ConfigError

if TYPE_CHECKING:
    from rlm.config import Settings

app = typer.Typer(no_args_is_help=True, help="Show what models are told: the texts that come with rlm, or your own.")


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print one object with all of it.")] = False) -> None:
    """List the texts that models are told, with one line on each."""
    from rlm.prompts import shipped

    found = shipped()
    if as_json:
        print_json({"prompts": [{"name": each.name, "about": each.about} for each in found]})
        return
    width = max(len(each.name) for each in found)
    for each in found:
        print_line(f"{each.name:<{width}}  {each.about}")


@app.command("show")
@options.takes_settings(without=("prompt",))
def show(
    ctx: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE",
            help="A text that comes with rlm, or, with --rendered, a root prompt of your own.",
            show_default=False,
            autocompletion=complete.prompts,
        ),
    ],
    *,
    rendered: Annotated[
        bool,
        typer.Option(
            "--rendered",
            help="As the model gets it with the settings that hold here: for root, sub, tool and files. Tools and "
            "functions are left out.",
        ),
    ] = False,
) -> None:
    """Show a text as its template, or as the model gets it.

    `rlm prompts show root > mine.md` is a beginning for a prompt of your own,
    and `rlm prompts show mine.md --rendered` says whether it can be rendered.
    docs/prompts.md has the variables.
    """
    from rlm.layers import load_settings
    from rlm.prompts import shipped

    if rendered:
        print_answer(_rendered(name, load_settings(options.given(ctx.params))))
        return
    for each in shipped():
        if each.name == name:
            print_answer(each.text)
            return
    raise ConfigError(f"no prompt {name!r}: `rlm prompts list` has those that come with rlm")


def _rendered(name: str, settings: Settings) -> str:
    from rlm import parts
    from rlm.briefing import system_prompt
    from rlm.prompts import render, shipped
    from rlm.tools import Toolbox

    if name == "sub":
        return render("sub", tools=False)
    if name == "tool":
        return render("tool")
    if name != "root" and name in {each.name for each in shipped()}:
        raise ConfigError(f"{name}: what fills it is known within a run only; without --rendered its template is shown")
    # Which model it is for makes no difference but for its window.
    settings = settings.model_copy(update={"prompt": name, "model": settings.model_at(0) or "any"})
    return system_prompt(settings, parts.models(settings), Toolbox(), 0, settings.max_turns, install_asks=False)
