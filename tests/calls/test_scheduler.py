"""The scheduler of sub-calls, against a real HTTP endpoint."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from rlm.budget import Ledger, Limits
from rlm.calls.caller import Caller, Place
from rlm.calls.free import FREE_EVENTS
from rlm.calls.options import Defaults
from rlm.calls.scheduler import Scheduler
from rlm.models import ChatModel, RetryPolicy
from rlm.protocols import Item
from rlm.testing import Fault, Reply, ScriptedModelServer, ScriptedRequest


class Bench:
    """A scheduler with its surroundings; `order` tells what happened in which order."""

    def __init__(self, server: ScriptedModelServer, limits: Limits | None = None, **options: Any) -> None:
        self.server = server
        window = options.pop("context_window", None)
        self.model = ChatModel(
            "sub", base_url=server.base_url, context_window=window, retry=RetryPolicy(max_attempts=2, base_delay=0.01)
        )
        self.ledger = Ledger(limits or Limits())
        self.events: list[dict[str, Any]] = []
        self.order: list[str] = []
        defaults = Defaults(("sub",), options.pop("system", ""), options.pop("max_tokens", 4096), 600.0)
        self.scheduler = Scheduler({"sub": self.model}, self.ledger, flush=self.flush, **options)
        self.caller = Caller(self.scheduler, Place(depth=0), defaults, emit=self.emit)

    def emit(self, type_: str, /, **fields: Any) -> None:
        self.events.append({"type": type_, **fields})
        if type_ == "call.completed":
            self.order.append(f"recorded {fields['batch']}.{fields['index']}")

    def flush(self) -> None:
        self.order.append("flushed")

    async def ask(self, prompts: list[Any], **options: Any) -> list[dict[str, Any]]:
        batch, results = self.open(len(prompts), **options)
        for index, prompt in enumerate(prompts):
            batch.add(index, prompt)
        await asyncio.wait_for(batch.wait(), 30)
        return [results[index] for index in range(len(prompts))]

    def open(self, size: int, **options: Any):
        results: dict[int, dict[str, Any]] = {}

        def deliver(items: list[Item]) -> None:
            for index, outcome in items:
                assert index not in results
                results[index] = outcome
                self.order.append(f"delivered {index}")

        return self.caller.open_batch(size, options, deliver), results


@pytest.fixture
async def bench():
    servers: list[ScriptedModelServer] = []
    benches: list[Bench] = []

    def make(replies: Any = None, *, delay: float = 0.0, **options: Any) -> Bench:
        server = ScriptedModelServer(replies or {"sub": echo}, delay=delay).start()
        servers.append(server)
        benches.append(Bench(server, **options))
        return benches[-1]

    yield make
    for each in benches:
        await each.scheduler.aclose()
        await each.model.aclose()
        assert each.ledger.open_tokens == 0
    for server in servers:
        server.close()


def echo(request: ScriptedRequest) -> str:
    return f"<{request.prompt}>"


async def test_replies_keep_their_places(bench: Callable[..., Bench]) -> None:
    make = bench()
    results = await make.ask([f"p{i}" for i in range(300)])
    assert [result["text"] for result in results] == [f"<p{i}>" for i in range(300)]
    assert {result["cached"] for result in results} == {False}
    usage = make.ledger.usage().sub
    assert usage.calls == make.server.request_count == 300
    assert usage.input_tokens == sum(result["input_tokens"] for result in results)
    last = make.events[-1]
    assert last["type"] == "batch.completed"
    assert (last["ok"], last["failed"], last["cancelled"], last["cached"]) == (300, 0, 0, 0)


async def test_prompts_in_every_shape(bench: Callable[..., Bench]) -> None:
    make = bench(system="be brief")
    messages = [{"role": "system", "content": "own"}, {"role": "user", "content": "b"}]
    prompts = ["a", messages, {"prompt": "c", "system": "s", "max_tokens": 5}, {"messages": messages[1:]}]
    assert [result["text"] for result in await make.ask(prompts)] == ["<a>", "<b>", "<c>", "<b>"]
    bodies = {request.prompt + str(request.body.get("max_tokens")): request.body for request in make.server.requests}
    assert bodies["a4096"]["messages"][0] == {"role": "system", "content": "be brief"}
    assert bodies["c5"]["messages"][0] == {"role": "system", "content": "s"}
    assert sorted(r.body["messages"][0]["content"] for r in make.server.requests if r.prompt == "b") == [
        "be brief",
        "own",
    ]


@pytest.mark.parametrize(
    "prompt",
    [
        None,
        7,
        [],
        [1],
        {},
        {"prompt": "a", "messages": []},
        {"prompt": "a", "tools": []},
        {"prompt": "a", "max_tokens": 10**400},
        {"prompt": "a", "temperature": True},
        {"prompt": "a", "model": "gpt-expensive"},
        {"prompt": "a", "model": ["sub"]},
        {"prompt": "a", "system": 1},
        [{"role": "tool", "content": "x"}],
        [{"role": "user", "content": [{"type": "image_url"}]}],
        [{"role": ["user"], "content": "x"}],
        [{"role": "user", "content": "x", "name": "y"}],
        "lone \ud800 surrogate",
        {"unusable": "int is not a prompt"},
    ],
)
async def test_an_unusable_prompt_is_an_item_and_is_never_sent(bench: Callable[..., Bench], prompt: Any) -> None:
    make = bench()
    bad, good = await make.ask([prompt, "fine"])
    assert bad["error"]["kind"] == "invalid"
    assert bad["error"]["message"]
    assert good["text"] == "<fine>"
    assert make.server.request_count == 1


@pytest.mark.parametrize(
    "options",
    [
        {"nope": 1},
        {"model": "other"},
        {"max_tokens": 0},
        {"max_tokens": 5000},
        {"max_tokens": "many"},
        {"temperature": float("nan")},
        {"params": {"tools": []}},
        {"params": 1},
        {"stop": []},
        {"dedupe": 1},
        {"timeout": -1},
    ],
)
async def test_unusable_options_are_refused(bench: Callable[..., Bench], options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        bench().open(1, **options)


async def test_options_reach_the_endpoint(bench: Callable[..., Bench]) -> None:
    make = bench()
    await make.ask(["a"], temperature=0.5, max_tokens=7, stop="END", params={"top_p": 0.9}, system="")
    body = make.server.requests[0].body
    assert (body["temperature"], body["max_tokens"], body["stop"], body["top_p"]) == (0.5, 7, ["END"], 0.9)
    assert [message["role"] for message in body["messages"]] == ["user"]


async def test_a_failing_endpoint_is_an_item_of_its_kind(bench: Callable[..., Bench]) -> None:
    def reply(request: ScriptedRequest) -> Any:
        return {"auth": Fault.http(401), "down": Fault.http(500), "odd": Fault.malformed()}.get(request.prompt, "fine")

    make = bench({"sub": reply})
    results = await make.ask(["auth", "down", "odd", "good"])
    assert [result.get("error", {}).get("kind") for result in results[:2]] == ["auth", "endpoint"]
    assert results[2]["error"]["kind"] in ("invalid", "endpoint")
    assert results[3]["text"] == "fine"
    assert make.ledger.usage().sub.calls == make.server.request_count  # retries included


async def test_each_outcome_is_recorded_and_flushed_before_it_is_delivered(bench: Callable[..., Bench]) -> None:
    make = bench()
    await make.ask([f"p{i}" for i in range(50)])
    for index in range(50):
        recorded, delivered = make.order.index(f"recorded 0.b1.{index}"), make.order.index(f"delivered {index}")
        assert "flushed" in make.order[recorded:delivered]


async def test_equal_prompts_are_asked_apart_unless_deduped(bench: Callable[..., Bench]) -> None:
    make = bench(delay=0.05)
    await make.ask(["same"] * 5)
    assert make.server.request_count == 5
    make.caller.begin_cell()
    results = await make.ask(["other"] * 5, dedupe=True)
    assert make.server.request_count == 6
    assert sorted(result["cached"] for result in results) == [False, True, True, True, True]
    assert make.ledger.usage().sub.cached_calls == 4


async def test_the_same_cell_again_costs_nothing(bench: Callable[..., Bench]) -> None:
    numbers = iter(range(100))
    make = bench({"sub": lambda request: str(next(numbers))})
    first = await make.ask(["vote"] * 3)
    make.caller.begin_cell()
    again = await make.ask(["vote"] * 3)
    assert [result["text"] for result in again] == [result["text"] for result in first]
    assert {result["cached"] for result in again} == {True}
    assert {result["input_tokens"] for result in again} == {0}
    fourth = await make.ask(["vote"])
    assert fourth[0]["cached"] is False
    assert make.server.request_count == 4


async def test_an_error_is_not_remembered(bench: Callable[..., Bench]) -> None:
    make = bench({"sub": [Fault.http(400), "now it works"]})
    assert "error" in (await make.ask(["q"]))[0]
    make.caller.begin_cell()
    assert (await make.ask(["q"]))[0]["text"] == "now it works"


async def test_a_token_limit_is_soft_exact_and_not_overrun(bench: Callable[..., Bench]) -> None:
    reply = Reply(text="x" * 40, usage={"prompt_tokens": 10, "completion_tokens": 10})
    make = bench({"sub": reply}, limits=Limits(max_tokens=1000), delay=0.01)
    results = await make.ask([f"prompt {i}" for i in range(100)], max_tokens=100)
    kinds = [result.get("error", {}).get("kind") for result in results]
    usage = make.ledger.usage().sub
    assert usage.input_tokens + usage.output_tokens == 20 * kinds.count(None) <= 1000
    assert kinds.count(None) >= 40  # reservations that come back unused are used again
    assert set(kinds) == {None, "budget"}


async def test_the_number_of_calls_is_limited_exactly(bench: Callable[..., Bench]) -> None:
    make = bench(limits=Limits(max_sub_calls=7), delay=0.02)
    one, two = await asyncio.gather(make.ask([f"a{i}" for i in range(10)]), make.ask([f"b{i}" for i in range(10)]))
    assert sum("text" in result for result in one + two) == make.server.request_count == 7
    assert {result["error"]["kind"] for result in one + two if "error" in result} == {"budget"}


async def test_a_prompt_beyond_the_window_is_not_sent(bench: Callable[..., Bench]) -> None:
    make = bench(context_window=5000)
    results = await make.ask(["x" * 100, "x" * 10_000, {"too_long": 10**9}])
    assert [result.get("error", {}).get("kind") for result in results] == [None, "too_long", "too_long"]
    assert make.server.request_count == 1


async def test_cancel_keeps_what_arrived_and_answers_for_the_rest(bench: Callable[..., Bench]) -> None:
    def reply(request: ScriptedRequest) -> Any:
        return "quick" if request.prompt.startswith("quick") else Reply(text="slow", delay=20)

    make = bench({"sub": reply}, window=8)
    batch, results = make.open(30)
    for index in range(25):  # the last five never come
        batch.add(index, f"quick {index}" if index < 3 else f"slow {index}")
    async with asyncio.timeout(10):
        while len(results) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    begun = time.monotonic()
    batch.cancel()
    await batch.wait()
    assert time.monotonic() - begun < 1
    assert [results[i].get("text") for i in range(3)] == ["quick"] * 3
    assert {results[i]["error"]["kind"] for i in range(3, 30)} == {"cancelled"}
    make.caller.begin_cell()
    assert (await make.ask(["quick 0"]))[0]["cached"] is True


async def test_a_call_cancelled_at_once_leaves_no_reservation(bench: Callable[..., Bench]) -> None:
    make = bench(limits=Limits(max_tokens=100_000))
    batch, results = make.open(5)
    for index in range(5):
        batch.add(index, f"p{index}")
    batch.cancel()
    await batch.wait()
    assert len(results) == 5
    await make.scheduler.aclose()
    assert make.ledger.open_tokens == 0


async def test_who_waits_for_a_cancelled_call_of_another_batch_gets_a_reply(bench: Callable[..., Bench]) -> None:
    make = bench(delay=0.2)
    first, _ = make.open(1, dedupe=True)
    first.add(0, "shared")
    second = asyncio.create_task(make.ask(["shared"], dedupe=True))
    await asyncio.sleep(0.05)
    first.cancel()
    assert (await second)[0]["text"] == "<shared>"


async def test_a_short_batch_does_not_wait_behind_a_long_one(bench: Callable[..., Bench]) -> None:
    make = bench(delay=0.02, window=4)
    long = asyncio.create_task(make.ask([f"long {i}" for i in range(200)]))
    await asyncio.sleep(0.03)
    await make.ask(["short"])
    assert not long.done()
    await long


async def test_many_prompts_are_few_tasks(bench: Callable[..., Bench]) -> None:
    make = bench(delay=0.05, window=16)
    before = len(asyncio.all_tasks())
    batch, results = make.open(5000)
    for index in range(5000):
        batch.add(index, f"p{index}")
    assert len(asyncio.all_tasks()) - before <= 16
    batch.cancel()
    await batch.wait()
    assert len(results) == 5000


async def test_hostile_indexes_are_reported_and_harmless(bench: Callable[..., Bench]) -> None:
    make = bench()
    batch, results = make.open(1)
    for index in (-1, 1, True, "0", None):
        batch.add(index, "x")
    batch.add(0, "good")
    batch.add(0, "twice")
    await batch.wait()
    assert results[0]["text"] == "<good>"
    assert sum(event["type"] == "protocol.error" for event in make.events) == 6


async def test_a_cancelled_batch_counts_the_requests_that_were_made_and_no_others(bench: Callable[..., Bench]) -> None:
    make = bench(delay=20, limits=Limits(max_sub_calls=40), window=12)
    make.model._limiter.set_ceiling(5)
    batch, _ = make.open(30)
    for index in range(30):
        batch.add(index, f"p{index}")
    async with asyncio.timeout(10):
        while make.server.request_count < 5:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    batch.cancel()
    await make.scheduler.aclose()
    assert make.ledger.usage().sub.calls == make.server.request_count == 5
    assert make.ledger.remaining().sub_calls == 35


async def test_what_costs_nothing_is_recorded_in_measure_only(bench: Callable[..., Bench]) -> None:
    make = bench(limits=Limits(max_sub_calls=1))
    long = "x" * 100_000
    await make.ask([long])
    (paid,) = (event for event in make.events if event["type"] == "call.completed")
    assert (paid["prompt"], paid["text"]) == (long, f"<{long}>")
    for _ in range(3 * FREE_EVENTS // 100):
        make.caller._occurrences.begin_cell()
        results = await make.ask([long] + ["no budget"] * 99)
        assert results[0]["cached"]
        assert {result["error"]["kind"] for result in results[1:]} == {"budget"}
    free = make.events[3:]
    assert len(free) <= FREE_EVENTS + 200
    assert sum(len(repr(event)) for event in free) < 400 * len(free)
    make.caller.begin_cell()
    make.events.clear()
    await make.ask([long])
    assert [event["type"] for event in make.events] == ["batch.started", "call.completed", "batch.completed"]
    assert make.events[1]["cached"]
    assert make.events[1]["key"] == paid["key"]
