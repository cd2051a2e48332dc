"""The ledger never promises more than there is, and its books balance."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from rlm.budget import Ledger, Limits, Reservation, Shortage
from rlm.config import Price
from rlm.errors import ConfigError
from rlm.prices import PriceTable
from rlm.protocols import Tokens

PRICES = PriceTable({"m": Price(input=1.0, output=4.0, cached_input=0.1)})
SMALL = st.integers(0, 300)
OWNERS = st.sampled_from([None, "root", "child"])


class Books(RuleBasedStateMachine):
    """Any order of reserving and ending, with actual figures within what was reserved."""

    opened = Bundle("opened")

    def __init__(self) -> None:
        super().__init__()
        self.limits = Limits(max_tokens=5_000, max_cost=0.01, max_sub_calls=12)
        self.ledger = Ledger(self.limits, PRICES)
        self.spent = {"root": [0, 0, 0], "sub": [0, 0, 0]}
        self.open: dict[int, int] = {}
        self.started_subs = 0

    @rule(
        target=opened, kind=st.sampled_from(["root", "sub"]), size=SMALL, cap=SMALL, last=OWNERS, counted=st.booleans()
    )
    def reserve(self, kind, size: int, cap: int, last: str | None, counted: bool):
        place = self.ledger.reserve(kind, "m", size, cap, last=last, counted=None if counted else False)
        if isinstance(place, Shortage):
            return None
        self.started_subs += place.counted
        self.open[id(place)] = size + cap
        return place, size, cap

    @rule(entry=consumes(opened), share=st.floats(0, 1), attempts=st.integers(1, 4))
    def settle(self, entry, share: float, attempts: int) -> None:
        if entry:
            place, size, cap = entry
            tokens = Tokens(int(size * share), int(cap * share))
            place.settle(tokens, attempts=attempts)
            self._ended(place, tokens, attempts)

    @rule(entry=consumes(opened), attempts=st.integers(1, 4))
    def fail(self, entry, attempts: int) -> None:
        if entry:
            entry[0].fail(attempts=attempts)
            self._ended(entry[0], Tokens(), attempts)

    @rule(entry=consumes(opened))
    def release(self, entry) -> None:
        if entry:
            entry[0].release()
            self.started_subs -= entry[0].counted
            self._ended(entry[0], Tokens(), 0)

    @rule(owner=st.sampled_from(["root", "child"]), size=SMALL, output=SMALL)
    def set_aside(self, owner: str, size: int, output: int) -> None:
        self.ledger.set_aside(owner, "m", size, output)

    @rule(owner=st.sampled_from(["root", "child"]))
    def drop_aside(self, owner: str) -> None:
        self.ledger.drop_aside(owner)

    @rule()
    def start_a_child(self) -> None:
        place = self.ledger.reserve_child()
        if isinstance(place, Reservation):
            self.started_subs += 1
            place.settle(Tokens(), attempts=0)

    def _ended(self, place: Reservation, tokens: Tokens, attempts: int) -> None:
        del self.open[id(place)]
        for position, amount in enumerate((tokens.input, tokens.output, attempts)):
            self.spent[place.kind][position] += amount

    @invariant()
    def within_limits(self) -> None:
        tokens = sum(sum(figures[:2]) for figures in self.spent.values())
        assert self.ledger.open_tokens == sum(self.open.values())
        assert tokens + self.ledger.open_tokens <= 5_000
        assert (self.ledger.cost() or 0.0) <= 0.01 + 1e-9
        assert self.started_subs <= 12
        assert self.ledger.remaining().sub_calls == 12 - self.started_subs

    @invariant()
    def sums_are_usage(self) -> None:
        usage = self.ledger.usage()
        for kind, mine in (("root", usage.root), ("sub", usage.sub)):
            assert [mine.input_tokens, mine.output_tokens, mine.calls] == self.spent[kind]


TestBooks = Books.TestCase


@given(st.lists(st.tuples(SMALL, SMALL, st.integers(0, 20_000), st.integers(0, 20_000)), max_size=40))
def test_an_overrun_is_no_more_than_the_error_of_the_estimates(requests: list[tuple[int, int, int, int]]) -> None:
    """What an endpoint says that it took counts, also if it is more than was reserved; then nothing fits any more."""
    ledger, error = Ledger(Limits(max_tokens=5_000, max_cost=0.01), PRICES), Tokens()
    for size, cap, asked, answered in requests:
        place = ledger.reserve("sub", "m", size, cap)
        if isinstance(place, Shortage):
            assert not place.temporary
            continue
        place.settle(Tokens(asked, answered))
        error = Tokens(error.input + max(0, asked - size), error.output + max(0, answered - cap))
    used, cost = ledger.usage().sub, ledger.cost()
    assert used.input_tokens + used.output_tokens <= 5_000 + error.input + error.output
    assert cost is not None
    assert cost <= 0.01 + (PRICES.cost("m", error) or 0.0) + 1e-9
    if used.input_tokens + used.output_tokens >= 5_000:
        assert isinstance(ledger.reserve("sub", "m", 1, 0), Shortage)
        assert ledger.remaining().tokens == 0


def test_the_last_turn_keeps_its_reserve() -> None:
    ledger = Ledger(Limits(max_tokens=1000))
    ledger.set_aside("root", "m", 200, 100)
    assert isinstance(ledger.reserve("sub", "m", 600, 101), Shortage)
    assert isinstance(ledger.reserve("sub", "m", 600, 100), Reservation)
    assert ledger.room("m", 200) == (0, "max_tokens")
    assert ledger.room("m", 200, last="root") == (100, "max_tokens")
    assert isinstance(ledger.reserve("root", "m", 200, 100, last="root"), Reservation)


def test_each_rollout_has_a_reserve_of_its_own() -> None:
    ledger = Ledger(Limits(max_tokens=1000))
    ledger.set_aside("root", "m", 200, 100)
    ledger.set_aside("child", "m", 300, 100)
    assert ledger.remaining().tokens == 300
    assert isinstance(ledger.reserve("sub", "m", 700, 1, last="child"), Shortage)
    assert isinstance(ledger.reserve("sub", "m", 600, 100, last="child"), Reservation)
    ledger.drop_aside("child")
    assert ledger.room("m", 0, last="root") == (300, "max_tokens")


async def test_who_waits_for_room_goes_on_when_some_comes_back() -> None:
    ledger = Ledger(Limits(max_tokens=1000))
    place = ledger.reserve("sub", "m", 400, 400)
    assert isinstance(place, Reservation)
    waiting = asyncio.create_task(ledger.given_back())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    place.settle(Tokens(10, 10))
    await asyncio.wait_for(waiting, 1)
    assert ledger.room("m", 0) == (980, "max_tokens")


def test_a_shortage_says_whether_waiting_helps() -> None:
    ledger = Ledger(Limits(max_tokens=1000))
    assert isinstance(ledger.reserve("sub", "m", 400, 400), Reservation)
    waits, never = ledger.reserve("sub", "m", 400, 400), ledger.reserve("sub", "m", 4000, 400)
    assert isinstance(waits, Shortage)
    assert waits.temporary
    assert isinstance(never, Shortage)
    assert not never.temporary


def test_a_reservation_ends_once() -> None:
    place = Ledger(Limits()).reserve("root", "m", 1, 1)
    assert isinstance(place, Reservation)
    place.settle(Tokens(1, 1))
    with pytest.raises(RuntimeError):
        place.release()


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**7))
def test_cost_counts_cached_input_apart(size: int, output: int, cached: int) -> None:
    cached = min(size, cached)
    expected = ((size - cached) * 1.0 + cached * 0.1 + output * 4.0) / 1e6
    assert PRICES.cost("m", Tokens(size, output, cached)) == pytest.approx(expected)


def test_an_unknown_price_makes_the_cost_unknown_and_a_cost_limit_an_error() -> None:
    ledger = Ledger(Limits(), PRICES)
    place = ledger.reserve("root", "other", 1, 1)
    assert isinstance(place, Reservation)
    place.settle(Tokens(1, 1))
    assert ledger.cost() is None
    with pytest.raises(ConfigError, match="other"):
        PRICES.require(["m", "other"])
