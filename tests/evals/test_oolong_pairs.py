"""Pairs of users: the condition, and what lists of pairs earn."""

from __future__ import annotations

import time
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from rlm.evals import oolong_pairs
from rlm.evals.task import Task

ENVIRONMENT = oolong_pairs.ENVIRONMENT


def make(index: int = 0, *, seed: int = 0, **chosen: Any) -> Task:
    return ENVIRONMENT.task(index, seed=seed, options=ENVIRONMENT.options(**chosen), place=Path("/nonexistent"))


def reward(gold: list[list[int]], answer: str) -> float:
    return ENVIRONMENT.score(Task(id="t", question="q", context=None, gold=gold), answer).reward


GOLD = [[10001, 20002], [10001, 30003]]


@pytest.mark.parametrize(("index", "digest"), [(0, "43206f7d0b4172e6"), (6, "26678b3e1fec3726")])
def test_a_seed_makes_the_same_task_everywhere(index, digest):
    task = make(index)
    assert sha256(f"{task.question}{task.context}{task.gold}".encode()).hexdigest()[:16] == digest
    assert task.context != make(index, seed=1).context


@pytest.mark.parametrize("chosen", [{}, {"items": 20, "users": 4}, {"items": 5000, "users": 12}])
def test_some_pairs_meet_the_condition_but_not_most(chosen):
    for index in range(12):
        task = make(index, **chosen)
        users = {line.split(" || ")[1] for line in str(task.context).splitlines()[4:]}
        assert 0 < len(task.gold) <= len(users) * (len(users) - 1) / 8
        assert task.gold == sorted(task.gold)
        assert all(one < other for one, other in task.gold)


@pytest.mark.parametrize(
    "answer",
    [
        "(10001, 20002)\n(10001, 30003)",
        "(30003, 10001), (20002, 10001)",
        "[[10001, 20002], [10001, 30003]]",
        "[('10001', '20002'), ('10001','30003')]",
        "10001, 20002\n10001 - 30003",
        "These 2 pairs: (10001, 20002), (10001, 30003) and (30003, 10001)",
    ],
)
def test_pairs_are_read_in_any_order_and_notation(answer):
    assert reward(GOLD, answer) == 1.0


def test_missing_and_wrong_pairs_cost():
    assert reward(GOLD, "(10001, 20002)") == pytest.approx(2 / 3)
    assert reward(GOLD, "(10001, 20002)\n(20002, 30003)") == pytest.approx(0.5)
    assert reward(GOLD, "(10001, 20003)\n(10002, 30003)") == 0.0
    assert reward(GOLD, "(10001, 10001)") == 0.0


@pytest.mark.parametrize("answer", ["", "none", "10001 20002 30003", "10001; 20002; 30003", "()", "9" * 100_000])
def test_what_is_no_pair_earns_nothing(answer):
    assert reward(GOLD, answer) == 0.0


def test_listing_all_pairs_earns_little():
    users = [10001, 20002, 30003, *range(40_000, 40_027)]
    assert reward(GOLD, "\n".join(map(str, combinations(users, 2)))) < 0.01


def test_that_there_is_none_has_to_be_said():
    assert reward([], "None.") == 1.0
    assert reward([], "") == 0.0
    assert reward([], "none, or (10001, 20002)") == 0.0


def test_a_long_hostile_answer_is_scored_at_once():
    started = time.monotonic()
    for answer in ("(" * 90_000, "( " * 50_000, "(1" * 50_000, "1" * 90_000, "(1, 2), " * 10_000, "1 a" * 30_000):
        assert reward(GOLD, answer) == 0.0
    assert time.monotonic() - started < 10
