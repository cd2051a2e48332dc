"""Tools of MCP servers. Only this module knows the `mcp` package, which it imports when a server is used."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import os
import shlex
import shutil
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rlm.errors import ConfigError
from rlm.tools.base import BaseTool, Route, Work, check_limits
from rlm.tools.content import result_of, sendable
from rlm.tools.failures import ToolFailure, at_heart, one_line, reason
from rlm.tools.places import Place
from rlm.tools.signatures import identifier, schema_signature
from rlm.tools.stderr import StderrTail

if TYPE_CHECKING:
    from mcp import Client, types

START = 60.0
"""Seconds that a server may take until it has told its tools: some are downloaded by the command that starts them."""
MAX_PAGES = 100
"""Pages of a list of tools."""

# Where nobody listens to the package's log, what it says would go to the user's terminal.
logging.getLogger("mcp").addHandler(logging.NullHandler())


class McpServer:
    """An MCP server whose tools a run may use: a command line, which is started, or an http(s) URL.

    `name` is for messages; `tools` are those of its tools that are wanted (default: all), by the server's names.
    A started server gets a few variables of the environment, such as PATH and HOME, and `env`; a URL is asked with
    `headers`. `route`, `timeout` (seconds of one call), `concurrency` and `output_limit` (characters) hold for each
    of its tools; see `rlm.Tool`. Raises `ConfigError`.
    """

    def __init__(
        self,
        command_or_url: str,
        *,
        name: str | None = None,
        route: Route = "sub",
        tools: Collection[str] | None = None,
        env: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        concurrency: int = 8,
        output_limit: int = 16_384,
    ) -> None:
        self.url = command_or_url if command_or_url.startswith(("http://", "https://")) else None
        self.command = () if self.url else _words(command_or_url)
        self.name = name or (_short_url(self.url) if self.url else _short_command(self.command))
        check_limits(self.label, route=route, timeout=timeout, concurrency=concurrency, output_limit=output_limit)
        if isinstance(tools, str):
            raise ConfigError(f"{self.label}: tools is a list of names, not one text")
        if self.url and env:
            raise ConfigError(f"{self.label}: env is for servers that are started, not for a URL")
        if headers and not self.url:
            raise ConfigError(f"{self.label}: headers are for a URL, not for a command")
        self.tools = None if tools is None else tuple(tools)
        self.route = route
        self.env = dict(env or {})
        self.headers = dict(headers or {})
        self.timeout = timeout
        self.concurrency = concurrency
        self.output_limit = output_limit

    def __repr__(self) -> str:
        # Not the command, the URL, the environment or the headers: they may hold keys.
        return f"McpServer(name={self.name!r}, route={self.route!r})"

    @property
    def label(self) -> str:
        """What errors call it."""
        return f"mcp server {self.name!r}"

    def check(self) -> None:
        """Raises `ConfigError` for what can be found wrong without starting it."""
        _check_package()
        if self.command and shutil.which(self.command[0], path=self.env.get("PATH")) is None:
            raise ConfigError(f"{self.label}: there is no command {self.command[0]!r}")

    def wanted(self, offered: list[types.Tool]) -> list[types.Tool]:
        """Those of the server's tools that are to be used. Raises `ConfigError` for one that it does not have."""
        if self.tools is None:
            return offered
        if missing := set(self.tools) - {each.name for each in offered}:
            there_are = ", ".join(sorted(each.name for each in offered)) or "none"
            raise ConfigError(f"{self.label}: it has no tool {min(missing)!r}; there are: {there_are}")
        return [each for each in offered if each.name in self.tools]


