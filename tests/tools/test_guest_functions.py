"""The guest's half: stubs that look like the host's functions, and shipped sources."""

from __future__ import annotations

import asyncio
import calendar
import inspect
import linecache
import os
import pydoc
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
from guest import functions
from guest.bridge import Bridge
from guest.text import Text

from rlm.bridge.server import MAX_REQUESTS, BridgeEvents, GuestBridge
from rlm.tools import Function, Tool, ToolFailure, open_toolbox


def area(width: float, height: float = 1, *, unit: str = "m", tags: list[str] | None = None) -> dict[str, Any]:
    """The area of a rectangle.

    Both sides in metres.
    """
    return {"area": width * height, "unit": unit, "tags": tags}


def power(base: float, exponent: float = 2, /) -> float:
    return float(base**exponent)


def bare(a, b=None, c=(1, 2)):
    """Bare."""


class Host:
    """Records what is asked, and answers."""

    def __init__(self, reply: Any = None) -> None:
        self.asked: list[dict[str, Any]] = []
        self.reply = reply or {"result": None}

    def __call__(self, op: str, **fields: Any) -> Mapping[str, Any]:
        self.asked.append({"op": op, **fields})
        if isinstance(self.reply, Exception):
            raise self.reply
        reply: Mapping[str, Any] = self.reply
        return reply


def stub(function: Callable[..., Any], request: Any) -> Any:
    return functions.make_stub(Tool(function).signature, request)


# --- stubs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [area, power, bare])
def test_a_stub_looks_like_the_function(function):
    made = stub(function, Host())
    assert made.__name__ == made.__qualname__ == function.__name__
    assert inspect.getdoc(made) == inspect.getdoc(function)
    assert str(inspect.signature(made)) == str(inspect.signature(function)).replace("'", "").replace("= m", "= 'm'")
    assert [each.kind for each in inspect.signature(made).parameters.values()] == [
        each.kind for each in inspect.signature(function).parameters.values()
    ]


def test_help_shows_it():
    text = " ".join(pydoc.plain(pydoc.render_doc(stub(area, Host()))).split())
    assert "width: float, height: float = 1, *, unit: str = 'm', tags: list[str] | None = None" in text
    assert "Both sides in metres." in text


@pytest.mark.parametrize(
    ("args", "kwargs", "sent"),
    [
        ((2,), {}, ([2], {})),
        ((2, 3), {"unit": "km"}, ([2, 3], {"unit": "km"})),
        ((), {"height": 3, "width": 2}, ([2, 3], {})),
        ((), {"tags": ["a", None, {"b": 1.5}], "width": 2}, ([2], {"tags": ["a", None, {"b": 1.5}]})),
    ],
)
def test_arguments_are_bound_here_and_defaults_on_the_host(args, kwargs, sent):
    host = Host({"result": [1]})
    assert stub(area, host)(*args, **kwargs) == [1]
    assert host.asked == [{"op": "function", "name": "area", "args": sent[0], "kwargs": sent[1]}]


@pytest.mark.parametrize(
    ("args", "kwargs", "says"),
    [
        ((), {}, r"area\(\): missing a required argument: 'width'"),
        ((1, 2, 3), {}, r"area\(\): too many positional arguments"),
        ((1,), {"depth": 1}, r"area\(\): got an unexpected keyword argument 'depth'"),
        ((1, 2), {"height": 1}, r"area\(\): multiple values for argument 'height'"),
        ((object(),), {}, r"area\(\): .* JSON values only: Object of type object is not JSON serializable"),
        ((b"1",), {}, "JSON values only"),
        (({(1, 2): 3},), {}, "JSON values only"),
    ],
)
def test_misuse_is_a_type_error_and_asks_nobody(args, kwargs, says):
    host = Host()
    with pytest.raises(TypeError, match=says):
        stub(area, host)(*args, **kwargs)
    assert not host.asked


def test_what_is_too_large_to_send_says_so():
    host = Host()
    with pytest.raises(ValueError, match=r"area\(\): arguments of 16,777,\d+ bytes as JSON; the limit is 15,728,640"):
        stub(area, host)("x" * (16 << 20))
    assert not host.asked


@pytest.mark.parametrize("reply", [{"failed": "ValueError: no"}, {"error": "ValueError: no", "message": "…"}])
def test_a_failure_on_the_host_is_an_exception(reply):
    with pytest.raises(functions.FunctionFailed, match=r"^ValueError: no$"):
        stub(area, Host(reply))(1)


def test_a_lost_bridge_is_an_exception():
    with pytest.raises(ConnectionError, match="lost"):
        stub(area, Host(ConnectionError("lost")))(1)


