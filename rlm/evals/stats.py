"""Means with their intervals, and differences between pairs: all that a report's figures rest on."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

Z = 1.959963984540054
"""The quantile of the normal distribution for 95 %."""
RESAMPLES = 2000
SEED = 0


class Estimate(NamedTuple):
    """A mean and its 95 % interval, of `n` values."""

    mean: float
    low: float
    high: float
    n: int


def estimate(values: Sequence[float]) -> Estimate | None:
    """Of rewards. Wilson's interval where all are 0 or 1, else the bootstrap's; None without any value.

    One value between 0 and 1 says nothing of the others: its interval is all of 0 to 1.
    """
    if not values:
        return None
    if all(value in (0, 1) for value in values):
        return wilson(round(sum(values)), len(values))
    return bootstrap(values) if len(values) > 1 else Estimate(values[0], 0.0, 1.0, 1)


def wilson(successes: int, n: int) -> Estimate:
    """Wilson's score interval of a share; it is not of width 0 where all or none succeed."""
    share = successes / n
    scale = 1 + Z * Z / n
    centre = (share + Z * Z / (2 * n)) / scale
    half = Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n)) / scale
    # Rounding must not put the share itself out of its interval.
    return Estimate(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)), n)


def bootstrap(values: Sequence[float], *, resamples: int = RESAMPLES, seed: int = SEED) -> Estimate:
    """The percentile bootstrap of the mean. Equal values have an interval of width 0."""
    n = len(values)
    mean = math.fsum(values) / n
    if min(values) == max(values):
        return Estimate(mean, mean, mean, n)
    draw = random.Random(seed)
    means = sorted(math.fsum(draw.choices(values, k=n)) / n for _ in range(resamples))
    return Estimate(mean, percentile(means, 0.025), percentile(means, 0.975), n)


def paired(first: Sequence[float], second: Sequence[float]) -> Estimate | None:
    """The mean of `second - first`, task by task, with the bootstrap's interval over the tasks."""
    differences = [after - before for before, after in zip(first, second, strict=True)]
    return bootstrap(differences) if differences else None


def percentile(ordered: Sequence[float], share: float) -> float:
    """Of sorted values, between the two nearest ranks."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def mean(values: Sequence[float]) -> float:
    """0 without any value."""
    return math.fsum(values) / len(values) if values else 0.0
