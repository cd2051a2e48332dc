"""Runs that are made ready before they begin, the pool that lets them, and what the runs of a batch share."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rlm import RLM, BatchTask, run_batch
from rlm.batches.pool import in_pool
from rlm.batches.shares import GrantedPurse, Shares
from rlm.budget import Ledger, Limits
from rlm.config import Price, Settings
from rlm.errors import InputError
from rlm.gates import Gate, GateClosed
from rlm.kernels import environment
from rlm.prices import PriceTable
from rlm.protocols import Tokens
from rlm.purse import Purse
from rlm.run import Run
from rlm.testing import ScriptedModelServer
from tests.batches.conftest import Models, answer_of

pytestmark = pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")


def children() -> set[str]:
    """Processes of ours: the agents of sandboxes."""
    tasks = Path(f"/proc/{os.getpid()}/task").iterdir()
    return {pid for task in tasks for pid in (task / "children").read_text().split()}


class Door:
    """A gate that opens when it is told to."""

    def __init__(self) -> None:
        self.came, self.opened = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        self.came.set()
        await self.opened.wait()
        yield


@pytest.fixture
def settings(server: ScriptedModelServer, isolated_env: Path) -> Settings:
    environment.ensure()
    return Settings(
        model="root", sub_model="sub", base_url=server.base_url, sandbox="process", trace_dir=isolated_env / "traces"
    )


def a_run(settings: Settings, **options: Any) -> Run:
    from rlm.context import Value

    return Run(settings, "a question about a ?", [Value("a")], **options)


async def test_the_sandbox_is_up_before_the_turn_and_nothing_else_has_begun(settings, models: Models) -> None:
    gate, events, before = Door(), list[dict[str, Any]](), children()
    playing = asyncio.create_task(a_run(settings, sinks=[events.append]).play(gate.enter))
    await gate.came.wait()
    assert len(children() - before) == 1, "the agent of its sandbox"
    await asyncio.sleep(0.5)
    assert (events, models.seen) == ([], {})
    gate.opened.set()
    result = await playing
    assert result.answer == answer_of("a")
    assert [event["type"] for event in events][:1] == ["run.started"]
    assert result.seconds < events[-1]["ts"] - events[0]["ts"] + 0.2, "waiting is not the run's time"
    assert children() == before


@pytest.mark.parametrize("refused", [False, True])
async def test_a_run_whose_turn_does_not_come_leaves_nothing(settings, models: Models, refused: bool) -> None:
    before, came = children(), asyncio.Event()

    @asynccontextmanager
    async def gate() -> AsyncIterator[None]:
        came.set()
        if refused:
            raise GateClosed
        await asyncio.Event().wait()
        yield

    playing = asyncio.create_task(a_run(settings).play(gate))
    await came.wait()
    if not refused:
        playing.cancel()
    with pytest.raises(GateClosed if refused else asyncio.CancelledError):
        await playing
    assert (children(), models.seen) == (before, {})
    assert settings.trace_dir is not None
    assert list(settings.trace_dir.iterdir()) == []


async def test_a_mistake_needs_no_turn(settings) -> None:
    gate = Door()
    with pytest.raises(InputError, match="no such file"):
        await Run(settings, "?", ["missing.txt"]).play(gate.enter)
    assert not gate.came.is_set()


async def test_the_next_runs_are_ready_while_others_go_on() -> None:
    begun, within, most = list[int](), list[int](), list[int]()
    gates = [asyncio.Event() for _ in range(6)]

    async def play(job: int, gate: Gate) -> int:
        begun.append(job)
        async with gate():
            within.append(job)
            most.append(len(within))
            await gates[job].wait()
            within.remove(job)
        return job

    done = []
    async with aclosing(in_pool(range(6), play, workers=2, ahead=1)) as coming:
        for expected in range(6):
            gates[expected].set()
            done.append(await anext(coming))
            assert len(begun) <= len(done) + 3
    assert (done, max(most), begun) == (list(range(6)), 2, list(range(6)))


async def test_to_close_it_cancels_what_goes_on_and_waits() -> None:
    cleaned = []

    async def play(job: int, gate: Gate) -> int:
        try:
            async with gate():
                await asyncio.sleep(0 if job == 0 else 60)
                return job
        finally:
            await asyncio.sleep(0.01)
            cleaned.append(job)

    async with aclosing(in_pool(range(9), play, workers=2, ahead=2)) as coming:
        assert await anext(coming) == 0
    assert sorted(cleaned) == [0, 1, 2, 3]


async def test_no_job_is_begun_that_others_have_left_no_money_for() -> None:
    purse, played = Purse(1.0), []

    async def play(job: int, gate: Gate) -> int:
        async with gate():
            played.append(job)
            await asyncio.sleep(0.01)
            purse.spend(0.3)
        return job

    async with aclosing(in_pool(range(9), play, workers=1, ahead=2, purse=purse)) as coming:
        assert [job async for job in coming] == [0, 1, 2]
    assert played == [0, 1, 2]
    assert purse.spent == pytest.approx(0.9)


# --- the money of several runs


def ledger(purse: Purse | None, cap: float | None = None) -> Ledger:
    return Ledger(Limits(max_cost=cap), PriceTable({"m": Price(input=0, output=1_000_000)}), purse=purse)


def test_runs_draw_on_one_purse() -> None:
    purse = Purse(10.0, spent=1.0)
    first, second = ledger(purse), ledger(purse, cap=4)
    place: Any = first.reserve("sub", "m", 0, 5)
    assert (place.cost, purse.left()) == (5, 4)
    short: Any = second.reserve("sub", "m", 0, 5)
    assert (short.limit, short.temporary) == ("max_cost", False), "its own limit is less"
    other: Any = first.reserve("sub", "m", 0, 5)
    assert other.temporary
    place.settle(Tokens(0, 2))
    assert (purse.spent, purse.left()) == (3, 7)
    second.set_aside("last", "m", 0, 3)
    assert (purse.left(), second.room("m", 0, last="last")) == (4, (4, "max_cost"))
    assert first.room("m", 0) == (4, "max_cost")
    second.drop_aside("last")
    assert purse.left() == 7
    first.recall("sub", "m", Tokens(0, 5), attempts=1, call=True, child=False)
    assert (purse.spent, first.cost()) == (3, 7), "what was spent before is known to the purse"
    assert ledger(None).room("m", 0) is None


def test_shares_are_never_more_than_there_is() -> None:
    shares = Shares(concurrency=10, money=None)
    for run in "ab":
        shares.begin(run, 0.0)
    assert shares.places("a", 0, 50) == 10
    assert shares.places("b", 0, 8) == 0, "all are out"
    assert shares.places("a", 10, 50) == 5, "others are short: half of them, once they are free"
    assert shares.places("b", 0, 8) == 0, "they are still in flight"
    assert shares.places("a", 5, 50) == 5
    assert shares.places("b", 0, 8) == 5
    assert shares.places("a", 5, 3) == 3, "who wants less leaves the rest"
    assert shares.places("a", 3, 3) == 3
    assert shares.places("b", 5, 9) == 7
    shares.leave("b")
    assert shares.places("a", 3, 50) == 10


def test_money_is_granted_once_also_to_a_run_that_begins_again() -> None:
    shares = Shares(concurrency=1, money=10.0)
    shares.begin("a", 2.0)
    assert [shares.more("a", 4.0), shares.more("a", 4.0), shares.more("a", 4.0)] == [4, 4, 2]
    shares.leave("a")
    shares.begin("b", 0.0)
    assert shares.more("b", 1.0) == 0, "what the lost run had may have been spent"
    shares.begin("a", 5.0)
    assert shares.more("b", 4.0) == 4
    assert shares.end("a", 6.0) == 4
    assert shares.more("b", 9.0) == 2


async def test_a_purse_that_is_filled_asks_until_there_is_no_more() -> None:
    grants = iter([1.0, 2.0, 1.5, 0.0])
    asked = []

    async def ask(amount: float) -> float:
        asked.append(amount)
        return next(grants)

    purse = GrantedPurse(ask, piece=1.0, cap=8.0)
    filling = asyncio.create_task(purse.fill())
    book = ledger(purse)
    while getattr(place := book.reserve("sub", "m", 0, 5), "temporary", False):
        await book.given_back()
    assert (asked, purse.left()) == ([1, 2, 4, 8], 4.5)
    assert getattr(place, "limit", "") == "max_cost"
    await filling


# --- from Python


async def test_a_batch_from_python(settings, models: Models, isolated_env: Path, tasks: Callable[..., Path]) -> None:
    some = [BatchTask(name, f"a question about {name} ?", context=name) for name in "abc"]
    rlm = RLM(settings=settings)
    async with aclosing(run_batch(rlm, some, out=isolated_env / "out", workers=1, ahead=1)) as coming:
        first, result = await anext(coming)
    assert result.answer == answer_of(first)
    found = {id_: result async for id_, result in run_batch(rlm, some, out=isolated_env / "out", workers=2)}
    assert {id_: result.answer for id_, result in found.items()} == {name: answer_of(name) for name in "abc"}
    assert models.seen[f"root {first} 0"] == 1
