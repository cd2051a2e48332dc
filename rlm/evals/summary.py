"""Rows put together: by environment and arm, between arms, by size of the input. What tables and plots show."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from rlm.evals.rows import Row
from rlm.evals.stats import Estimate, estimate, mean, paired


@dataclass(frozen=True, slots=True)
class Cell:
    """One environment in one arm; `arm` names the model too where there are several."""

    env: str
    arm: str
    rows: tuple[Row, ...]

    @property
    def good(self) -> list[Row]:
        """Those that could be carried out: the others say nothing of the model."""
        return [row for row in self.rows if row.error is None]

    @property
    def errors(self) -> int:
        return len(self.rows) - len(self.good)

    @property
    def reward(self) -> Estimate | None:
        return estimate([row.reward for row in self.good])

    def mean(self, name: str) -> float:
        """Of a number that each row has."""
        return mean([float(getattr(row, name) or 0.0) for row in self.good])

    @property
    def cost(self) -> float | None:
        """Mean money; None where a price is not known."""
        costs = [row.cost for row in self.good]
        known = [cost for cost in costs if cost is not None]
        return mean(known) if costs and len(known) == len(costs) else None

    @property
    def root_tokens(self) -> float:
        return self.mean("root_input") + self.mean("root_output")

    @property
    def efficiency(self) -> float | None:
        """Mean reward per 1,000 root tokens; None without any."""
        return 1000 * self.reward.mean / self.root_tokens if self.reward and self.root_tokens else None


class Difference(NamedTuple):
    """How much better `second` does than `first`, on the tasks that both have."""

    env: str
    first: str
    second: str
    reward: Estimate
    better: int
    worse: int


class SizePoint(NamedTuple):
    """The rewards for inputs of about this size."""

    low: int
    high: int
    """Characters, this one not included."""
    chars: float
    """Their mean size."""
    reward: Estimate


def labels(rows: Sequence[Row]) -> dict[tuple[str, str, str], str]:
    """How each arm is named: with its model where the rows have several."""
    models = {(row.model, row.sub_model) for row in rows}
    named = dict.fromkeys((row.arm, row.model, row.sub_model) for row in rows)
    if len(models) <= 1:
        return {each: each[0] for each in named}
    return {
        (arm, model, sub): f"{arm} · {model}" + (f" / {sub}" if sub and sub != model else "")
        for arm, model, sub in named
    }


def cells(rows: Sequence[Row]) -> list[Cell]:
    """In the order in which they first occur."""
    names = labels(rows)
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.env, names[row.arm, row.model, row.sub_model]), []).append(row)
    return [Cell(env, arm, tuple(found)) for (env, arm), found in groups.items()]


def overall(found: Iterable[Cell]) -> list[Cell]:
    """The same arms over all environments."""
    groups: dict[str, list[Row]] = {}
    for cell in found:
        groups.setdefault(cell.arm, []).extend(cell.rows)
    return [Cell("all", arm, tuple(rows)) for arm, rows in groups.items()]


def differences(found: Sequence[Cell]) -> list[Difference]:
    """Every arm against the first one of its environment, and each against the one before it."""
    by_env: dict[str, list[Cell]] = {}
    for cell in found:
        by_env.setdefault(cell.env, []).append(cell)
    pairs = []
    for group in by_env.values():
        against_first = [(group[0], cell) for cell in group[1:]]
        against_last = [(before, cell) for before, cell in pairwise(group[1:])]
        pairs += [_difference(first, second) for first, second in [*against_first, *against_last]]
    return [pair for pair in pairs if pair]


def _difference(first: Cell, second: Cell) -> Difference | None:
    before = {row.task: row.reward for row in first.good}
    after = {row.task: row.reward for row in second.good}
    shared = [task for task in before if task in after]
    reward = paired([before[task] for task in shared], [after[task] for task in shared])
    if reward is None:
        return None
    better = sum(after[task] > before[task] for task in shared)
    worse = sum(after[task] < before[task] for task in shared)
    return Difference(first.env, first.arm, second.arm, reward, better, worse)


def by_size(cell: Cell) -> list[SizePoint]:
    """Rewards by size of the input, in classes of powers of 4; tasks without an input have none."""
    classes: dict[int, list[Row]] = {}
    for row in cell.good:
        if row.context_chars:
            classes.setdefault(math.floor(math.log(row.context_chars, 4) + 1e-9), []).append(row)
    points = []
    for power, rows in sorted(classes.items()):
        reward = estimate([row.reward for row in rows])
        assert reward is not None
        points.append(SizePoint(4**power, 4 ** (power + 1), mean([row.context_chars for row in rows]), reward))
    return points


def by_info(found: Sequence[Cell], name: str) -> dict[str, list[Cell]]:
    """The cells split by a value of the tasks' `info`."""
    groups: dict[str, list[Cell]] = {}
    for cell in found:
        values: dict[str, list[Row]] = {}
        for row in cell.rows:
            if name in row.info:
                values.setdefault(str(row.info[name]), []).append(row)
        for value, rows in values.items():
            groups.setdefault(value, []).append(Cell(cell.env, cell.arm, tuple(rows)))
    return groups
