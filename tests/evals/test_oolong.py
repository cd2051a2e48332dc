"""Oolong: the items, their classes, and what answers earn by the published rules."""

from __future__ import annotations

import time
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from rlm.evals import oolong
from rlm.evals.labelled import TOPICS, draw_items, rendered
from rlm.evals.oolong_oracle import classify, happenings_in
from rlm.evals.sessions import draw_sessions
from rlm.evals.task import Task
from rlm.evals.textkit import Draw

ENVIRONMENT = oolong.ENVIRONMENT
QUESTIONS = ["count", "compare", "most", "least", "user", "dates", "first"]
CLASSES = list(TOPICS[0].classes)


def make(index: int = 0, *, seed: int = 0, **chosen: Any) -> Task:
    return ENVIRONMENT.task(index, seed=seed, options=ENVIRONMENT.options(**chosen), place=Path("/nonexistent"))


def reward(kind: str, right: Any, answer: str) -> float:
    gold = {"kind": kind, "answers": right if isinstance(right, list) else [right], "names": CLASSES}
    return ENVIRONMENT.score(Task(id="t", question="q", context=None, gold=gold), answer).reward


@pytest.mark.parametrize(("index", "real", "digest"), [(4, False, "b8ab669d27695ea4"), (0, True, "c6892567729195d7")])
def test_a_seed_makes_the_same_task_everywhere(index, real, digest):
    task = make(index, items=100, real=real)
    assert sha256(f"{task.question}{task.context}{task.gold}".encode()).hexdigest()[:16] == digest
    assert task.context != make(index, items=100, real=real, seed=1).context


def test_labels_are_the_only_difference_between_the_two_forms():
    with_labels, without = make(labels=True), make()
    lines = str(with_labels.context).splitlines()
    assert sum(" || Label: " in line for line in lines) == 200
    assert [line.partition(" || Label: ")[0] for line in lines][3:] == str(without.context).splitlines()[3:]
    assert (with_labels.question, with_labels.gold) == (without.question, without.gold)


@pytest.mark.parametrize("topic", TOPICS)
def test_the_class_of_every_item_follows_from_its_text(topic):
    for item in draw_items(Draw("t", seed=0, index=0), topic, count=1000, users=20):
        assert classify(item.text, topic.classes) == item.label


def test_a_count_is_that_of_the_labels_in_the_text():
    for index in range(5):
        task = make(index, question="count", labels=True)
        label = task.question.partition("'")[2].partition("'")[0]
        assert task.gold["answers"] == [str(task.context).count(f" || Label: {label}\n")]


def test_all_questions_take_turns_and_ties_leave_several_answers():
    assert [make(index, items=40).info["question"] for index in range(7)] == QUESTIONS
    answers = [make(index, items=20, question="least").gold["answers"] for index in range(20)]
    assert any(len(each) > 1 for each in answers)
    for index in range(20):
        task = make(index, items=20, question="least", labels=True)
        topic = next(each for each in TOPICS if each.things in task.question)
        counts = Counter(line.partition(" || Label: ")[2] for line in str(task.context).splitlines()[4:])
        rarest = min(counts[label] for label in topic.classes)
        assert task.gold["answers"] == [label for label in topic.classes if counts[label] == rarest]


def test_what_is_merely_talked_about_does_not_happen():
    happenings, text = draw_sessions(Draw("t", seed=0, index=0), count=400, sessions=5)
    assert len(happenings) == 400
    assert happenings_in(text) == [(each.kind, each.player, each.what) for each in happenings]
    assert text.count("=== Session ") == 5
    spells = {each.what for each in happenings if each.kind == "cast"}
    named = sum(text.count(spell) for spell in spells)
    assert named > sum(each.kind == "cast" for each in happenings)


