"""`rlm serve`: an OpenAI-compatible endpoint behind which each request is a run."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from rlm.commands import options
from rlm.commands.console import print_line, say
from rlm.errors import ConfigError

NEEDED = ("starlette", "uvicorn", "python_multipart", "prometheus_client")
_SERVER = "Server"


def _option(name: str, metavar: str, help: str, default: object = None, **more: Any) -> Any:
    # The default stands in the text, as it does for the settings: docs/cli.md is made of it.
    told = help if default is None else f"{help} [default: {default}]"
    return typer.Option(name, metavar=metavar, help=told, rich_help_panel=_SERVER, show_default=False, **more)


@options.takes_settings()
def serve(
    ctx: typer.Context,
    host: Annotated[
        str, _option("--host", "ADDRESS", "Where to listen; off loopback, keys are required.", "127.0.0.1")
    ] = "127.0.0.1",
    port: Annotated[int, _option("--port", "N", "The port; 0 is any free one.", 8000, min=0, max=65535)] = 8000,
    api_key_file: Annotated[
        Path | None,
        _option(
            "--api-key-file",
            "FILE",
            "Keys of which each request needs one, a line each; those of RLM_SERVE_KEYS count too.",
        ),
    ] = None,
    name: Annotated[str, _option("--serve-name", "NAME", "What the model is called.", "rlm")] = "rlm",
    workers: Annotated[int, _option("--workers", "N", "Runs at the same time.", 4, min=1)] = 4,
    queue: Annotated[int, _option("--queue", "N", "Requests that may wait; further ones get a 429.", 16, min=0)] = 16,
    long_message: Annotated[
        int,
        _option(
            "--long-message",
            "N",
            "Characters: a longer message becomes the input, and its last paragraph the question.",
            4000,
            min=1,
        ),
    ] = 4000,
    max_body: Annotated[str, _option("--max-body", "SIZE", "Most of a request's JSON.", "64m")] = "64m",
    max_file: Annotated[str, _option("--max-file", "SIZE", "Most of one document.", "256m")] = "256m",
    max_storage: Annotated[str, _option("--max-storage", "SIZE", "Most of all uploads together.", "4g")] = "4g",
    file_ttl: Annotated[
        float, _option("--file-ttl", "SECONDS", "How long an uploaded file is kept.", 86400, min=1)
    ] = 86_400,
    grace: Annotated[
        float,
        _option(
            "--grace",
            "SECONDS",
            "How long running requests may take to end after SIGTERM; then they return their drafts.",
            30,
            min=0,
        ),
    ] = 30,
) -> None:
    """Serve runs as an OpenAI-compatible endpoint: any client gets an RLM by changing its base URL.

    The settings are the most that a request gets: one may lower limits, and
    raise none. The first SIGINT or SIGTERM takes no more requests and waits for
    those that go on, the second one ends at once. docs/serve.md has the rest.

    Needs the extra `server`: pip install 'rlm-kernel[server]'.
    """
    if any(importlib.util.find_spec(package) is None for package in NEEDED):
        raise ConfigError("rlm serve needs an extra: pip install 'rlm-kernel[server]'")
    from rlm.layers import load_settings

    settings = load_settings(options.given(ctx.params))

    import asyncio

    from rlm.commands.running import reap
    from rlm.commands.telemetry import listeners
    from rlm.serve.keys import load
    from rlm.serve.options import ServeOptions
    from rlm.serve.server import RlmServer

    chosen = ServeOptions(
        host=host,
        port=port,
        name=name,
        workers=workers,
        queue=queue,
        long_message=long_message,
        max_body=_size("--max-body", max_body),
        max_file=_size("--max-file", max_file),
        max_storage=_size("--max-storage", max_storage),
        file_ttl=file_ttl,
        grace=grace,
    )
    reap()
    with listeners(settings) as sinks:
        server = RlmServer(settings, chosen, keys=load(api_key_file), log=say, sinks=sinks)
        asyncio.run(server.serve(ready=_teller(server.url)))


def _teller(url: str) -> Callable[[], None]:
    """Tells the address on stdout once it may be asked."""
    return lambda: print_line(url)


def _size(option: str, text: str) -> int:
    from rlm.config import parse_size

    size = parse_size(text)
    if not isinstance(size, int) or size < 1:
        raise ConfigError(f"{option}: {text!r} is not a size such as 64m")
    return size
