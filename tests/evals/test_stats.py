"""Means, intervals and differences: against known values, and what holds for all values."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm.evals.stats import bootstrap, estimate, paired, percentile, wilson

REWARDS = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (5, 10, 0.2366, 0.7634),
        (1, 1, 0.2065, 1.0),
        (81, 263, 0.2553, 0.3662),
    ],
)
def test_wilson_against_published_values(successes: int, n: int, low: float, high: float) -> None:
    found = wilson(successes, n)
    assert found.mean == successes / n
    assert [found.low, found.high] == pytest.approx([low, high], abs=5e-4)


def test_shares_are_wilsons_and_other_values_the_bootstraps() -> None:
    assert estimate([]) is None
    assert estimate([0.0, 1.0, 1.0]) == wilson(2, 3)
    assert estimate([0.5, 1.0]) == bootstrap([0.5, 1.0])
    assert estimate([0.5]) == (0.5, 0, 1, 1)


def test_the_bootstrap_is_about_as_wide_as_the_normal_interval() -> None:
    values = [number / 99 for number in range(100)]
    found = bootstrap(values)
    half = 1.96 * 0.2930 / 10  # the standard deviation of these values, over the root of 100
    assert found.mean == pytest.approx(0.5)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.1)
    assert found == bootstrap(values)


@settings(max_examples=30, deadline=None)
@given(REWARDS)
def test_a_mean_lies_within_its_interval_and_that_within_the_values(values: list[float]) -> None:
    found = bootstrap(values, resamples=200)
    assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9
    assert found.n == len(values)
    whole = estimate([round(value) for value in values])
    assert whole is not None
    assert 0 <= whole.low <= whole.mean <= whole.high <= 1


@settings(max_examples=20, deadline=None)
@given(REWARDS)
def test_a_difference_to_oneself_is_none_and_a_shift_is_exact(values: list[float]) -> None:
    assert paired(values, values) == (0, 0, 0, len(values))
    found = paired(values, [value + 0.25 for value in values])
    assert found is not None
    assert [found.mean, found.low, found.high] == pytest.approx([0.25] * 3)


def test_pairs_are_of_the_same_length() -> None:
    assert paired([], []) is None
    with pytest.raises(ValueError, match="zip"):
        paired([1], [])


def test_percentiles_lie_between_ranks() -> None:
    assert percentile([1.0, 2.0, 4.0], 0.5) == 2.0
    assert percentile([1.0, 2.0, 4.0], 0.75) == 3.0
    assert (percentile([1.0, 2.0], 0), percentile([1.0, 2.0], 1)) == (1.0, 2.0)
