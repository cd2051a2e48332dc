"""The bridge against a guest that keeps the rules, and against one that does not."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from rlm.bridge import frames, rate, server
from rlm.bridge.rate import RateGate
from rlm.errors import SandboxError
from rlm.protocols import Answer


class Batch:
    """Answers each prompt with its own text, when told to."""

    def __init__(self, size: int, deliver: Any, *, hold: bool) -> None:
        self.size, self.deliver, self.hold = size, deliver, hold
        self.prompts: dict[int, Any] = {}
        self.cancelled = False
        self.done = asyncio.Event()

    def add(self, index: int, prompt: Any) -> None:
        self.prompts[index] = prompt
        if not self.hold:
            self.finish(index)

    def finish(self, index: int) -> None:
        self.deliver([(index, {"text": str(self.prompts.pop(index))})])
        self.size -= 1
        if self.size == 0:
            self.done.set()

    def cancel(self) -> None:
        self.cancelled = True
        self.done.set()

    async def wait(self) -> None:
        await self.done.wait()


class Rig:
    """A bridge whose guest is the test."""

    def __init__(self, *, hold: bool = False, handlers: Any = None) -> None:
        self.sent = frames.BridgeDecoder()
        self.messages: list[dict[str, Any]] = []
        self.credit = 0
        self.closed = False
        self.busy: list[bool] = []
        self.answers: list[Answer] = []
        self.output: list[str] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.batches: list[Batch] = []
        self.hold = hold
        self.bridge = server.GuestBridge(
            events=server.BridgeEvents(
                send=lambda data: self.messages.extend(m for m, _ in self.sent.feed(data)),
                credit=self.take_credit,
                close=lambda: setattr(self, "closed", True),
                busy=self.busy.append,
                answer=self.answers.append,
                output=self.output.append,
            ),
            subcalls=self,
            handlers=handlers,
            emit=self.emit,
        )

    def emit(self, type_: str, /, **fields: Any) -> None:
        self.events.append((type_, fields))

    def take_credit(self, amount: int) -> None:
        self.credit += amount

    def open_batch(self, size: int, options: Any, deliver: Any) -> Batch:
        if "bad" in options:
            raise ValueError("unknown option bad")
        self.batches.append(Batch(size, deliver, hold=self.hold))
        return self.batches[-1]

    def feed(self, **message: Any) -> None:
        self.bridge.feed(frames.bridge_frame(message))


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_batch_in_several_frames_is_answered_item_by_item():
    rig = Rig()
    rig.feed(op="batch", id=7, n=3, opts={})
    rig.feed(op="prompts", id=7, start=0, items=["a", "b"])
    rig.feed(op="prompts", id=7, start=2, items=["c"])
    await settle()
    items = [tuple(item) for m in rig.messages if m["op"] == "results" for item in map(list, m["items"])]
    assert [(i, o["text"]) for i, o in items] == [(0, "a"), (1, "b"), (2, "c")]
    assert rig.messages[-1] == {"v": 1, "op": "done", "id": 7, "error": None}
    assert rig.busy == [True, False] * 2  # the stub answers at once, so nothing waits between the frames


async def test_an_unusable_option_is_told_to_the_guest_and_closes_nothing():
    rig = Rig()
    rig.feed(op="batch", id=1, n=1, opts={"bad": 1})
    rig.feed(op="prompts", id=1, start=0, items=["late"])
    assert rig.messages[-1]["error"] == "unknown option bad"
    assert not rig.closed


async def test_cancel_stops_only_its_own_batch():
    rig = Rig(hold=True)
    for number in (1, 2):
        rig.feed(op="batch", id=number, n=1, opts={})
        rig.feed(op="prompts", id=number, start=0, items=["a"])
    rig.feed(op="cancel", id=2)
    await settle()
    assert [batch.cancelled for batch in rig.batches] == [False, True]
    assert rig.busy == [True]
    await rig.bridge.aclose()


@pytest.mark.parametrize(
    "message",
    [
        {"op": "launch_missiles", "id": 1},
        {"op": "batch", "id": 1, "n": 1, "opts": []},
        {"op": "answer", "id": 0, "content": {"a": 1}, "ready": False, "version": 1},
        {"op": "answer", "id": 0, "content": "x", "ready": "yes", "version": 1},
        {"op": "answer", "id": 0, "content": "x" * (server.MAX_ANSWER + 1), "ready": True, "version": 1},
        {"op": "output", "id": 0, "text": 5},
    ],
)
async def test_a_message_outside_of_the_rules_closes_this_bridge_with_a_typed_event(message):
    rig = Rig()
    rig.feed(**message)
    assert rig.closed
    assert [type_ for type_, _ in rig.events] == ["protocol.error"]
    rig.feed(op="output", id=0, text="after")
    assert rig.output == []


@pytest.mark.parametrize(
    "prompts",
    [
        {"start": -1, "items": ["x"]},
        {"start": 2, "items": ["x"]},
        {"start": 0, "items": ["x"] * 3},
        {"start": 0, "items": []},
        {"start": "0", "items": ["x"]},
        {"start": 0, "items": "xy"},
    ],
)
async def test_prompts_outside_of_their_batch_close_the_bridge_and_cancel_it(prompts):
    rig = Rig(hold=True)
    rig.feed(op="batch", id=1, n=2, opts={})
    rig.feed(op="prompts", id=1, **prompts)
    assert rig.closed
    assert rig.batches[0].cancelled
    await rig.bridge.aclose()


async def test_a_prompt_sent_twice_closes_the_bridge():
    rig = Rig(hold=True)
    rig.feed(op="batch", id=1, n=2, opts={})
    rig.feed(op="prompts", id=1, start=0, items=["x"])
    rig.feed(op="prompts", id=1, start=0, items=["x"])
    assert rig.closed
    await rig.bridge.aclose()


async def test_the_id_of_a_done_batch_can_be_used_again():
    rig = Rig()
    for _ in range(2):
        rig.feed(op="batch", id=1, n=1, opts={})
        rig.feed(op="prompts", id=1, start=0, items=["x"])
        await settle()
    assert not rig.closed


async def test_an_open_id_cannot_be_opened_again():
    rig = Rig(hold=True)
    for _ in range(2):
        rig.feed(op="batch", id=2, n=1, opts={})
    assert rig.closed
    await rig.bridge.aclose()


async def test_batches_and_their_sizes_are_bounded():
    rig = Rig(hold=True)
    rig.feed(op="batch", id=1, n=server.MAX_BATCH + 1, opts={})
    assert "prompts" in rig.messages[-1]["error"]
    assert rig.batches == []
    for number in range(server.MAX_BATCHES + 1):
        rig.feed(op="batch", id=number, n=1, opts={})
    assert rig.closed
    assert len(rig.batches) == server.MAX_BATCHES
    await rig.bridge.aclose()


async def test_the_credit_of_a_prompt_comes_back_with_its_outcome_and_all_of_it_does():
    rig = Rig(hold=True)
    rig.bridge._gate = RateGate(rig.take_credit)
    prompt = "x" * (1 << 20)
    total = len(frames.bridge_frame({"op": "batch", "id": 1, "n": 2, "opts": {}}))
    total += len(frames.bridge_frame({"op": "prompts", "id": 1, "start": 0, "items": [prompt, prompt]}))
    rig.feed(op="batch", id=1, n=2, opts={})
    rig.feed(op="prompts", id=1, start=0, items=[prompt, prompt])
    assert rig.credit == 0
    rig.batches[0].finish(0)
    assert 1 << 20 <= rig.credit < (1 << 20) + 1000
    rig.batches[0].finish(1)
    await settle()
    assert total - 1000 < rig.credit <= total


async def test_a_batch_whose_prompts_do_not_come_does_not_stop_the_clock():
    rig = Rig(hold=True)
    rig.feed(op="batch", id=1, n=3, opts={})
    assert rig.busy == []
    rig.feed(op="prompts", id=1, start=0, items=["a", "b"])
    assert rig.busy == [True]
    rig.batches[0].finish(0)
    rig.batches[0].finish(1)
    assert rig.busy == [True, False]
    await rig.bridge.aclose()


async def test_more_prompts_than_the_host_can_hold_are_refused_and_nothing_closes():
    rig = Rig(hold=True)
    for number in range(1, 4):
        rig.feed(op="batch", id=number, n=server.MAX_BATCH, opts={})
    assert len(rig.batches) == 2
    assert "too many prompts" in rig.messages[-1]["error"]
    assert not rig.closed
    await rig.bridge.aclose()


async def test_batches_that_come_and_go_at_full_speed_are_refused():
    rig = Rig(hold=True)
    for number in range(1, 20):
        rig.feed(op="batch", id=number, n=server.MAX_BATCH, opts={})
        rig.feed(op="cancel", id=number)
        await settle()
    assert len(rig.batches) < 5
    assert not rig.closed
    await rig.bridge.aclose()


async def test_a_flood_of_the_shortest_frames_closes_the_bridge(monkeypatch):
    # However slow this machine is: what comes, comes at once.
    monkeypatch.setattr(rate, "time", SimpleNamespace(monotonic=lambda: 1.0))
    rig = Rig()
    frame = frames.bridge_frame({"op": "output", "id": 0, "text": ""})
    for _ in range(400):
        rig.bridge.feed(frame * 1000)
    assert rig.closed
    assert "flood" in rig.events[-1][1]["detail"]
    assert len(rig.events) == 1
    await rig.bridge.aclose()


async def test_a_handler_that_fails_in_a_way_of_ours_is_told_to_the_guest():
    async def failing(message: Any) -> dict[str, Any]:
        raise SandboxError("no index")

    rig = Rig(handlers={"install": failing})
    rig.feed(op="install", id=1, names=["a"])
    await settle()
    assert rig.messages[-1]["message"] == "no index"


async def test_a_quick_guest_is_slowed_down_and_loses_no_credit():
    granted = 0

    def grant(amount: int) -> None:
        nonlocal granted
        granted += amount

    gate = RateGate(grant, rate=1000, burst=100)
    for _ in range(300):
        assert gate.admit()
        gate.give_back(1 << 20)
    early = granted
    assert early <= 102 << 20
    await asyncio.sleep(0.4)
    assert gate.admit()
    gate.give_back(1 << 20)
    assert granted == 301 << 20


async def test_requests_are_bounded_and_answered_by_id():
    release = asyncio.Event()

    async def slow(message: Any) -> dict[str, Any]:
        await release.wait()
        if message["names"] == ["bad"]:
            raise ValueError("not allowed")
        return {"message": "done"}

    rig = Rig(handlers={"install": slow})
    rig.feed(op="install", id=1, names=["a"])
    rig.feed(op="install", id=2, names=["bad"])
    release.set()
    await settle()
    assert {m["id"]: m["message"] for m in rig.messages} == {1: "done", 2: "not allowed"}
    release.clear()
    for number in range(10, 11 + server.MAX_REQUESTS):
        rig.feed(op="install", id=number, names=["a"])
    assert rig.closed
    await rig.bridge.aclose()


async def test_closing_ends_everything_that_runs():
    async def forever(message: Any) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    rig = Rig(hold=True, handlers={"install": forever})
    rig.feed(op="batch", id=1, n=1, opts={})
    rig.feed(op="install", id=2, names=[])
    await settle()
    await asyncio.wait_for(rig.bridge.aclose(), 2)
    assert rig.batches[0].cancelled


def test_results_and_replies_are_plain_json():
    frame = frames.bridge_frame({"op": "results", "id": 1, "items": [(0, {"text": "é\ud800"})]})
    assert json.loads(frame[4:])["items"][0][1]["text"] == "é\ud800"