class SlowHost:
    """Answers when it is told to, and counts."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.gate = threading.Event()
        self.asked = self.running = self.most = 0

    def __call__(self, op: str, **fields: Any) -> Mapping[str, Any]:
        with self.lock:
            self.asked += 1
            self.running += 1
            self.most = max(self.most, self.running)
        self.gate.wait(20)
        with self.lock:
            self.running -= 1
        return {"result": fields["args"][0]}


def test_no_more_calls_at_once_than_the_host_allows():
    host = SlowHost()
    made = stub(bare, host)
    results: list[int] = []
    threads = [threading.Thread(target=lambda n=n: results.append(made(n)), daemon=True) for n in range(40)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    assert host.running == functions.MAX_CALLS < MAX_REQUESTS
    host.gate.set()
    for thread in threads:
        thread.join(20)
    assert sorted(results) == list(range(40))
    assert host.most == functions.MAX_CALLS


def interrupted(call: Callable[[], Any]) -> None:
    """As by the kernel, but with a signal that nobody else here minds, while `call` waits in the main thread."""
    old = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))

    def begin() -> None:
        timer.start()
        call()

    try:
        with pytest.raises(KeyboardInterrupt):
            begin()
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, old)


def test_an_interrupted_call_keeps_its_place_until_the_host_has_answered():
    host = SlowHost()
    made = stub(bare, host)
    for n in range(functions.MAX_CALLS + 3):
        interrupted(partial(made, n))
    assert host.asked == host.running == functions.MAX_CALLS
    host.gate.set()
    assert made(99) == 99
    time.sleep(0.1)
    assert host.asked == functions.MAX_CALLS + 1, "what was interrupted before it was asked is not asked later"


async def test_over_a_real_bridge():
    def fail() -> None:
        raise LookupError("not here")

    async def slow(n: int) -> int:
        await asyncio.sleep(0.01)
        return n

    outer, inner = socket.socketpair()
    async with open_toolbox(functions={"area": area, "fail": fail, "slow": slow}) as box:

        async def handle(message: Mapping[str, Any]) -> dict[str, Any]:
            try:
                name, args, kwargs = (message.get(field) for field in ("name", "args", "kwargs"))
                return {"result": await box.call_function(name, args, kwargs, everything=False)}
            except ToolFailure as failure:
                return {"failed": str(failure)}

        reader, writer = await asyncio.open_connection(sock=outer)
        problems: list[Any] = []
        host = GuestBridge(
            events=BridgeEvents(
                send=writer.write,
                credit=lambda _: None,
                close=writer.close,
                busy=lambda _: None,
                answer=lambda _: None,
                output=lambda _: None,
            ),
            subcalls=None,  # type: ignore[arg-type]
            handlers={"function": handle},
            emit=lambda type_, /, **fields: problems.append((type_, fields)),
        )

        async def feed() -> None:
            while data := await reader.read(1 << 16):
                host.feed(data)

        feeding = asyncio.create_task(feed())
        bridge = Bridge(inner.detach())
        bridge.start()
        stubs = {each["name"]: functions.make_stub(each, bridge.request) for each in box.repl_functions(False)}
        assert await asyncio.to_thread(stubs["area"], 2, height=4) == {"area": 8.0, "unit": "m", "tags": None}
        with pytest.raises(functions.FunctionFailed, match="LookupError: not here"):
            await asyncio.to_thread(stubs["fail"])
        with pytest.raises(functions.FunctionFailed, match=r"width: .*number"):
            await asyncio.to_thread(stubs["area"], "wide")

        results: list[int] = []
        threads = [
            threading.Thread(target=lambda n=n: results.append(stubs["slow"](n)), daemon=True) for n in range(100)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join, 20)
        assert sorted(results) == list(range(100))
        assert not problems
        await host.aclose()
        writer.close()
        await feeding


# --- shipped sources --------------------------------------------------------------------------


def shipped(**given: Callable[..., Any]) -> list[dict[str, str]]:
    known = {"context", "llm_query"}
    made = [Function(function, ship=True).called(name, known) for name, function in given.items()]
    return [{"name": each.name, "source": each.source} for each in made]  # type: ignore[union-attr]


def parse(text: str) -> Any:
    import json

    return json.loads(text)


def words_of(pattern: str) -> Any:
    import re

    return re.findall(pattern, context)  # type: ignore[name-defined]  # noqa: F821


def ask(text: str) -> Any:
    return llm_query(text)  # type: ignore[name-defined]  # noqa: F821


def dates(text: str) -> list[int]:
    """Years in a text."""
    return [calendar.isleap(int(word)) for word in text.split()]


def test_shipped_functions_are_in_the_namespace_and_nothing_else():
    namespace: dict[str, Any] = {"llm_query": str.upper}
    assert functions.load_shipped(shipped(leap=dates, ask=ask), namespace) == []
    assert set(namespace) == {"llm_query", "leap", "ask"}
    assert namespace["leap"]("2023 2024") == [False, True]
    assert namespace["ask"]("x") == "X"
    assert inspect.getdoc(namespace["leap"]) == "Years in a text."
    assert "calendar.isleap" in inspect.getsource(namespace["leap"])


def test_cells_do_not_break_them():
    namespace: dict[str, Any] = {"llm_query": str.upper}
    functions.load_shipped(shipped(leap=dates, ask=ask), namespace)
    exec("calendar = 5\nllm_query = None\nint = None", namespace)
    assert namespace["leap"]("2024") == [True]
    assert namespace["ask"]("x") == "X"


def test_their_tracebacks_show_source_lines():
    namespace: dict[str, Any] = {}
    functions.load_shipped(shipped(leap=dates), namespace)
    linecache.checkcache()
    try:
        namespace["leap"]("x")
    except ValueError as error:
        text = "".join(traceback.format_exception(error))
    assert "return [calendar.isleap(int(word)) for word in text.split()]" in text
    assert '"<function leap>", line 7' in text


def test_their_re_takes_a_text(tmp_path):
    path = tmp_path / "input.txt"
    path.write_text("one two", encoding="utf-8")
    namespace: dict[str, Any] = {"context": Text.open(path)}
    functions.load_shipped(shipped(words=words_of), namespace)
    assert namespace["words"](r"\w+") == ["one", "two"]


def test_one_that_cannot_be_loaded_is_told_and_hurts_no_other():
    namespace: dict[str, Any] = {}
    broken = [{"name": "bad", "source": "import nothing_like_it\ndef bad(): ..."}, {"name": "none", "source": "x = 1"}]
    assert functions.load_shipped([*broken, *shipped(parse=parse)], namespace) == [
        "The function `bad` is missing: ModuleNotFoundError: No module named 'nothing_like_it'",
        "The function `none` is missing: KeyError: 'none'",
    ]
    assert list(namespace) == ["parse"]
