"""What a user gives as tools, servers and functions, made into what a run works with; every mistake is found here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rlm.errors import ConfigError
from rlm.tools.base import BaseTool
from rlm.tools.functions import Function
from rlm.tools.locate import load
from rlm.tools.mcp import McpServer
from rlm.tools.shipping import ShippedFunction
from rlm.tools.tool import Tool


class Names:
    """Names that are taken, and by what: the REPL's own, tools and functions share one space."""

    def __init__(self, reserved: Collection[str]) -> None:
        self._owner = dict.fromkeys(reserved, "")

    def add(self, name: str, owner: str) -> None:
        """Raises `ConfigError`, naming both, if it is taken."""
        if name in self._owner:
            other = self._owner[name]
            raise ConfigError(f"{owner}: {name!r} is {f'also {other}' if other else 'a name of the REPL itself'}")
        self._owner[name] = owner


class Collected(NamedTuple):
    """Checked, and nothing started."""

    tools: list[BaseTool]
    functions: list[BaseTool]
    shipped: list[ShippedFunction]
    servers: list[McpServer]
    names: Names


def collect(
    tools: Sequence[Any], mcp: Sequence[Any], functions: Mapping[str, Any] | None, reserved: Collection[str]
) -> Collected:
    """Raises `ConfigError`. Imports the modules that are named, and starts nothing."""
    found = Collected([], [], [], [_server(each) for each in _listed("mcp", mcp)], Names(reserved))
    for each in _listed("tools", tools):
        tool = _tool(each)
        found.names.add(tool.name, tool.origin)
        found.tools.append(tool)
    if functions is not None and not isinstance(functions, Mapping):
        raise ConfigError("functions: a mapping of names and functions")
    for name, each in (functions or {}).items():
        function = _function(name, each).called(name, reserved)
        if isinstance(function, ShippedFunction):
            found.names.add(name, f"function {name!r}")
            found.shipped.append(function)
        else:
            found.names.add(name, function.origin)
            found.functions.append(function)
    return found


def check_tools(
    tools: Sequence[Any] = (),
    mcp: Sequence[Any] = (),
    functions: Mapping[str, Any] | None = None,
    reserved: Collection[str] = (),
) -> None:
    """Raises `ConfigError` for every mistake that can be found without starting a server; for the rest see
    `open_toolbox`, which takes the same."""
    for server in collect(tools, mcp, functions, reserved).servers:
        server.check()


def _listed(what: str, given: Any) -> Iterable[Any]:
    # A text is a sequence as well, of letters.
    if isinstance(given, str | Mapping) or not isinstance(given, Sequence):
        raise ConfigError(f"{what}: a list, also for a single one")
    return given


def _tool(given: Any) -> BaseTool:
    if isinstance(given, str):
        given = load(given)
    if isinstance(given, Function | McpServer):
        raise ConfigError(f"tools: {given!r} belongs in {'functions' if isinstance(given, Function) else 'mcp'}")
    if isinstance(given, Tool):
        return given
    if not callable(given):
        raise ConfigError(f"tools: {given!r} is no callable, no Tool, and not 'module:function'")
    return Tool(given)


def _server(given: Any) -> McpServer:
    if isinstance(given, McpServer):
        return given
    if not isinstance(given, str):
        raise ConfigError(f"mcp: {given!r} is no command line, no URL, and no McpServer")
    return McpServer(given)


def _function(name: Any, given: Any) -> Function:
    if isinstance(given, str):
        given = load(given)
    if isinstance(given, Function):
        return given
    if isinstance(given, Tool):
        raise ConfigError(f"function {name!r}: a Tool belongs in tools; with route='root' only the REPL has it")
    if not callable(given):
        raise ConfigError(f"function {name!r}: {given!r} is no callable, no Function, and not 'module:function'")
    return Function(given)
