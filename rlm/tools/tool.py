"""`Tool`: a Python function that models may call, run on the host."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from rlm.errors import ConfigError
from rlm.threads import watch
from rlm.tools.base import BaseTool, Route, Work
from rlm.tools.parameters import Parameters, innermost
from rlm.tools.places import Place
from rlm.tools.signatures import signature_text
from rlm.tools.values import to_json


class Tool(BaseTool):
    """A typed callable, sync or async: a function, a method, a `functools.partial`, an object with `__call__`.

    What models are told comes from the function itself: `name`, `description` (its docstring), and `parameters`, a
    JSON Schema from annotations, defaults, `Annotated[…, Field(description=…)]` and an `Args:` section. A parameter
    without an annotation takes any JSON.

        Tool(search, route="both", timeout=10, concurrency=2)

    `timeout` is in seconds, the wait for one of the `concurrency` turns included; `output_limit` in characters;
    see `BaseTool`. A sync function runs in a thread of its own, an async one in the event loop of the run.
    Raises `ConfigError`.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        route: Route = "sub",
        timeout: float = 60.0,
        concurrency: int = 8,
        output_limit: int = 16_384,
        read_only: bool = False,
    ) -> None:
        if not callable(function):
            raise ConfigError(f"{self.kind}: {function!r} cannot be called")
        super().__init__(
            name=_name(function) if name is None else name,
            description=_doc(function) if description is None else description,
            route=route,
            timeout=timeout,
            concurrency=concurrency,
            output_limit=output_limit,
            read_only=read_only,
        )
        self.function = function
        self._parameters = Parameters(function, _doc(function), label=self.label)
        self._is_async = _is_async(function)
        self.parameters = self._parameters.schema
        module = getattr(innermost(function), "__module__", None)
        self.signature = signature_text(self.name, self.description, self._parameters.signature, module)

    def _bind(self, arguments: Mapping[str, Any]) -> Work:
        bound = self._parameters.bind(arguments)
        run = functools.partial(self.function, *bound.args, **bound.kwargs)
        return functools.partial(self._on_the_loop if self._is_async else self._in_a_thread, run)

    async def _on_the_loop(self, run: Callable[[], Any], place: Place) -> Any:
        try:
            return to_json(await run())
        finally:
            place.free()

    async def _in_a_thread(self, run: Callable[[], Any], place: Place) -> Any:
        def work() -> Any:
            try:
                return to_json(run())
            finally:
                place.free()

        try:
            return await watch(work, name=f"rlm-tool-{self.name}")
        except Exception:
            # There may be no thread to free it: the machine may have no more of them.
            place.free()
            raise


def _name(function: Callable[..., Any]) -> str:
    inner = innermost(function)
    return str(getattr(inner, "__name__", type(inner).__name__))


def _doc(function: Callable[..., Any]) -> str:
    inner = innermost(function)
    if inspect.isroutine(inner) or inspect.isclass(inner):
        return inspect.getdoc(inner) or ""
    # Not `getdoc`, which would find what `type` says of all calls.
    return inspect.cleandoc(type(inner).__call__.__doc__ or "") or inspect.getdoc(inner) or ""


def _is_async(function: Callable[..., Any]) -> bool:
    inner = innermost(function)
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(getattr(inner, "__call__", None))  # noqa: B004