class McpTool(BaseTool):
    """A tool of a server, under a name that Python can use."""

    def __init__(self, connection: Connection, tool: types.Tool) -> None:
        server = connection.server
        super().__init__(
            name=identifier(tool.name),
            description=inspect.cleandoc(tool.description or tool.title or ""),
            route=server.route,
            timeout=server.timeout,
            concurrency=server.concurrency,
            output_limit=server.output_limit,
            read_only=bool(tool.annotations and tool.annotations.read_only_hint),
        )
        self.original = tool.name
        self.parameters = {"type": "object", "properties": {}, **tool.input_schema}
        self.parameters.pop("$schema", None)
        self.signature, self._names = schema_signature(self.name, self.description, self.parameters)
        self._connection = connection

    @property
    def origin(self) -> str:
        return f"tool {self.original!r} of {self._connection.server.label}"

    def arguments(self, args: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        by_name = super().arguments(args, kwargs)
        return {self._names.get(name, name): value for name, value in by_name.items()}

    def _bind(self, arguments: Mapping[str, Any]) -> Work:
        # The server checks them by its schema. Here, that they can be sent: an error in sending ends the connection.
        sendable(arguments)

        async def work(place: Place) -> Any:
            try:
                return result_of(await self._connection.call(self.original, dict(arguments)), self.output_limit)
            finally:
                place.free()

        return work


class Connection:
    """An open connection to a server; it lives in a task of its own, from `start` to `aclose`.

    A process that ends is not started again: what it knew is gone. A URL is tried again by the next call.
    """

    def __init__(self, server: McpServer) -> None:
        self.server = server
        self._closing = asyncio.Event()
        self._client: Client | None = None
        self._stderr: StderrTail | None = None
        self._reconnecting = asyncio.Lock()

    def start(self) -> None:
        """Begin to connect; does not wait."""
        self._ready: asyncio.Future[list[types.Tool]] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._live(), name=f"rlm-{self.server.label}")

    async def tools(self) -> list[McpTool]:
        """Its tools, when it is up. Raises `ConfigError`, with the server's last words, if it does not come up."""
        await asyncio.wait({self._ready})
        return [McpTool(self, each) for each in self.server.wanted(self._ready.result())]

    async def call(self, name: str, arguments: dict[str, Any]) -> types.CallToolResult:
        """Raises `ToolFailure`."""
        from mcp import MCPError

        client = self._client or await self._again()
        try:
            return await client.call_tool(name, arguments)
        except MCPError as error:
            raise ToolFailure(f"{self.server.label}: {one_line(str(error))}") from error
        except Exception as error:
            # No more than its kind: the text of a transport's error may hold the URL, and with it a key.
            raise ToolFailure(f"{self.server.label}: {type(error).__name__}") from error

    async def _again(self) -> Client:
        if self.server.url is not None:
            async with self._reconnecting:
                if self._client is None and self._ready.done() and not self._closing.is_set():
                    await asyncio.wait({self._task})
                    self.start()
                await asyncio.wait({self._ready})
        if self._client is None:
            raise ToolFailure(f"{self.server.label} has ended")
        return self._client

    async def aclose(self) -> None:
        """End it, and wait until the process is gone. The server's own troubles with that are nobody's."""
        self._closing.set()
        if not self._ready.done():
            self._task.cancel()
        await asyncio.wait({self._task})

    async def _live(self) -> None:
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(START):
                    client = await self._open(stack)
                    offered = await _list_tools(client)
                self._client = client
                self._ready.set_result(offered)
                await self._closing.wait()
        except Exception as error:
            if not self._ready.done():
                self._ready.set_exception(await self._not_started(error))
                self._ready.exception()  # another server's failure may end the run before anyone asks for this one
        finally:
            self._client = None
            self._ready.cancel()

    async def _open(self, stack: AsyncExitStack) -> Client:
        import httpx2
        from mcp import Client, StdioServerParameters, stdio_client
        from mcp.client.streamable_http import streamable_http_client

        server = self.server
        if server.url is None:
            command, *args = server.command
            parameters = StdioServerParameters(command=command, args=args, env=server.env)
            self._stderr = stack.enter_context(StderrTail())
            return await stack.enter_async_context(Client(stdio_client(parameters, errlog=self._stderr.file)))
        # A call has a timeout of its own, and a result may be long in coming.
        http = httpx2.AsyncClient(headers=server.headers, timeout=httpx2.Timeout(30, read=None))
        await stack.enter_async_context(http)
        return await stack.enter_async_context(Client(streamable_http_client(server.url, http_client=http)))

    async def _not_started(self, error: Exception) -> ConfigError:
        why = f"no answer within {START:g} s" if isinstance(at_heart(error), TimeoutError) else reason(error)
        if self._stderr is not None and (last := await asyncio.to_thread(self._stderr.last_line)):
            why = f"{why}; its last words: {one_line(last)}"
        return ConfigError(f"{self.server.label}: {why}")


async def _list_tools(client: Client) -> list[types.Tool]:
    tools: list[types.Tool] = []
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        cursor = page.next_cursor
        if not cursor:
            break
    return tools


def _check_package() -> None:
    try:
        from mcp import Client  # noqa: F401
    except ImportError:
        raise ConfigError("mcp: the package 'mcp' is missing or old: pip install 'rlm-kernel[mcp]'") from None


def _words(command: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise ConfigError(f"mcp: a command line that cannot be read: {error}") from None
    if not words:
        raise ConfigError("mcp: a server is a command line or a URL, not an empty text")
    return words


def _short_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"mcp: a URL that cannot be read: {error}") from None
    if not parts.hostname:
        raise ConfigError("mcp: a URL without a host")
    return f"{parts.hostname}:{port}" if port else parts.hostname


def _short_command(command: tuple[str, ...]) -> str:
    """`uvx mcp-server-git`: the program, and what it runs if it is a runner. Options, and what follows a long one,
    may hold keys."""
    pairs = itertools.pairwise(command)
    plain = [each for before, each in pairs if not each.startswith("-") and not before.startswith("--")]
    return " ".join(os.path.basename(each)[:40] for each in (command[0], *plain[:1]))
