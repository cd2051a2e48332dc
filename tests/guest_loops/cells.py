"""Cells run in this process, with and without looking ahead, against a bridge that answers at once or after a while."""

from __future__ import annotations

import ast
import contextlib
import io
import itertools
import json
import linecache
import re
import sys
import threading
import time
import warnings
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import Any

from guest.ahead import Ahead
from guest.batches import OpenBatch, _plain
from guest.calls import SubCalls
from guest.results import CallError, CallResult
from guest.tracebacks import describe_exception

_numbers = itertools.count(1)


class EchoBridge:
    """Answers `re: …` after `delay` seconds; an error where the prompt says `fail`."""

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay
        self.sent: list[str] = []
        """Each call as JSON: its prompt, and its options if there are any."""
        self.batches: dict[int, list[str]] = {}
        """The same by batch."""
        self.options: list[dict[str, Any]] = []
        self.cancelled = 0
        self.most = 0
        """The most calls that were under way at the same time."""
        self.under_way = 0
        self._lock = threading.Lock()
        self._listeners: dict[int, Any] = {}
        self._left: dict[int, int] = {}
        self._opts: dict[int, dict[str, Any]] = {}
        self._ids = itertools.count(1)

    def open(self, listener: Any) -> int:
        number = next(self._ids)
        self._listeners[number] = listener
        return number

    def close(self, number: int) -> None:
        self._listeners.pop(number, None)

    def send(self, message: dict[str, Any]) -> None:
        number = message["id"]
        if message["op"] == "batch":
            self.options.append(message["opts"])
            self._opts[number] = message["opts"]
            self._left[number] = message["n"]
            if "unknown" in message["opts"].get("model", ""):
                self._left.pop(number)
                self._tell(number, {"op": "done", "error": "no such model"})
        elif message["op"] == "cancel":
            with self._lock:
                left = self._left.pop(number, 0)
                self.cancelled += left
                self.under_way -= left
        elif number in self._left:
            # What a frame carries is JSON.
            self._add(number, message["start"], json.loads(json.dumps(message["items"])))

    def _add(self, number: int, start: int, items: list[Any]) -> None:
        with self._lock:
            calls = [as_json(item, self._opts[number]) for item in items]
            self.sent += calls
            self.batches.setdefault(number, []).extend(calls)
            self.under_way += len(items)
            self.most = max(self.most, self.under_way)
        if not self.delay:
            self._answer(number, start, items)
            return
        threading.Timer(self.delay, self._answer, (number, start, items)).start()

    def _answer(self, number: int, start: int, items: list[Any]) -> None:
        with self._lock:
            if number not in self._left:
                return
            self._left[number] -= len(items)
            self.under_way -= len(items)
            done = not self._left[number]
        schema = self._opts[number].get("schema")
        outcomes = [[start + at, reply(item, schema)] for at, item in enumerate(items)]
        self._tell(number, {"op": "results", "items": outcomes})
        if done:
            self._left.pop(number)
            self._tell(number, {"op": "done", "error": None})

    def _tell(self, number: int, message: dict[str, Any]) -> None:
        if (listener := self._listeners.get(number)) is not None:
            listener({"id": number, **message})


def reply(prompt: Any, schema: dict[str, Any] | None) -> dict[str, Any]:
    if "fail" in str(prompt):
        return {"error": {"kind": "endpoint", "message": str(prompt)}}
    if schema is not None:
        return {"data": example(schema, str(prompt)), "text": "{}", "model": "echo"}
    return {"text": f"re: {prompt}", "model": "echo", "input_tokens": 1, "output_tokens": 2, "cached": False}


def example(schema: dict[str, Any], prompt: str) -> Any:
    """Data that fits a schema."""
    if "anyOf" in schema:
        return example(schema["anyOf"][0], prompt)
    if "enum" in schema:
        return schema["enum"][0]
    if schema["type"] == "object":
        return {name: example(inner, prompt) for name, inner in schema.get("properties", {}).items()}
    if schema["type"] == "array":
        return [example(schema["items"], prompt)]
    return {"integer": len(prompt), "null": None, "string": prompt}[schema["type"]]


