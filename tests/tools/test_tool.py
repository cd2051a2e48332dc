"""`Tool`: what it says of a function, and what it makes of calls."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import datetime
import enum
import functools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, BeforeValidator, Field
from pydantic.fields import FieldInfo

from rlm.errors import ConfigError
from rlm.tools import Tool, ToolFailure

# --- what models are told ---------------------------------------------------------------------


class Place(BaseModel):
    """Where something is."""

    lat: float
    lon: float = 0


def find(
    query: str,
    near: Place | None = None,
    limit: Annotated[int, Field(ge=1, description="How many at most.")] = 5,
    *,
    kind: Literal["shop", "park"] = "shop",
    extra=None,
) -> list[str]:
    """Find places.

    They are sorted by distance.

    Args:
        query (str): What to look for,
            in plain words.
        limit: Not this text: the annotation has one.
        kind: shop or park.
        nonsense: no such parameter.

    Returns:
        kind: names.
    """
    return [query, repr(near), str(limit), kind, repr(extra)]


def test_it_describes_a_function():
    tool = Tool(find)
    assert tool.name == "find"
    assert tool.description.startswith("Find places.\n\nThey are")
    assert tool.parameters == {
        "type": "object",
        "additionalProperties": False,
        "required": ["query"],
        "properties": {
            "query": {"type": "string", "description": "What to look for, in plain words."},
            "near": {"anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}], "default": None},
            "limit": {"type": "integer", "minimum": 1, "default": 5, "description": "How many at most."},
            "kind": {
                "type": "string",
                "enum": ["shop", "park"],
                "default": "shop",
                "description": "shop or park.",
            },
            "extra": {"default": None},
        },
        "$defs": {
            "Place": {
                "type": "object",
                "title": "Place",
                "description": "Where something is.",
                "required": ["lat"],
                "properties": {"lat": {"type": "number"}, "lon": {"type": "number", "default": 0}},
            }
        },
    }


def test_its_signature_is_text():
    signature = Tool(find).signature
    assert signature["summary"] == (
        "`find(query: str, near: Place | None = None, limit: int = 5, *, "
        "kind: Literal['shop', 'park'] = 'shop', extra=None) -> list[str]` - Find places."
    )
    assert signature["parameters"][0] == {
        "name": "query",
        "kind": "POSITIONAL_OR_KEYWORD",
        "annotation": "str",
        "default": None,
    }
    assert signature["returns"] == "list[str]"


def test_a_default_that_is_no_literal_is_not_shown():
    class Client:
        def __repr__(self) -> str:
            return "Client(key='secret')"

    def ask(text: str, client: Any = Client(), lock: Any = threading.Lock()) -> bool:  # noqa: B008
        return isinstance(client, Client) and lock is not None

    tool = Tool(ask)
    assert "secret" not in repr(tool.signature) + repr(tool.parameters)
    assert tool.signature["parameters"][1]["default"] == "..."
    assert asyncio.run(tool.call({"text": ""})) is True


class Counter:
    """Counts."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, number: int) -> int:
        """Add to it."""
        self.count += number
        return self.count

    async def __call__(self, number: int = 1) -> int:
        return self.add(number)


def power(base: float, exponent: float, /) -> float:
    return float(base**exponent)


async def twice(number: int) -> int:
    """Two times."""
    return 2 * number


KINDS: list[tuple[Callable[..., Any], str, str, dict[str, Any], Any]] = [
    (Counter().add, "add", "Add to it.", {"number": 3}, 3),
    (Counter(), "Counter", "Counts.", {}, 1),
    (power, "power", "", {"base": 2, "exponent": 5}, 32),
    (twice, "twice", "Two times.", {"number": "4"}, 8),
    (functools.partial(power, 3), "power", "", {"exponent": 2}, 9),
    (functools.partial(twice, 5), "twice", "Two times.", {}, 10),
    (
        functools.partial(find, "x", kind="park"),
        "find",
        "Find places.",
        {"limit": 1},
        ["x", "None", "1", "park", "None"],
    ),
]


