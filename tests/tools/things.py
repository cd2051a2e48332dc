"""An MCP server for the tests, written with the official package: `things.py stdio`, or `things.py PORT [TOKEN]`."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
import time
from pathlib import Path
from typing import Any

import uvicorn
from mcp import types
from mcp.server import MCPServer

server = MCPServer("things")
READ_ONLY = types.ToolAnnotations(read_only_hint=True)


@server.tool(name="get-weather", annotations=READ_ONLY)
def get_weather(city: str, days: int = 1) -> str:
    """The weather of some days.

    Invented.
    """
    return f"sunny in {city}, {days}"


@server.tool()
def pid() -> int:
    """The process that serves."""
    return os.getpid()


@server.tool()
def variable(name: str) -> str:
    """An environment variable."""
    return os.environ.get(name, "")


@server.tool()
def broken() -> str:
    """Always fails."""
    raise ValueError("it is broken")


@server.tool()
def die() -> str:
    """Ends the server."""
    os._exit(3)


@server.tool()
async def hold(seconds: float, told: str = "") -> str:
    """Takes its time, and leaves a file behind if it is cancelled."""
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        if told:
            Path(told).write_text("cancelled", encoding="utf-8")  # noqa: ASYNC240
        raise
    return f"held for {seconds} s"


@server.tool()
def parts() -> types.CallToolResult:
    """Of every kind one."""
    blob = base64.b64encode(bytes(12_345)).decode()
    return types.CallToolResult(
        content=[
            types.TextContent(text="first"),
            types.ImageContent(data=blob, mime_type="image/png"),
            types.AudioContent(data="", mime_type="audio/wav"),
            types.ResourceLink(name="a", uri="file:///a.txt"),
            types.EmbeddedResource(resource=types.TextResourceContents(uri="x:y", text="last")),
            types.EmbeddedResource(resource=types.BlobResourceContents(uri="x:y", blob=blob)),
        ]
    )


@server.tool()
def data(with_image: bool = False) -> types.CallToolResult:
    """Structured content without a text."""
    image = types.ImageContent(data="AAAA", mime_type="image/gif")
    return types.CallToolResult(content=[image] if with_image else [], structured_content={"a": [1, 2]})


def guarded(token: str) -> Any:
    """The server for HTTP; with a token, it answers 401 to whoever does not send it."""
    app = server.streamable_http_app()

    async def check(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and token and dict(scope["headers"]).get(b"x-token") != token.encode():
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await app(scope, receive, send)

    return check


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        sys.stderr.write("things: ready to serve\n")
        server.run("stdio")
    elif sys.argv[1] == "late":
        time.sleep(30)
    else:
        token = sys.argv[2] if len(sys.argv) > 2 else ""
        uvicorn.run(guarded(token), host="127.0.0.1", port=int(sys.argv[1]), log_level="critical")