def as_json(prompt: Any, options: dict[str, Any]) -> str:
    options = {name: value for name, value in options.items() if name != "loop"}
    return json.dumps([_plain(prompt)[0], options] if options else _plain(prompt)[0])


class Recorder(SubCalls):
    """Notes every prompt whose outcome was handed out, in order."""

    def __init__(self, bridge: EchoBridge) -> None:
        super().__init__(bridge)  # type: ignore[arg-type]
        self.asked: list[str] = []
        self._echo = bridge

    def open(self, items: list[Any], **options: Any) -> OpenBatch:
        batch = super().open(items, **options)
        calls = self._echo.batches.get(batch._number, [])
        wait, result = batch.wait, batch.result

        def noted_wait() -> list[Any]:
            outcomes = wait()
            self.asked += calls
            return outcomes

        def noted_result(index: int) -> Any:
            outcome = result(index)
            if batch.arrived(index) is not None:
                self.asked.append(calls[index])
            return outcome

        batch.wait, batch.result = noted_wait, noted_result  # type: ignore[method-assign]
        return batch


@dataclass
class Outcome:
    """All that a cell leaves behind."""

    values: dict[str, Any]
    output: str
    error: dict[str, str] | None
    asked: list[str]
    bridge: EchoBridge = field(compare=False)
    seconds: float = field(compare=False)
    namespace: dict[str, Any] = field(compare=False, repr=False)


def run(
    *cells: str,
    ahead: bool = True,
    width: int = 256,
    delay: float = 0.0,
    bridge: EchoBridge | None = None,
    **names: Any,
) -> Outcome:
    """The cells, one after the other, until one fails. They see the bridge, too."""
    bridge = bridge or EchoBridge(delay)
    calls = Recorder(bridge)
    machine = Ahead(calls, width=width)
    transformers: list[Any] = []
    if ahead:
        machine.install(transformers)
    namespace: dict[str, Any] = {"llm_query": calls.llm_query, "llm_batch": calls.llm_batch, "CallError": CallError}
    namespace["bridge"] = bridge
    namespace |= names
    before = set(namespace)
    output, error = io.StringIO(), None
    began = time.monotonic()
    for code in cells:
        name = f"<cell {next(_numbers)}>"
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
        tree = ast.parse(code)
        for transformer in transformers:
            tree = transformer.visit(tree)
        try:
            with contextlib.redirect_stdout(output), warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)
                exec(compile(tree, name, "exec"), namespace)
        except BaseException as raised:
            error = describe_exception(raised)
            # Without numbers of cells, and without frames of this file.
            error["traceback"] = re.sub(r"<cell \d+>", "<cell>", error["traceback"])
            error["traceback"] = re.sub(r'  File "[^"]*cells\.py".*\n(?:    .*\n)*', "", error["traceback"])
        machine.end_cell()
        if error:
            break
    seconds = time.monotonic() - began
    seen: set[int] = set()
    values = {
        key: plain(value, seen) for key, value in namespace.items() if key not in before and key != "__builtins__"
    }
    return Outcome(values, output.getvalue(), error, calls.asked, bridge, seconds, namespace)


def plain(value: Any, seen: set[int]) -> Any:
    """A value as something that two runs can be compared by; each container is looked into once."""
    kind = type(value).__name__
    if isinstance(value, ModuleType | FunctionType | type):
        return kind
    if isinstance(value, CallResult):
        return (kind, str.__str__(value), value.model, value.usage, value.cached)
    if isinstance(value, str | int | float | bytes | None):
        return (kind, value)
    if id(value) in seen:
        return (kind, "again")
    seen.add(id(value))
    if isinstance(value, dict):
        return (kind, [(plain(key, seen), plain(each, seen)) for key, each in value.items()])
    if isinstance(value, list | tuple):
        return (kind, [plain(each, seen) for each in value])
    if isinstance(value, set | frozenset):
        return (kind, sorted(str(plain(each, set())) for each in value))
    return (kind, plain(vars(value), seen) if hasattr(value, "__dict__") else "")


def both(*cells: str, **names: Any) -> tuple[Outcome, Outcome]:
    """With and without looking ahead; whatever differs fails the test."""
    fast, slow = run(*cells, **names), run(*cells, ahead=False, **names)
    assert fast == slow
    assert sys.exc_info()[0] is None
    return fast, slow