@pytest.mark.parametrize(("function", "name", "about", "arguments", "result"), KINDS)
async def test_it_takes_any_kind_of_callable(function, name, about, arguments, result):
    tool = Tool(function)
    assert (tool.name, tool.description.partition("\n")[0]) == (name, about)
    assert await tool.call(arguments) == result


def test_what_a_partial_fixes_is_not_offered():
    def fetch(url: str, key: str = "") -> str:
        return url + key

    tool = Tool(functools.partial(fetch, key="secret"))
    assert list(tool.parameters["properties"]) == ["url"]
    assert "secret" not in repr(tool.parameters) + repr(tool.signature)
    assert asyncio.run(tool.call({"url": "u-"})) == "u-secret"
    with pytest.raises(ToolFailure, match="key"):
        asyncio.run(tool.call({"url": "u-", "key": "mine"}))


def test_parameters_may_have_names_that_pydantic_reserves():
    def odd(schema: int, _hidden: int, model_config: int, copy: int = 0, p0: int = 0) -> list[int]:
        return [schema, _hidden, model_config, copy, p0]

    given = {"schema": 1, "_hidden": 2, "model_config": 3, "p0": 5}
    assert asyncio.run(Tool(odd).call(given)) == [1, 2, 3, 0, 5]


def test_an_object_without_a_docstring_says_nothing():
    assert Tool(functools.partial(Quiet())).description == ""


class Quiet:
    def __call__(self) -> None: ...


# --- mistakes of the user ---------------------------------------------------------------------


def star(*args: int) -> None: ...
def stars(**kwargs: int) -> None: ...
def unknown(a: threading.Thread) -> None: ...
def no_json(a: Callable[[], int]) -> None: ...
def missing(a: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821
def nested(a: list["Nowhere"]) -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037
def field_default(a: int = Field(default=1)) -> None: ...


assert isinstance(field_default.__defaults__, tuple)
assert isinstance(field_default.__defaults__[0], FieldInfo)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (star, "args"),
        (stars, "kwargs"),
        (unknown, "threading.Thread"),
        (no_json, "Cannot generate a JsonSchema for core_schema.CallableSchema$"),
        (missing, "Nowhere"),
        (nested, "Nowhere"),
        (field_default, "Annotated"),
        (lambda x: x, "no usable name"),
        (iter, "signature"),
        (5, "cannot be called"),
    ],
)
def test_a_callable_that_cannot_be_described_is_refused(function, says):
    with pytest.raises(ConfigError, match=says) as caught:
        Tool(function)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"name": ""},
        {"name": "get-weather"},
        {"name": "class"},
        {"name": "1st"},
        {"name": "é"},
        {"name": "a" * 65},
        {"name": "a\n"},
        {"name": 5},
        {"route": "subs"},
        {"route": None},
        {"timeout": 0},
        {"timeout": float("inf")},
        {"timeout": float("nan")},
        {"timeout": True},
        {"timeout": "5"},
        {"concurrency": 0},
        {"concurrency": 1.5},
        {"concurrency": True},
        {"output_limit": 10},
    ],
)
def test_a_bad_option_is_refused(options):
    with pytest.raises(ConfigError):
        Tool(twice, **options)


# --- arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "query: Field required"),
        ({"query": 5}, "query: Input should be a valid string"),
        ({"query": "a", "limit": 0}, "limit: Input should be greater than or equal to 1"),
        ({"query": "a", "limit": "many"}, "limit: .*integer"),
        ({"query": "a", "near": {"lat": "x"}}, r"near\.lat: .*number"),
        ({"query": "a", "colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"query": "a", "p0": "b"}, "p0: Extra"),
        ({f"x{n}": n for n in range(100)}, "and 96 more"),
    ],
)
async def test_bad_arguments_are_answered(arguments, says):
    with pytest.raises(ToolFailure, match=says) as caught:
        await Tool(find).call(arguments)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


async def test_arguments_are_converted_as_annotated():
    def when(day: datetime.date, near: Place, scores: set[int]) -> list[str]:
        return [type(day).__name__, type(near).__name__, type(scores).__name__]

    arguments = {"day": "2024-02-03", "near": {"lat": "1.5"}, "scores": [1, 1, 2]}
    assert await Tool(when, name="when").call(arguments) == ["date", "Place", "set"]


