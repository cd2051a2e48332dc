"""The retry layer alone, on a clock of its own."""

from __future__ import annotations

import pytest

from rlm.errors import AuthError, EndpointError, ModelError, RateLimited
from rlm.models.failures import AttemptFailed
from rlm.models.retry import Retries, RetryPolicy


class Clock:
    def __init__(self, jitter=1.0):
        self.now = 1000.0
        self.slept: list[float] = []
        self.policy = RetryPolicy(sleep=self.sleep, clock=lambda: self.now, jitter=lambda: jitter)

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


async def drive(clock, failed, *, takes=0.0, tries=100):
    """Attempts until the retry layer gives up; returns the error."""
    retries = Retries(clock.policy)
    for _ in range(tries):
        retries.begin()
        clock.now += takes
        try:
            await retries.after(failed)
        except ModelError as error:
            return error
    raise AssertionError("it never gave up")


async def test_backoff_doubles_up_to_a_maximum_and_six_attempts():
    clock = Clock()
    error = await drive(clock, AttemptFailed(EndpointError("x"), retry=True))
    assert clock.slept == [0.5, 1, 2, 4, 8]
    assert error.attempts == 6


async def test_jitter_is_full():
    clock = Clock(jitter=0.0)
    await drive(clock, AttemptFailed(EndpointError("x"), retry=True))
    assert clock.slept == [0] * 5


async def test_what_cannot_get_better_is_not_retried():
    clock = Clock()
    error = await drive(clock, AttemptFailed(AuthError("x")))
    assert (error.attempts, clock.slept) == (1, [])


async def test_retry_after_is_obeyed_and_capped():
    clock = Clock()
    await drive(clock, AttemptFailed(EndpointError("x"), retry=True, retry_after=20))
    assert clock.slept == [20] * 5
    clock = Clock()
    await drive(clock, AttemptFailed(EndpointError("x"), retry=True, retry_after=86400))
    assert set(clock.slept) == {60}


async def test_rejections_are_bounded_by_time_alone():
    clock = Clock()
    error = await drive(clock, AttemptFailed(RateLimited("x"), retry=True, throttled=True))
    assert error.attempts > 6
    assert 250 < sum(clock.slept) <= 300


async def test_slow_failures_use_up_the_patience():
    clock = Clock()
    error = await drive(clock, AttemptFailed(EndpointError("x"), retry=True), takes=140)
    assert error.attempts == 3


@pytest.mark.parametrize("jitter", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("takes", [0.0, 0.3])
async def test_an_unreachable_endpoint_is_given_up_within_ten_seconds(jitter, takes):
    clock = Clock(jitter)
    await drive(clock, AttemptFailed(EndpointError("x"), retry=True, unreachable=True), takes=takes)
    assert clock.now - 1000 <= 10


async def test_stale_connections_are_replaced_for_free_but_not_for_ever():
    clock = Clock()
    error = await drive(clock, AttemptFailed(EndpointError("x"), retry=True, stale=True))
    assert error.attempts == 8
    assert len(clock.slept) == 5
