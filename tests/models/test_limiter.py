"""The limiter: bounds, order, AIMD, pauses, cancellation, several loops."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm.models.limiter import Lane, Limiter, limiter_for


async def test_starts_at_the_ceiling_and_admits_in_order():
    limiter = Limiter(2)
    order: list[int] = []

    async def one(index):
        epoch = await limiter.acquire()
        order.append(index)
        await asyncio.sleep(0)
        limiter.release(epoch, ok=True)

    await asyncio.gather(*(one(index) for index in range(20)))
    assert order == list(range(20))
    assert limiter.in_flight == 0


async def test_the_root_goes_before_a_queue_of_sub_calls_and_retries_before_new_ones():
    limiter = Limiter(1)
    held = await limiter.acquire()
    order: list[Lane] = []

    async def one(lane):
        epoch = await limiter.acquire(lane)
        order.append(lane)
        limiter.release(epoch)

    tasks = [asyncio.create_task(one(lane)) for lane in (*[Lane.NEW] * 5, Lane.RETRY, Lane.ROOT)]
    await asyncio.sleep(0)
    limiter.release(held)
    await asyncio.gather(*tasks)
    assert order == [Lane.ROOT, Lane.RETRY, *[Lane.NEW] * 5]


async def test_a_round_of_rejections_halves_once_and_successes_grow_back():
    limiter = Limiter(64)
    epochs = [await limiter.acquire() for _ in range(64)]
    for epoch in epochs:
        limiter.release(epoch, ok=False)
    assert limiter.limit == 32
    rounds = 0
    while limiter.limit < 64:
        rounds += 1
        epochs = [await limiter.acquire() for _ in range(limiter.limit)]
        for epoch in epochs:
            limiter.release(epoch, ok=True)
    assert 5 <= rounds <= 30


async def test_successes_of_an_idle_endpoint_prove_nothing():
    limiter = Limiter(64)
    limiter.release(await limiter.acquire(), ok=False)
    for _ in range(1000):
        limiter.release(await limiter.acquire(), ok=True)
    assert limiter.limit == 32


async def test_the_limit_never_falls_below_one():
    limiter = Limiter(4)
    for _ in range(10):
        limiter.release(await limiter.acquire(), ok=False)
    assert limiter.limit == 1
    limiter.release(await asyncio.wait_for(limiter.acquire(), 1))


async def test_a_pause_holds_everybody_back_and_ends():
    limiter = Limiter(2)
    epoch = await limiter.acquire()
    begun = time.monotonic()
    limiter.release(epoch, ok=False, pause=0.15)
    await asyncio.gather(*(_pass(limiter) for _ in range(5)))
    assert 0.14 <= time.monotonic() - begun < 1


async def test_a_longer_pause_prolongs_and_a_shorter_one_does_not_shorten():
    limiter = Limiter(3)
    epochs = [await limiter.acquire() for _ in range(3)]
    begun = time.monotonic()
    waiting = asyncio.create_task(_pass(limiter))
    await asyncio.sleep(0)
    for epoch, pause in zip(epochs, (0.05, 0.2, 0.01), strict=True):
        limiter.release(epoch, ok=False, pause=pause)
    await waiting
    assert 0.19 <= time.monotonic() - begun < 1


async def _pass(limiter):
    limiter.release(await limiter.acquire())


async def test_cancelling_a_waiter_takes_no_slot_even_after_the_grant():
    limiter = Limiter(1)
    held = await limiter.acquire()
    waiters = [asyncio.create_task(limiter.acquire()) for _ in range(3)]
    await asyncio.sleep(0)
    waiters[0].cancel()
    limiter.release(held)
    waiters[1].cancel()
    await asyncio.sleep(0)
    assert waiters[2] in (await asyncio.wait(waiters, timeout=1))[0]
    limiter.release(await waiters[2])
    assert limiter.in_flight == 0


def test_several_loops_in_several_threads_share_one_bound():
    limiter = Limiter(5)
    lock = threading.Lock()
    now = peak = total = 0

    async def one():
        nonlocal now, peak, total
        epoch = await limiter.acquire()
        with lock:
            now += 1
            peak = max(peak, now)
        await asyncio.sleep(0.001)
        with lock:
            now -= 1
            total += 1
        limiter.release(epoch, ok=True, pause=0.02 if total == 50 else 0)

    async def many():
        await asyncio.gather(*(one() for _ in range(100)))

    threads = [threading.Thread(target=asyncio.run, args=(many(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (total, peak, limiter.in_flight) == (400, 5, 0)


def test_a_closed_loop_leaves_no_hole():
    limiter = Limiter(1)
    dead = asyncio.new_event_loop()
    stuck = dead.create_task(limiter.acquire())
    dead.run_until_complete(stuck)
    forgotten = dead.create_task(limiter.acquire())
    dead.run_until_complete(asyncio.sleep(0))
    forgotten.cancel()
    dead.run_until_complete(asyncio.gather(forgotten, return_exceptions=True))
    dead.close()
    limiter.release(stuck.result())
    asyncio.run(asyncio.wait_for(_pass(limiter), 1))
    assert limiter.in_flight == 0


async def test_the_registry_has_one_limiter_per_endpoint_and_the_latest_ceiling():
    first = limiter_for("http://registry.test/v1", 10)
    assert limiter_for("http://registry.test/v1", 20) is first
    assert (first.ceiling, first.limit) == (20, 20)
    assert limiter_for("http://registry.test/v2") is not first
    epochs = [await first.acquire() for _ in range(20)]
    waiting = asyncio.create_task(first.acquire())
    await asyncio.sleep(0)
    limiter_for("http://registry.test/v1", 21)
    epochs.append(await asyncio.wait_for(waiting, 1))
    for epoch in epochs:
        first.release(epoch)
    assert limiter_for("http://registry.test/v1", 3).limit == 3


@settings(deadline=None, max_examples=60)
@given(
    ceiling=st.integers(1, 6),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["acquire", "root", "ok", "reject", "neutral", "cancel", "tick"]), st.integers(0, 50)
        ),
        max_size=80,
    ),
)
def test_whatever_happens_the_books_balance(ceiling, steps):
    """No more in flight than the limit at admission; nobody is lost; all slots come back."""

    async def run():
        limiter = Limiter(ceiling)
        waiting: list[asyncio.Task[int]] = []
        held: list[int] = []

        def collect():
            for task in [task for task in waiting if task.done()]:
                waiting.remove(task)
                if not task.cancelled():
                    held.append(task.result())

        for what, which in steps:
            if what in ("acquire", "root"):
                waiting.append(asyncio.create_task(limiter.acquire(Lane.ROOT if what == "root" else Lane.NEW)))
            elif what == "cancel" and waiting:
                waiting[which % len(waiting)].cancel()
            elif what != "tick" and held:
                ok = {"ok": True, "reject": False}.get(what)
                limiter.release(held.pop(which % len(held)), ok=ok)
            await asyncio.sleep(0)
            collect()
            assert 1 <= limiter.limit <= ceiling
            assert limiter.in_flight <= ceiling
        for _ in range(len(waiting) + len(held) + 5):
            await asyncio.sleep(0)
            collect()
            if held:
                limiter.release(held.pop())
        collect()
        assert not waiting
        assert not held
        assert limiter.in_flight == 0

    asyncio.run(run())


async def test_aimd_settles_near_what_an_endpoint_bears():
    limiter = Limiter(256)
    bears, serving, rejected, served = 16, 0, 0, 0

    async def one():
        nonlocal serving, rejected, served
        while True:
            epoch = await limiter.acquire()
            if serving >= bears:
                rejected += 1
                limiter.release(epoch, ok=False)
                await asyncio.sleep(0)
                continue
            serving += 1
            await asyncio.sleep(0.001)
            serving -= 1
            served += 1
            limiter.release(epoch, ok=True)
            return

    await asyncio.gather(*(one() for _ in range(3000)))
    assert served == 3000
    assert 4 <= limiter.limit <= 32
    assert rejected < 1500


@pytest.mark.parametrize("ceiling", [0, -5])
async def test_a_ceiling_is_at_least_one(ceiling):
    assert Limiter(ceiling).limit == 1