def grumpy(value: Any) -> Any:
    raise KeyError(value)


def takes(value: Annotated[int, BeforeValidator(grumpy)]) -> None: ...


async def test_a_validator_that_raises_anything_is_a_failure():
    with pytest.raises(ToolFailure, match="KeyError"):
        await Tool(takes).call({"value": 1})


# --- results ----------------------------------------------------------------------------------


@dataclasses.dataclass
class Point:
    x: int
    y: int


class Colour(enum.Enum):
    RED = "red"


def generated() -> Iterator[int]:
    yield 1
    yield 2


def half_generated() -> Iterator[int]:
    yield 1
    raise LookupError("the second one")


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, None),
        ("text", "text"),
        (Point(1, 2), {"x": 1, "y": 2}),
        (Place(lat=1), {"lat": 1.0, "lon": 0.0}),
        ((1, {2}), [1, [2]]),
        ({1: datetime.date(2024, 1, 2)}, {"1": "2024-01-02"}),
        (Colour.RED, "red"),
    ],
)
async def test_results_are_plain_json(value, plain):
    assert await Tool(lambda: value, name="f").call({}) == plain


async def test_a_generator_is_a_list():
    assert await Tool(generated).call({}) == [1, 2]
    with pytest.raises(ToolFailure, match="LookupError: the second one"):
        await Tool(half_generated).call({})


def circular() -> list[Any]:
    a: list[Any] = []
    a.append(a)
    return a


@pytest.mark.parametrize("value", [object(), circular(), b"\xff", {"a": threading}], ids=type)
async def test_a_result_that_is_no_json_is_a_failure(value):
    with pytest.raises(ToolFailure, match=f"its result, of type {type(value).__name__}, is not JSON"):
        await Tool(lambda: value, name="f").call({})


async def test_a_hidden_coroutine_is_a_failure():
    with pytest.raises(ToolFailure, match="async function"):
        await Tool(lambda: twice(1), name="f").call({})


# --- failures ---------------------------------------------------------------------------------


class Nasty(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ValueError("no such\n  city"), "ValueError: no such city"),
        (StopIteration("s"), "StopIteration"),
        (TimeoutError("of its own"), "TimeoutError: of its own"),
        (SystemExit(3), "SystemExit: 3"),
        (asyncio.CancelledError(), "CancelledError"),
        (Nasty(), r"Nasty: \(its text raised RuntimeError\)"),
        (ExceptionGroup("g", [KeyError("k")]), "KeyError: 'k'"),
        (ValueError("x" * 10_000), "ValueError: x{499}…$"),
        (ToolFailure("plainly"), "^plainly$"),
        (AssertionError(), "^AssertionError$"),
    ],
)
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_what_a_tool_raises_is_a_failure(error, says, kind):
    def fails() -> None:
        raise error

    async def fails_async() -> None:
        raise error

    with pytest.raises(ToolFailure, match=says):
        await Tool(fails if kind == "sync" else fails_async).call({})


async def test_an_interrupt_passes():
    class Stop(BaseException):
        pass

    async def interrupted() -> None:
        raise Stop

    with pytest.raises(Stop):
        await Tool(interrupted).call({})


# --- limits -----------------------------------------------------------------------------------


async def test_a_slow_tool_times_out():
    async def slow() -> None:
        await asyncio.sleep(30)

    def slow_too() -> None:
        time.sleep(0.3)

    for function in (slow, slow_too):
        tool = Tool(function, name="slow", timeout=0.05)
        began = time.monotonic()
        with pytest.raises(ToolFailure, match=r"timed out after 0\.05 s"):
            await tool.call({})
        assert time.monotonic() - began < 0.25


async def test_an_async_tool_that_times_out_is_cancelled():
    ended: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise ValueError("while it was cancelled") from None

    with pytest.raises(ToolFailure, match="timed out"):
        await Tool(slow, timeout=0.05).call({})
    assert ended == ["cancelled"]


