"""`rlm mcp`: an MCP server over stdio, for clients that start it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlm.commands import options
from rlm.errors import ConfigError

if TYPE_CHECKING:
    from rlm.mcpserver.server import DocumentServer

INTERRUPTED = 130
_SECONDS_TO_CLEAN_UP = 15
_SERVER = "Server"


@options.takes_settings()
def mcp(
    ctx: typer.Context,
    root: Annotated[
        list[Path] | None,
        typer.Option(
            "--root",
            metavar="DIR",
            help="A folder beneath which everything may be asked about; may be given several times. "
            "[default: the working directory]",
            rich_help_panel=_SERVER,
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", metavar="N", min=1, help="Runs at the same time.", rich_help_panel=_SERVER)
    ] = 2,
) -> None:
    """Serve the tool ask_documents over stdio, for an MCP client that starts this command.

    Only what lies beneath the roots can be asked about. The settings are the most
    that a call gets: one may lower limits, and raise none. docs/mcp.md has the
    rest, and how to tell a client.

    Needs the extra `mcp`: pip install 'rlm-kernel[mcp]'.
    """
    try:
        from mcp.server.lowlevel import Server  # noqa: F401
    except ImportError:
        raise ConfigError("rlm mcp needs an extra: pip install 'rlm-kernel[mcp]'") from None
    from rlm.layers import load_settings

    settings = load_settings(options.given(ctx.params))

    import asyncio
    from importlib.metadata import version

    from rlm.commands.running import reap
    from rlm.commands.telemetry import listeners
    from rlm.mcpserver.roots import Roots
    from rlm.mcpserver.server import DocumentServer

    reap()
    with listeners(settings) as sinks:
        roots = Roots(root or [Path()])
        server = DocumentServer(settings, roots, version=version("rlm-kernel"), workers=workers, sinks=sinks)
        asyncio.run(_serve(server))


async def _serve(server: DocumentServer) -> None:
    """Until the client closes the pipe, or a signal comes; a second one ends at once."""
    import asyncio
    import signal

    loop = asyncio.get_running_loop()
    ending: list[asyncio.Task[None]] = []

    async def end() -> None:
        await asyncio.wait({asyncio.create_task(server.aclose())}, timeout=_SECONDS_TO_CLEAN_UP)
        # A thread waits for the client's next line, and nothing would end that.
        os._exit(INTERRUPTED)

    def stop() -> None:
        if ending:
            os._exit(INTERRUPTED)
        ending.append(asyncio.create_task(end()))

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    await server.serve()
