"""Needles: what is hidden, where, and what answers earn."""

from __future__ import annotations

import time
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rlm.evals import needle
from rlm.evals.needle_words import COMMON, RARE
from rlm.evals.task import Task

ENVIRONMENT = needle.ENVIRONMENT


def make(index: int = 0, *, seed: int = 0, place: Path = Path("/nonexistent"), **chosen: Any) -> Task:
    return ENVIRONMENT.task(index, seed=seed, options=ENVIRONMENT.options(**chosen), place=place)


def text(task: Task) -> str:
    assert isinstance(task.context, str)
    return task.context


def reward(task: Task, answer: str) -> float:
    return ENVIRONMENT.score(task, answer).reward


@pytest.mark.parametrize(("index", "digest"), [(0, "e5b9a7479b3618ac"), (3, "60fec57048091937")])
def test_a_seed_makes_the_same_task_everywhere(index, digest):
    task = make(index, lines=1000)
    assert sha256(f"{task.question}{task.context}{task.gold}".encode()).hexdigest()[:16] == digest
    assert task != make(index, lines=1000, seed=1)


def test_all_variants_take_turns():
    variants = [make(index, lines=500).info["variant"] for index in range(5)]
    assert variants == ["word", "number", "hops", "near", "none"]


@pytest.mark.parametrize("variant", ["word", "number", "hops", "near", "none"])
def test_there_are_as_many_lines_as_asked_for_and_no_more_needles(variant):
    for index in range(8):
        task = make(index, lines=600, variant=variant, needles=2)
        lines = text(task).splitlines()
        assert len(lines) == 600
        assert len(task.gold) == (0 if variant == "none" else 2)
        if task.info["kind"] == "word":
            unusual = [word for line in lines for word in line.split() if word not in COMMON]
            assert Counter(unusual) == Counter(task.gold)


def test_near_duplicates_differ_from_the_station_asked_for():
    task = make(lines=500, variant="near", needles=1)
    name = task.question.partition(": ")[2].partition("?")[0]
    stations = [line for line in text(task).splitlines() if "station" in line]
    assert len(stations) == 9
    assert [line for line in stations if f"station {name} is {task.gold[0]}." in line]
    assert sum(name in line for line in stations) == 3


def test_needles_lie_where_they_are_asked_for():
    lines = text(make(lines=2000, variant="number", position=0.5)).splitlines()
    assert all(900 < at < 1100 for at, line in enumerate(lines) if "magic" in line)
    assert "magic" in "".join(text(make(lines=2000, variant="number", position=1)).splitlines()[-100:])


def test_long_inputs_are_files_made_once(tmp_path):
    started = time.monotonic()
    task = make(1, lines=300_000, variant="number", place=tmp_path / "new")
    assert time.monotonic() - started < 20
    assert isinstance(task.context, Path)
    assert [each.name for each in task.context.parent.iterdir()] == [task.context.name]
    content = task.context.read_text()
    assert content.count("\n") == 300_000
    assert all(f"The magic number is {number}." in content for number in task.gold)
    written = task.context.stat().st_mtime_ns
    assert make(1, lines=300_000, variant="number", place=tmp_path / "new") == task
    assert task.context.stat().st_mtime_ns == written
    assert make(1, lines=300_001, variant="number", place=tmp_path / "new").context != task.context


def test_words_are_scored_whatever_stands_around_them():
    task = make(lines=500, variant="word", needles=3)
    a, b, c = task.gold
    assert reward(task, f"{a}, {b}, {c}") == 1.0
    assert reward(task, f"The rare words are:\n- {c.upper()}\n- **{b}**\n- `{a}` (line 12)") == 1.0
    assert reward(task, f"{a}, {a}, {a}") == pytest.approx(0.5)
    assert reward(task, f"{a} {b} {c} apple") == pytest.approx(6 / 7)
    assert reward(task, f"{a[:-1]}, {b}s") == 0.0


def test_dumping_the_vocabulary_earns_next_to_nothing():
    task = make(lines=500, variant="word", needles=1)
    dump = ", ".join((*COMMON, *RARE))
    assert ENVIRONMENT.score(task, dump).metrics["recall"] == 1.0
    assert reward(task, dump) < 0.05
    numbers = make(lines=500, variant="number", needles=1)
    assert reward(numbers, f"{numbers.gold[0]} " + " ".join(map(str, range(10_000, 10_100)))) < 0.05
    near = make(lines=500, variant="near", needles=1)
    assert reward(near, text(near)) < 0.25


def test_numbers_are_scored_in_any_notation():
    task = make(lines=500, variant="number", needles=2)
    one, other = task.gold
    assert reward(task, f"{other},{one}") == 1.0
    assert reward(task, f"I found 2 numbers: {int(one):,} and {other}.") == 1.0
    assert reward(task, one) == pytest.approx(2 / 3)
    assert reward(task, f"{int(one) + 1}, {int(other) - 1}") == 0.0
    assert reward(task, f"{one}{other}") == 0.0
    near = make(lines=500, variant="near", needles=1)
    assert reward(near, f"The number of station Q-1234 is {near.gold[0]}.") == 1.0


@pytest.mark.parametrize("answer", ["", "   ", "none", "I do not know.", "[]", "\0", "{}", "9" * 100_000])
@pytest.mark.parametrize("variant", ["word", "number", "hops", "near"])
def test_no_answer_earns_nothing_where_there_is_one(variant, answer):
    assert reward(make(lines=500, variant=variant), answer) == 0.0


def test_that_there_is_nothing_has_to_be_said():
    for index in range(6):
        task = make(index, lines=500, variant="none")
        assert reward(task, "none") == reward(task, "None.") == reward(task, "There are none") == 1.0
        assert reward(task, "") == 0.0
        assert reward(task, "none, but perhaps 1234567 or pangolin") == 0.0


def test_an_input_has_room_for_its_needles():
    with pytest.raises(ValidationError, match="need at least 1760 lines"):
        ENVIRONMENT.options(lines=1000, needles=20, hops=10, variant="hops")
    with pytest.raises(ValidationError):
        ENVIRONMENT.options(haystack=3)


def test_a_long_hostile_answer_is_scored_at_once():
    task = make(lines=500, variant="number")
    started = time.monotonic()
    assert reward(task, "1,111" + ",111" * 100_000 + ",") == 0.0
    assert reward(task, "a" * 1_000_000) == 0.0
    assert time.monotonic() - started < 5
