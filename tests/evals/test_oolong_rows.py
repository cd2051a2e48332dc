"""Rows of the published data set, in the form in which it writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlm.errors import InputError
from rlm.evals import oolong
from rlm.evals.oolong_rows import gold_of
from rlm.evals.task import Task

ENVIRONMENT = oolong.ENVIRONMENT


def row(answer: str, kind: str, **more: Any) -> dict[str, Any]:
    return {
        "question": f"about {answer}",
        "answer": answer,
        "answer_type": f"ANSWER_TYPE.{kind}",
        "context_window_text": "plain",
        "context_window_text_with_labels": "labelled",
        **more,
    }


ROWS = [
    (row("['spam']", "LABEL"), "Label: spam", "ham"),
    (row("[12]", "NUMERIC"), "12", "none"),
    (row("['less common than']", "COMPARISON"), "Answer: less common than", "more common than"),
    (row("[datetime.date(2023, 9, 5)]", "DATE"), "Sep 05, 2023", "Sep 06, 2023"),
    (row("[44106]", "USER"), "44106", "44107"),
]


def write(folder: Path, *rows: Any) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


@pytest.mark.parametrize(("published", "right", "wrong"), ROWS)
def test_published_answers_are_scored_by_their_kind(published, right, wrong):
    task = Task(id="t", question="q", context=None, gold=gold_of(published))
    assert ENVIRONMENT.score(task, right).reward == 1.0
    assert ENVIRONMENT.score(task, wrong).reward == 0.0
    assert ENVIRONMENT.score(task, "").reward == 0.0


def test_a_seed_goes_through_all_rows_of_a_file(tmp_path):
    path = write(tmp_path, *(each for each, _, _ in ROWS))
    options = ENVIRONMENT.options(file=path, labels=True)
    tasks = [ENVIRONMENT.task(index, seed=0, options=options, place=tmp_path) for index in range(len(ROWS))]
    assert {task.question for task in tasks} == {each["question"] for each, _, _ in ROWS}
    assert {task.context for task in tasks} == {"labelled"}
    assert ENVIRONMENT.task(0, seed=0, options=ENVIRONMENT.options(file=path), place=tmp_path).context == "plain"


@pytest.mark.parametrize(
    "rows",
    [
        [],
        ["text"],
        [{"question": "q"}],
        [row("12 apples", "NUMERIC")],
        [row("[]", "LABEL")],
        [row("['equal']", "COMPARISON")],
    ],
)
def test_other_files_are_a_users_mistake(rows, tmp_path):
    options = ENVIRONMENT.options(file=write(tmp_path, *rows))
    with pytest.raises(InputError, match="no rows of Oolong"):
        ENVIRONMENT.task(0, seed=0, options=options, place=tmp_path)


def test_a_file_that_is_not_there_is_a_users_mistake(tmp_path):
    with pytest.raises(InputError, match="FileNotFoundError"):
        ENVIRONMENT.task(0, seed=0, options=ENVIRONMENT.options(file=tmp_path / "no.jsonl"), place=tmp_path)