class Gauge:
    """How many calls run at once, and a gate that holds them."""

    def __init__(self) -> None:
        self.running = self.most = self.done = 0
        self.lock = threading.Lock()
        self.gate = threading.Event()

    def hold(self, seconds: float = 5) -> None:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.gate.wait(seconds)
        with self.lock:
            self.running -= 1
            self.done += 1


async def test_at_most_so_many_run_at_once():
    gauge = Gauge()
    tool = Tool(gauge.hold, concurrency=3)
    calls = [asyncio.create_task(tool.call({"seconds": 0.02})) for _ in range(20)]
    await asyncio.gather(*calls)
    assert (gauge.most, gauge.done) == (3, 20)


async def test_calls_of_an_async_tool_run_in_parallel_up_to_the_limit():
    running = most = 0

    async def hold() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1

    tool = Tool(hold, concurrency=4)
    await asyncio.gather(*(tool.call({}) for _ in range(16)))
    assert most == 4


async def test_a_runaway_thread_keeps_its_place():
    gauge = Gauge()
    tool = Tool(gauge.hold, timeout=0.05, concurrency=2)
    with pytest.raises(ToolFailure, match="timed out"):
        await tool.call({})
    with pytest.raises(ToolFailure, match="timed out"):
        await tool.call({})
    with pytest.raises(ToolFailure, match=r"no turn within 0\.05 s: 2 other calls were running"):
        await tool.call({})
    assert gauge.most == 2
    gauge.gate.set()
    await asyncio.sleep(0.02)
    await tool.call({"seconds": 0})


async def test_a_cancelled_call_leaves_the_line():
    gauge = Gauge()
    tool = Tool(gauge.hold, concurrency=1)
    first = asyncio.create_task(tool.call({}))
    waiting = [asyncio.create_task(tool.call({"seconds": 0})) for _ in range(5)]
    await asyncio.sleep(0.05)
    for task in waiting[:4]:
        task.cancel()
    gauge.gate.set()
    await first
    await waiting[4]
    assert [task.cancelled() for task in waiting] == [True, True, True, True, False]
    assert gauge.done == 2


async def test_cancelling_a_call_passes_and_stops_an_async_tool():
    started, ended = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        started.set()
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    task = asyncio.create_task(Tool(slow).call({}))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


def test_one_tool_serves_many_loops():
    gauge = Gauge()
    tool = Tool(gauge.hold, concurrency=3)

    async def several() -> None:
        await asyncio.gather(*(tool.call({"seconds": 0.01}) for _ in range(10)))

    threads = [threading.Thread(target=asyncio.run, args=(several(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (gauge.most, gauge.done) == (3, 40)


def test_a_loop_that_dies_gives_its_places_back():
    tool = Tool(twice, concurrency=1)
    gauge = Gauge()
    held = Tool(gauge.hold, concurrency=1)

    async def leave() -> None:
        for each in (held, held, tool):
            asyncio.create_task(each.call({"seconds": 0.2} if each is held else {"number": 1}))  # noqa: RUF006
        await asyncio.sleep(0.02)

    asyncio.run(leave())
    assert asyncio.run(tool.call({"number": 2})) == 4
    asyncio.run(held.call({"seconds": 0}))
    assert gauge.done == 2


async def test_without_a_thread_no_place_is_lost(monkeypatch):
    tool = Tool(power, concurrency=1)

    def no_more(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading, "Thread", no_more)
        for _ in range(3):
            with pytest.raises(ToolFailure, match="can't start new thread"):
                await tool.call({"base": 1, "exponent": 1})
    assert await tool.call({"base": 1, "exponent": 1}) == 1


async def test_a_sync_tool_blocks_no_loop_and_sees_the_context():
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request")
    request.set("r1")

    def look() -> list[str]:
        time.sleep(0.1)
        return [threading.current_thread().name, request.get()]

    call = asyncio.create_task(Tool(look).call({}))
    ticks = 0
    while not call.done():
        await asyncio.sleep(0.005)
        ticks += 1
    assert ticks > 5
    assert await call == ["rlm-tool-look", "r1"]
