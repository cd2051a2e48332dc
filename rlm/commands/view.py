"""`rlm view`: a run in the browser, also while it goes on."""

from __future__ import annotations

import importlib.util
import os
import sys
import webbrowser
from typing import Annotated

import typer

from rlm.commands import options
from rlm.commands.console import print_line, say
from rlm.errors import ConfigError

NEEDED = ("starlette", "uvicorn")


def view(
    run: options.Run = None,
    compare: Annotated[
        str | None,
        typer.Option(
            "--compare",
            metavar="OTHER",
            help="Show RUN and this one side by side, turn by turn.",
            show_default=False,
            autocompletion=options.complete_run,
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            metavar="N",
            min=0,
            max=65535,
            help="The port on 127.0.0.1; 0 is any free one. [default: 7575 if it is free, else any]",
            show_default=False,
        ),
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    trace_dir: options.TraceDir = None,
) -> None:
    """Show a run in the browser: its tree, each turn, prompts, replies, costs.

    A run that goes on is followed as it grows. The server listens on this
    machine's loopback only, wants the token that the printed address holds, and
    ends with Ctrl-C.

    Needs the extra `server`: pip install 'rlm-kernel[server]'.
    """
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        raise ConfigError("the viewer needs an extra: pip install 'rlm-kernel[server]'")
    from rlm.trace.reader import find, traces
    from rlm.view.library import Library
    from rlm.view.server import ViewServer

    trace_dir = options.runs_place(trace_dir)
    nothing_yet = run is None and compare is None and not traces(trace_dir)
    shown = None if nothing_yet else find(run, trace_dir)
    other = find(compare, trace_dir) if compare else None
    library = Library(trace_dir, [trace for trace in (shown, other) if trace])
    server = ViewServer(library, port=port)
    names = (shown.run_id if shown else None, other.run_id if other else None)
    print_line(server.url(*names))
    say("the viewer runs until Ctrl-C")
    if not no_browser and _has_screen():
        webbrowser.open(server.url(*names, once=True))
    try:
        server.run()
    except KeyboardInterrupt:
        return


def _has_screen() -> bool:
    """Without one, a browser for terminals would be started in this very terminal."""
    return sys.platform != "linux" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