@pytest.mark.parametrize(
    ("answer", "earned"),
    [
        ("12", 1.0),
        ("12.", 1.0),
        ("**12**", 1.0),
        ("[12]", 1.0),
        ("12.0", 1.0),
        ("There are 12 such messages.", 1.0),
        ("Answer: 12", 1.0),
        ("Of the 200 messages, those about billing: 12", 1.0),
        ("11", 0.75),
        ("13", 0.75),
        ("10", 0.75**2),
        ("15", 0.75**3),
        ("0", 0.75**12),
        ("between 11 and 13", 0.0),
        ("11, 12, 13", 0.0),
        ("twelve", 0.0),
        ("", 0.0),
        ("9" * 5000, 0.0),
        ("1.2", 0.0),
    ],
)
def test_a_count_earns_by_its_error(answer, earned):
    assert reward("number", 12, answer) == pytest.approx(earned)


def test_a_large_error_earns_next_to_nothing():
    assert reward("number", 12, "999999999999999") == 0.0
    assert reward("number", 1200, "1,201") == 0.75


@pytest.mark.parametrize(
    ("answer", "earned"),
    [
        ("returns", 1.0),
        (" Returns.\n", 1.0),
        ("Label: returns", 1.0),
        ("['returns']", 1.0),
        ("The most common class is 'returns'", 1.0),
        ("billing", 0.0),
        ("return", 0.0),
        ("", 0.0),
        ("returns or billing", 0.0),
        (", ".join(CLASSES), 0.0),
    ],
)
def test_a_class_is_named_alone(answer, earned):
    assert reward("name", "returns", answer) == earned


def test_of_equal_classes_any_will_do_but_one():
    assert reward("name", ["returns", "praise"], "praise") == 1.0
    assert reward("name", ["returns", "praise"], "returns, praise") == 0.0


@pytest.mark.parametrize(
    ("answer", "earned"),
    [
        ("more common", 1.0),
        ("'a' is more common than 'b'.", 1.0),
        ("MORE COMMON", 1.0),
        ("less common", 0.0),
        ("same frequency", 0.0),
        ("more common, less common, same frequency", 0.0),
        ("not more common", 0.0),
        ("more", 0.0),
        ("", 0.0),
    ],
)
def test_a_comparison_is_one_of_three(answer, earned):
    assert reward("comparison", "more common", answer) == earned


@pytest.mark.parametrize(
    ("answer", "earned"),
    [
        ("Jan 05, 2024", 1.0),
        ("january 5th, 2024", 1.0),
        ("5 January 2024", 1.0),
        ("2024-01-05", 1.0),
        ("Date: Jan 5 2024", 1.0),
        ("Jan 06, 2024", 0.0),
        ("Jan 05, 2023", 0.0),
        ("Feb 31, 2024", 0.0),
        ("Jan 05, 2024 or Jan 06, 2024", 0.0),
        ("Foo 05, 2024", 0.0),
        ("", 0.0),
    ],
)
def test_a_date_is_the_same_in_any_notation(answer, earned):
    assert reward("date", "2024-01-05", answer) == earned


def test_a_user_is_right_or_wrong():
    assert reward("user", ["12345"], "User: 12345") == 1.0
    assert reward("user", ["12345"], "12346") == 0.0
    assert reward("user", ["12345"], "12345 and 54321") == 0.0
    assert reward("user", ["12345"], "") == 0.0


def test_a_long_hostile_answer_is_scored_at_once():
    started = time.monotonic()
    for kind, right in (("number", 1), ("name", "returns"), ("date", "2024-01-05"), ("comparison", "more common")):
        for answer in (
            "a" * 90_000,
            "1 " * 50_000,
            "1,111" * 20_000,
            "(" * 90_000,
            ":" * 90_000,
            "jan 1" * 20_000,
        ):
            assert reward(kind, right, answer) in (0.0, 1.0)
    assert time.monotonic() - started < 10


def test_a_long_input_is_made_fast():
    started = time.monotonic()
    assert 8_000_000 < len(str(make(items=100_000).context)) < 14_000_000
    assert time.monotonic() - started < 15


def test_the_input_says_what_it_holds():
    items = draw_items(Draw("t", seed=0, index=0), TOPICS[0], count=30, users=5)
    head = rendered(TOPICS[0], items, labels=False).partition("\n\n")[0]
    assert "30 messages to a web shop" in head
    assert all(label in head for label in CLASSES)
