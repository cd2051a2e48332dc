"""Functions that the user gave: stubs of those that run on the host, and those that were shipped as source."""

from __future__ import annotations

import builtins
import inspect
import json
import linecache
import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from guest import textre, wire

MAX_CALLS = 15
"""Calls at once: one less than the host serves requests of a kernel, which leaves one for `%pip`."""
MAX_ARGUMENTS = wire.MAX_FRAME - (1 << 20)
"""Bytes of one call's arguments as JSON."""

_places = threading.Semaphore(MAX_CALLS)

Request = Callable[..., Mapping[str, Any]]
"""`Bridge.request`: `(op, **fields)` -> the reply."""


class FunctionFailed(Exception):
    """A function on the host did not return: it raised, took too long, or does not know such arguments."""


class _Text:
    """Shown in a signature as it was written, without quotes."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def make_stub(description: Mapping[str, Any], request: Request) -> Callable[..., Any]:
    """A function that calls the one of the host that `description` describes.

    `description`: `{"name", "doc", "parameters": [{"name", "kind", "annotation", "default"}], "returns"}`. The stub
    raises `TypeError` for arguments that do not fit or are not JSON, `FunctionFailed` with what the host says, and
    what `request` raises.
    """
    name: str = description["name"]
    signature = _signature(description)

    def stub(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{name}(): {error}") from None
        given, named = list(bound.args), bound.kwargs
        _check(name, given, named)
        reply = _ask(request, {"name": name, "args": given, "kwargs": named})
        if "result" in reply:
            return reply["result"]
        raise FunctionFailed(str(reply.get("failed", reply.get("error"))))

    stub.__name__ = stub.__qualname__ = name
    stub.__doc__ = description["doc"] or None
    stub.__module__ = "__main__"
    stub.__signature__ = signature  # type: ignore[attr-defined]
    return stub


def _signature(description: Mapping[str, Any]) -> inspect.Signature:
    empty = inspect.Parameter.empty
    parameters = [
        inspect.Parameter(
            each["name"],
            getattr(inspect.Parameter, each["kind"]),
            annotation=empty if each["annotation"] is None else _Text(each["annotation"]),
            default=empty if each["default"] is None else _Text(each["default"]),
        )
        for each in description["parameters"]
    ]
    returns = description["returns"]
    return inspect.Signature(parameters, return_annotation=empty if returns is None else _Text(returns))


def _check(name: str, args: list[Any], kwargs: dict[str, Any]) -> None:
    try:
        size = len(json.dumps([args, kwargs], ensure_ascii=False).encode("utf-8", "replace"))
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"{name}(): it runs outside of the sandbox and takes JSON values only: {error}") from None
    if size > MAX_ARGUMENTS:
        raise ValueError(f"{name}(): arguments of {size:,} bytes as JSON; the limit is {MAX_ARGUMENTS:,}")


def _ask(request: Request, call: dict[str, Any]) -> Mapping[str, Any]:
    """Ask in a thread, which keeps its place until the host has answered, whether anybody still waits or not.

    An interrupted cell does not: were its place free at once, the next cells could have more calls under way
    than the host allows, and lose the bridge.
    """
    replies: queue.SimpleQueue[Mapping[str, Any] | Exception] = queue.SimpleQueue()
    abandoned = threading.Event()

    def ask() -> None:
        with _places:
            if abandoned.is_set():
                return
            try:
                replies.put(request("function", **call))
            except Exception as error:
                replies.put(error)

    try:
        threading.Thread(target=ask, name=f"function {call['name']}", daemon=True).start()
        reply = replies.get()
    except BaseException:
        abandoned.set()
        raise
    if isinstance(reply, Exception):
        raise reply
    return reply


def load_shipped(sources: Iterable[Mapping[str, Any]], namespace: dict[str, Any]) -> list[str]:
    """Run each `{"name", "source"}` and put its function into `namespace`; returns what went wrong, for the model.

    Each has globals of its own, so that a cell that names a variable `json` does not break a function that imports
    it. The names that `namespace` holds now are known to all of them, as builtins are, and `re` takes a `Text`.
    """
    import_ = textre.import_for_cells(builtins.__import__, is_cell=lambda _: True)
    offered = {name: value for name, value in namespace.items() if not name.startswith("_")}
    known = {**vars(builtins), **offered, "__import__": import_}
    problems = []
    for each in sources:
        name, source, filename = each["name"], each["source"], f"<function {each['name']}>"
        # Without a time, so that nobody looks for the file.
        linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
        globals_: dict[str, Any] = {"__name__": "__main__", "__builtins__": known}
        try:
            exec(compile(source, filename, "exec", dont_inherit=True), globals_)
            namespace[name] = globals_[name]
        except Exception as error:
            problems.append(f"The function `{name}` is missing: {type(error).__name__}: {error}"[:500])
    return problems
