"""What all tools have in common, wherever their work is done: a name, limits, and calls that keep to them."""

from __future__ import annotations

import asyncio
import keyword
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, get_args

from rlm.errors import ConfigError
from rlm.tools.failures import ToolFailure, reason
from rlm.tools.places import Place, Places
from rlm.tools.signatures import SignatureText

Route = Literal["sub", "root", "both"]
"""Who may call a tool: the sub-LLMs, the root's code in the REPL, or both."""

Work = Callable[[Place], Awaitable[Any]]
"""One call, ready to run. It frees its place when nothing of it runs any more."""

MIN_OUTPUT = 100
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class BaseTool(ABC):
    """A named callable of the host with a description for models.

    `route` says who may call it; `timeout` is the seconds of one call, the wait for its turn included;
    `concurrency` the calls at once, in all runs that use this object; `output_limit` the characters of a result
    that a sub-LLM sees; `read_only` that it has no side effects, so that calls may be reordered.
    Raises `ConfigError` for a bad option.
    """

    kind = "tool"
    """What errors call it."""
    parameters: dict[str, Any]
    """JSON Schema of the arguments: an object."""
    signature: SignatureText
    """How it looks in the REPL."""

    def __init__(
        self,
        *,
        name: str,
        description: str,
        route: Route,
        timeout: float,
        concurrency: int,
        output_limit: int,
        read_only: bool,
    ) -> None:
        self.name = check_name(name, self.kind)
        check_limits(self.label, route=route, timeout=timeout, concurrency=concurrency, output_limit=output_limit)
        self.description = description
        self.route = route
        self.timeout = timeout
        self.concurrency = concurrency
        self.output_limit = output_limit
        self.read_only = read_only
        self._places = Places(concurrency)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, route={self.route!r})"

    @property
    def label(self) -> str:
        """What errors call this one."""
        return f"{self.kind} {self.name!r}"

    @property
    def origin(self) -> str:
        """Where it comes from, for errors about two of the same name."""
        return self.label

    @abstractmethod
    def _bind(self, arguments: Mapping[str, Any]) -> Work:
        """The call with these arguments. Raises `ToolFailure` for bad ones."""

    async def call(self, arguments: Mapping[str, Any]) -> Any:
        """Run it once; returns plain JSON. Raises `ToolFailure`, and no other `Exception`.

        A call that is cancelled, or that takes too long, is cancelled itself if it is async; a thread goes on
        behind it, and keeps its place until it ends.
        """
        work = self._bind(arguments)
        running = False
        clock = asyncio.timeout(self.timeout)
        try:
            async with clock:
                place = await self._places.take()
                running = True
                return await work(place)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise ToolFailure(reason(error)) from error
        except ToolFailure:
            raise
        except (Exception, SystemExit) as error:
            if not clock.expired():
                raise ToolFailure(reason(error)) from error
            raise ToolFailure(self._too_late(running)) from None

    def _too_late(self, running: bool) -> str:
        if running:
            return f"timed out after {self.timeout:g} s"
        return f"no turn within {self.timeout:g} s: {self.concurrency} other calls were running"

    def arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call as in Python, by name. Raises `ToolFailure`."""
        names = [each["name"] for each in self.signature["parameters"] if each["kind"] != "KEYWORD_ONLY"]
        if len(args) > len(names):
            raise ToolFailure(f"{self.name}() takes {len(names)} positional arguments; {len(args)} were given")
        by_position = dict(zip(names, args, strict=False))
        if twice := by_position.keys() & kwargs.keys():
            raise ToolFailure(f"{self.name}() got {min(twice)!r} twice")
        return {**by_position, **kwargs}


def check_name(name: Any, kind: str) -> str:
    """Raises `ConfigError` unless `name` can be both a tool's name at an endpoint and a variable of the REPL."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise ConfigError(f"{kind}: {str(name)[:80]!r} is no usable name: letters, digits and _, at most 64 characters")
    return name


def check_limits(
    label: str, *, timeout: Any, concurrency: Any, route: Any = "sub", output_limit: Any = MIN_OUTPUT
) -> None:
    """Raises `ConfigError` for a bad route or limit."""
    if route not in get_args(Route):
        raise ConfigError(f"{label}: route is one of {', '.join(get_args(Route))}, not {route!r}")
    if not _is_number(timeout, int | float) or not 0 < timeout < math.inf:
        raise ConfigError(f"{label}: timeout is a positive number of seconds, not {timeout!r}")
    if not _is_number(concurrency, int) or concurrency < 1:
        raise ConfigError(f"{label}: concurrency is at least 1, not {concurrency!r}")
    if not _is_number(output_limit, int) or output_limit < MIN_OUTPUT:
        raise ConfigError(f"{label}: output_limit is at least {MIN_OUTPUT} characters, not {output_limit!r}")


def _is_number(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
