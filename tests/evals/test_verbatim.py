"""Verbatim copies: what is to be copied, and what copies earn."""

from __future__ import annotations

import json
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rlm.evals import verbatim
from rlm.evals.task import Score, Task
from rlm.evals.textkit import Draw
from rlm.evals.verbatim_texts import json_records

ENVIRONMENT = verbatim.ENVIRONMENT


def make(index: int = 0, *, seed: int = 0, **chosen: Any) -> Task:
    return ENVIRONMENT.task(index, seed=seed, options=ENVIRONMENT.options(**chosen), place=Path("/nonexistent"))


def of(text: str) -> Task:
    return Task(id="t", question="q", context=None, gold=text)


def score(text: str, answer: str) -> Score:
    return ENVIRONMENT.score(of(text), answer)


@pytest.mark.parametrize(
    ("chosen", "digest"), [({}, "a485d4f2411c0eec"), ({"content": "mixed", "fragment": 20}, "3a4f54e4f19325d1")]
)
def test_a_seed_makes_the_same_text_everywhere(chosen, digest):
    task = make(**chosen)
    assert sha256(task.question.encode()).hexdigest()[:16] == digest
    assert task.gold != make(seed=1, **chosen).gold
    assert task.gold != make(1, **chosen).gold


@pytest.mark.parametrize("content", ["words", "json", "csv", "codes", "mixed", "all"])
@pytest.mark.parametrize("fragment", [None, 10, 150])
def test_texts_are_as_long_as_asked_for_and_stand_in_the_question(content, fragment):
    for length in (100, 1000):
        task = make(content=content, fragment=fragment, length=length)
        assert length - 40 < len(task.gold) <= length
        assert task.gold == task.gold.strip()
        assert task.question.endswith(f"<text>{task.gold}</text>")
        assert task.context is None


def test_each_kind_looks_like_it():
    assert set(make(content="words").gold) <= set("abcdefghijklmnopqrstuvwxyz \n")
    assert make(content="csv").gold.startswith("id,product,price,quantity,date\n")
    assert make(content="codes").gold[8] == "-"
    records = json.loads(json_records(Draw("t", seed=0, index=0)))
    assert {"id", "name", "email", "phone", "address", "city", "country"} == set(records[0])
    assert make(content="json", length=0).info["length"] > 450
    assert 190 < make(content="words", length=0).info["length"] <= 200
    kinds = {make(index).info["content"] for index in range(40)}
    assert kinds == {"words", "json", "csv", "codes", "mixed"}


def test_only_the_same_text_earns_anything():
    text = '{"a": [1, 2], "b": {"c": "\\\\boxed{3}"}}'
    assert score(text, text) == Score(
        reward=1.0, metrics={"char_accuracy": 1.0, "edit_similarity": 1.0, "stripped": 1.0}
    )
    assert score(text, text[1:-1]).reward == 0.0
    assert score(text, f"\\boxed{{{text}}}").reward == 0.0
    assert score(text, f"```json\n{text}\n```").reward == 0.0
    assert score(text, text.replace("2", "3")).reward == 0.0
    assert score("Ab", "ab").reward == 0.0


def test_blanks_around_a_copy_count_but_are_told_apart():
    for answer in ("a b\n", " a b", "a b "):
        assert (score("a b", answer).reward, score("a b", answer).metrics["stripped"]) == (0.0, 1.0)
    assert (score("a b", "a  b").reward, score("a b", "a  b").metrics["stripped"]) == (0.0, 0.0)


def test_a_lost_character_costs_places_but_hardly_any_similarity():
    text = "abcdefghij" * 10
    metrics = score(text, text[1:]).metrics
    assert metrics["char_accuracy"] == 0.0
    assert metrics["edit_similarity"] == pytest.approx(0.99)


def test_an_empty_answer_is_no_copy():
    assert score("abc", "") == Score(
        reward=0.0, metrics={"char_accuracy": 0.0, "edit_similarity": 0.0, "stripped": 0.0}
    )


def plain_distance(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for at, one in enumerate(a, 1):
        before, row[0] = row[0], at
        for to, other in enumerate(b, 1):
            before, row[to] = row[to], min(row[to] + 1, row[to - 1] + 1, before + (one != other))
    return row[-1]


@given(st.text(alphabet="abc\n", max_size=90), st.text(alphabet="abc\n", max_size=90))
def test_the_distance_is_that_of_the_table(a, b):
    assert verbatim.edit_distance(a, b) == plain_distance(a, b)


def test_thousands_of_characters_and_hostile_lengths_are_compared_fast():
    task = make(length=5000, content="mixed")
    started = time.monotonic()
    assert verbatim.edit_distance(task.gold, task.gold[:2500] + "x" + task.gold[2500:]) == 1
    assert verbatim.edit_distance(task.gold, task.gold + "x" * 1_000_000) == 1_000_000
    assert 0 <= ENVIRONMENT.score(task, "y" * 3_000_000).metrics["edit_similarity"] < 0.01
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("chosen", [{"content": "prose"}, {"length": -1}, {"fragment": 1}, {"size": 3}])
def test_options_that_are_none_are_refused(chosen):
    with pytest.raises(ValidationError):
        ENVIRONMENT.options(**chosen)
