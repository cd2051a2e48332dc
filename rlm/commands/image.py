"""`rlm image build` and `rlm image prune`: the tag on stdout, what happens on stderr."""

from __future__ import annotations

from typing import Annotated

import typer

from rlm.commands.console import say
from rlm.errors import SandboxError

app = typer.Typer(no_args_is_help=True, help="Build the sandbox image, or remove what older versions left.")


@app.command()
def build(
    from_host: Annotated[
        bool, typer.Option("--from-host", help="Build from this machine's own Python: needs no image registry.")
    ] = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Build anew, even if nothing has changed.")] = False,
) -> None:
    """Build the sandbox image from the Dockerfile, or from this machine's Python; prints its tag."""
    from rlm.kernels import image

    typer.echo(image.build(from_host=from_host, rebuild=rebuild, progress=say))


@app.command()
def prune() -> None:
    """Remove old sandbox images and caches, and what the runs of dead processes left; prints each."""
    from rlm.kernels import environment, guestcode, image, leases, packages, scratch

    for leftover in leases.reap(ask_engine=True):
        typer.echo(f"{leftover.kind} {leftover.name}")
    for folder in (*scratch.reap(), *environment.prune(), *guestcode.prune(), *packages.prune()):
        typer.echo(str(folder))
    try:
        tags = image.prune()
    except SandboxError as error:
        say(f"images are left alone: {error}")
        return
    for tag in tags:
        typer.echo(tag)
