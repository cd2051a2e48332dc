"""`Toolbox`: the tools and functions of one run, for its sub-LLMs and for its REPL."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from rlm.protocols import ToolOutput
from rlm.tools.base import BaseTool
from rlm.tools.collect import collect
from rlm.tools.failures import ToolFailure, one_line
from rlm.tools.mcp import Connection
from rlm.tools.shipping import ShippedFunction
from rlm.tools.signatures import SignatureText
from rlm.tools.values import compact, cut, readable

MAX_RESULT = 4 << 20
"""Bytes of a result, as JSON, that the REPL can get."""
MAX_MISTAKE = 1000
"""Characters that are said to a model which calls what there is not."""


class Toolbox:
    """Routes calls: sub-LLMs reach the tools for them, the REPL its own and the functions.

    All that callers send is hostile. Use it in the event loop that it was opened in, from any number of tasks.
    """

    def __init__(
        self,
        tools: Iterable[BaseTool] = (),
        functions: Iterable[BaseTool] = (),
        shipped: Iterable[ShippedFunction] = (),
    ) -> None:
        by_name = sorted(tools, key=lambda tool: tool.name)
        self._tools = {tool.name: tool for tool in by_name}
        self._functions = {function.name: function for function in functions}
        self._for_subs = {tool.name: tool for tool in by_name if tool.route != "root"}
        self._for_root = {tool.name: tool for tool in by_name if tool.route != "sub"} | self._functions
        self._shipped = list(shipped)
        self.definitions: list[dict[str, Any]] = [_definition(tool) for tool in self._for_subs.values()]
        """The tools of sub-LLMs, in the shape of Chat Completions, sorted by name."""
        self.version = digest(self.definitions)
        """Differs when the definitions do; empty without any."""
        self.read_only = all(tool.read_only for tool in self._for_subs.values())
        """Whether no tool of the sub-LLMs has side effects."""

    @property
    def shipped(self) -> list[dict[str, str]]:
        """`{"name", "source", "summary"}` of each function that runs in the sandbox."""
        return [{"name": each.name, "source": each.source, "summary": each.summary} for each in self._shipped]

    def told(self, *, everything: bool) -> dict[str, Any]:
        """What a trace has to know of it; `everything` as in `repl_functions`."""
        return {
            "tools": self.definitions,
            "functions": self.repl_functions(everything),
            "shipped": self.shipped,
            "read_only": self.read_only,
        }

    def repl_functions(self, everything: bool) -> list[SignatureText]:
        """What the REPL gets stubs for, sorted by name; with `everything` the tools of sub-LLMs too."""
        return [tool.signature for _, tool in sorted(self._callable_from_repl(everything).items())]

    async def call(self, name: str, arguments: str) -> ToolOutput:
        """A sub-LLM's call, with the JSON text that the model wrote. Never raises an `Exception`."""
        began = time.monotonic()
        tool = self._for_subs.get(name) if isinstance(name, str) else None
        limit = tool.output_limit if tool else MAX_MISTAKE
        try:
            if tool is None:
                raise ToolFailure(_unknown(name, self._for_subs))
            text, failed = readable(await tool.call(_parsed(arguments)), limit), False
        except ToolFailure as failure:
            text, failed = readable(f"error: {failure}", limit), True
        return ToolOutput(text, failed, time.monotonic() - began)

    async def call_function(self, name: Any, args: Any, kwargs: Any, *, everything: bool) -> Any:
        """A call of the REPL; `everything` as in `repl_functions`. Returns plain JSON. Raises `ToolFailure`."""
        there_are = self._callable_from_repl(everything)
        if not isinstance(name, str) or name not in there_are:
            raise ToolFailure(_unknown(name, there_are))
        if not isinstance(args, list) or not isinstance(kwargs, dict):
            raise ToolFailure("args is a list, kwargs an object")
        tool = there_are[name]
        result = await tool.call(tool.arguments(args, kwargs))
        size = len(compact(result).encode("utf-8", "replace"))
        if size > MAX_RESULT:
            raise ToolFailure(f"a result of {size:,} bytes as JSON; the limit is {MAX_RESULT:,}")
        return result

    def _callable_from_repl(self, everything: bool) -> Mapping[str, BaseTool]:
        return self._for_root | self._tools if everything else self._for_root


@asynccontextmanager
async def open_toolbox(
    tools: Sequence[Any] = (),
    mcp: Sequence[Any] = (),
    functions: Mapping[str, Any] | None = None,
    *,
    reserved: Collection[str] = (),
) -> AsyncIterator[Toolbox]:
    """The toolbox of a run; its servers are started at once, and ended with it.

    `tools` holds callables, `Tool`s and `"module:function"`; `mcp` holds command lines, URLs and `McpServer`s;
    `functions` maps names to callables, `Function`s and `"module:function"`. `reserved` are the names that the
    REPL has anyway. Raises `ConfigError`.
    """
    found = collect(tools, mcp, functions, reserved)
    for server in found.servers:
        server.check()
    connections = [Connection(server) for server in found.servers]
    for connection in connections:
        connection.start()
    try:
        everything = list(found.tools)
        for connection in connections:
            for tool in await connection.tools():
                found.names.add(tool.name, tool.origin)
                everything.append(tool)
        yield Toolbox(everything, found.functions, found.shipped)
    finally:
        await asyncio.gather(*(connection.aclose() for connection in connections))


def _definition(tool: BaseTool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": {key: value for key, value in function.items() if value}}


def digest(definitions: list[dict[str, Any]]) -> str:
    """The version of tools with these definitions."""
    if not definitions:
        return ""
    return hashlib.sha256(json.dumps(definitions, sort_keys=True).encode()).hexdigest()[:16]


def _parsed(arguments: str) -> dict[str, Any]:
    try:
        # Some endpoints send nothing for a call without arguments.
        parsed = json.loads(arguments) if arguments else {}
    except (ValueError, RecursionError, TypeError) as error:
        raise ToolFailure(f"the arguments are not JSON: {one_line(str(error))}") from None
    if not isinstance(parsed, dict):
        raise ToolFailure(f"the arguments are a JSON object, not {type(parsed).__name__}")
    return parsed


def _unknown(name: Any, there_are: Mapping[str, BaseTool]) -> str:
    return f"there is no {cut(str(name), 80)!r}; there are: {', '.join(sorted(there_are)) or 'none'}"
