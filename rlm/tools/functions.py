"""`Function`: a Python function for the REPL of the root model."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from rlm.errors import ConfigError
from rlm.tools.base import check_limits, check_name
from rlm.tools.shipping import ShippedFunction, ship
from rlm.tools.tool import Tool


class FunctionTool(Tool):
    """A function of the host that the REPL's code calls."""

    kind = "function"


class Function:
    """How a function is offered in the REPL, where `functions={"area": …}` names it.

    It runs on the host, and the REPL has a stub of it: arguments and results are JSON, `timeout` (seconds) and
    `concurrency` are those of a `Tool`. With `ship=True` its source is sent instead, and runs inside the sandbox,
    on the sandbox's values and at the sandbox's speed; see `rlm.tools.shipping.ship` for what can be shipped, and
    the limits mean nothing. `description` replaces the docstring. Raises `ConfigError`.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        ship: bool = False,
        description: str | None = None,
        timeout: float = 60.0,
        concurrency: int = 8,
    ) -> None:
        if not callable(function):
            raise ConfigError(f"function: {function!r} cannot be called")
        label = f"function {getattr(function, '__name__', type(function).__name__)!r}"
        check_limits(label, timeout=timeout, concurrency=concurrency)
        self.function = function
        self.ship = ship
        self.description = description
        self.timeout = timeout
        self.concurrency = concurrency
        self._stubs: dict[str, FunctionTool] = {}

    def __repr__(self) -> str:
        return f"Function({self.function!r}, ship={self.ship})"

    def called(self, name: str, known: Collection[str] = ()) -> FunctionTool | ShippedFunction:
        """This function under `name`; `known` are the names that the REPL has anyway. Raises `ConfigError`."""
        if self.ship:
            check_name(name, "function")
            return ship(name, self.function, description=self.description, known=known)
        if name not in self._stubs:
            # Kept, so that all runs share its places.
            self._stubs[name] = FunctionTool(
                self.function,
                name=name,
                description=self.description,
                route="root",
                timeout=self.timeout,
                concurrency=self.concurrency,
            )
        return self._stubs[name]
