"""Oolong pairs: all pairs of users that a condition on their items holds for.

The input is the list of `oolong`; the answer grows with the square of the users, so no model can write it by reading:
the class of each item has to be found, and the pairs formed by code. The reward is the F1 over pairs, so that listing
all of them earns little; `exact`, `precision` and `recall` are metrics.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from rlm.evals.labelled import TOPICS, YEAR, Item, Topic, draw_items, rendered, spelled
from rlm.evals.oolong_pairs_oracle import ORACLE
from rlm.evals.task import Environment, Oracle, Score, Task
from rlm.evals.textkit import Draw, agreement

_ATTEMPTS = 200
_MOST = 0.25
"""The share of all pairs that an answer may be: more would reward listing them all."""
_WRAPPED = re.compile(r"[(\[]\s*[\"']?(\d+)[\"']?\s*,\s*[\"']?(\d+)[\"']?\s*[)\]]")
_OF_A_LINE = re.compile(r"^[^\d\n]*(\d+)[^\d\n]+(\d+)[^\d\n]*$", re.MULTILINE)


class PairsOptions(BaseModel):
    """What the input is like."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    items: int = Field(default=200, ge=20, le=500_000)
    """Items, of some 100 characters each."""
    users: int = Field(default=30, ge=4, le=1000)
    """Users, of whom pairs are formed."""
    labels: bool = False
    """Whether each line tells its class."""


class Need(NamedTuple):
    """What a user must have."""

    how: str
    """`at least` or `exactly`."""
    number: int
    label: str
    after: date | None

    def text(self, things: str) -> str:
        dated = f" dated after {spelled(self.after)}" if self.after else ""
        return f"{self.how} {self.number} {things} of the class '{self.label}'{dated}"

    def holds(self, items: list[Item]) -> bool:
        found = _found(items, self.label, self.after)
        return found == self.number if self.how == "exactly" else found >= self.number


class OolongPairs:
    """Pairs of users, of a list of labelled items."""

    name: str = "oolong_pairs"
    options: type[BaseModel] = PairsOptions
    tips: str = "oolong_pairs"
    oracle: Oracle = ORACLE

    def task(self, index: int, *, seed: int, options: Any, place: Path) -> Task:
        """One condition on an input of its own; some pairs meet it, but not most."""
        draw = Draw(self.name, seed=seed, index=index)
        topic = draw.pick(TOPICS)
        items = draw_items(draw, topic, count=options.items, users=options.users)
        condition, pairs = _condition(draw, topic, items)
        question = (
            f"List all pairs of different users such that {condition}. Write one pair a line, as (12345, 67890), each "
            "pair once, with the smaller number first. If there is no such pair, answer none."
        )
        return Task(
            id=f"{self.name}-{seed}-{index}",
            question=question,
            context=rendered(topic, items, labels=options.labels),
            gold=[list(pair) for pair in pairs],
            info={"items": options.items, "users": options.users, "labels": options.labels, "pairs": len(pairs)},
        )

    def score(self, task: Task, answer: str) -> Score:
        """F1 over the pairs, in any order and notation."""
        said = pairs_in(answer)
        figures = agreement(said, [tuple(pair) for pair in task.gold])
        if not task.gold and not re.search(r"\bno(ne)?\b", answer.lower()):
            return Score(reward=0.0, metrics={"exact": 0.0, "precision": 0.0, "recall": 0.0})
        metrics = {"exact": figures.exact, "precision": figures.precision, "recall": figures.recall}
        return Score(reward=figures.f1, metrics=metrics)


def pairs_in(answer: str) -> set[tuple[int, int]]:
    """Two numbers in brackets are a pair; where there are none, a line of two numbers is."""
    found = _WRAPPED.findall(answer) or _OF_A_LINE.findall(answer)
    # A number of twenty digits is no user, and one of many thousand cannot be converted.
    pairs = {(int(one[:20]), int(other[:20])) for one, other in found}
    return {(min(pair), max(pair)) for pair in pairs}


def _condition(draw: Draw, topic: Topic, items: list[Item]) -> tuple[str, list[tuple[int, int]]]:
    """In words, and the pairs that meet it, the smaller number first, sorted."""
    by_user: dict[int, list[Item]] = {}
    for item in items:
        by_user.setdefault(item.user, []).append(item)
    users = sorted(by_user)
    all_pairs = list(combinations(users, 2))
    for _ in range(_ATTEMPTS):
        ones, others, together = _needs(draw, topic, list(by_user.values()))
        first = {user for user in users if all(need.holds(by_user[user]) for need in ones)}
        second = {user for user in users if all(need.holds(by_user[user]) for need in others)}
        pairs = [(a, b) for a, b in all_pairs if (a in first and b in second) or (b in first and a in second)]
        if 0 < len(pairs) <= _MOST * len(all_pairs):
            break
    said = " and ".join(need.text(topic.things) for need in ones)
    if together:
        return f"both have {said}", pairs
    return f"one has {said} and the other has {others[0].text(topic.things)}", pairs


def _needs(draw: Draw, topic: Topic, by_user: list[list[Item]]) -> tuple[list[Need], list[Need], bool]:
    """What one user and the other need, and whether that is the same."""

    def need(how: str, label: str, after: date | None = None) -> Need:
        # As many as some user has: whatever the size of the input is, some users have them and some have not.
        return Need(how, max(1, _found(draw.pick(by_user), label, after)), label, after)

    one, other = draw.sample(topic.classes, 2)
    form = draw.below(4)
    if form == 3:
        return [need("at least", one)], [need("exactly", other)], False
    if form == 2:
        needs = [need("at least", one, date(YEAR, 1, 1) + timedelta(days=draw.between(60, 300)))]
    elif form == 1:
        needs = [need("at least", one), need("at least", other)]
    else:
        needs = [need("at least", one)]
    return needs, needs, True


def _found(items: list[Item], label: str, after: date | None) -> int:
    return sum(item.label == label and (after is None or item.day > after) for item in items)


ENVIRONMENT: Environment = OolongPairs()
