"""Oolong: questions about all of a long input, which no part of it answers.

The input is a list of short texts of a few classes, each by a user, on a date; the questions count, compare and rank
the classes, over all, by user and by date. With `labels` each line tells its class, and code solves the task exactly;
without them every text has to be read, which takes sub-LLMs. With `real` the input is a transcript of game sessions,
and the questions are about the dice rolls and the spells in them. Scored by the published rules: a number earns
0.75 ** |error|, a date counts when it is the same day in any notation, all else is right or wrong. Unlike the
published scorer, an answer that names several classes, comparisons, numbers or dates names none.
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rlm.evals.labelled import MONTHS, TOPICS, draw_items, rendered
from rlm.evals.oolong_oracle import ORACLE
from rlm.evals.oolong_questions import ABOUT_ITEMS, LESS, MORE, SAME, about_sessions
from rlm.evals.oolong_rows import load_oolong_rows
from rlm.evals.sessions import draw_sessions
from rlm.evals.task import Environment, Oracle, Score, Task
from rlm.evals.textkit import Draw, numbers_in

_PER_OFF_BY_ONE = 0.75
_LONGEST_NUMBER = 15
_NAMED_MONTH = re.compile(r"\b([a-z]{3})[a-z]{0,6}\.? (\d{1,2})(?:st|nd|rd|th)?,? (\d{4})")
_NAMED_DAY = re.compile(r"\b(\d{1,2})(?:st|nd|rd|th)? (?:of )?([a-z]{3})[a-z]{0,6}\.?,? (\d{4})")
_ISO = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})")
_COMPARED = {
    MORE: re.compile(r"(?<!not )\bmore common"),
    LESS: re.compile(r"(?<!not )\bless common"),
    SAME: re.compile(r"\bsame frequency|\bequally common|(?<!not )\bas common as"),
}


class OolongOptions(BaseModel):
    """What the input is like."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    items: int = Field(default=200, ge=20, le=500_000)
    """Items, of some 100 characters each; with `real`, dice rolls and spells, of some 150 with the talk around them."""
    labels: bool = False
    """Whether each line tells its class."""
    real: bool = False
    """Transcripts of game sessions in place of the list."""
    question: Literal["count", "compare", "most", "least", "user", "dates", "first", "all"] = "all"
    """What is asked about the list; `all` goes through the seven in turn."""
    users: int = Field(default=20, ge=2, le=10_000)
    """Users of the list."""
    sessions: int = Field(default=6, ge=1, le=1000)
    """Sessions of the transcript."""
    file: Path | None = None
    """Rows of the published data set as JSON Lines, in place of what is generated; see `rlm.evals.oolong_rows`."""


class Oolong:
    """Counting, comparing and ranking over a whole input."""

    name: str = "oolong"
    options: type[BaseModel] = OolongOptions
    tips: str = "oolong"
    oracle: Oracle = ORACLE

    def task(self, index: int, *, seed: int, options: Any, place: Path) -> Task:
        """One question about an input of its own."""
        if options.file is not None:
            return self._published(index, seed, options)
        draw = Draw(self.name, seed=seed, index=index)
        if options.real:
            happenings, context = draw_sessions(draw, count=options.items, sessions=options.sessions)
            form, asked = "sessions", about_sessions(draw, happenings)
        else:
            topic = draw.pick(TOPICS)
            items = draw_items(draw, topic, count=options.items, users=options.users)
            forms = tuple(ABOUT_ITEMS)
            form = forms[index % len(forms)] if options.question == "all" else options.question
            asked = ABOUT_ITEMS[form](draw, topic, items)
            context = rendered(topic, items, labels=options.labels)
        return Task(
            id=f"{self.name}-{seed}-{index}",
            question=asked.text,
            context=context,
            gold=asked.gold,
            info={"question": form, "answer": asked.kind, "items": options.items, "labels": options.labels},
        )

    def _published(self, index: int, seed: int, options: OolongOptions) -> Task:
        assert options.file is not None
        rows = load_oolong_rows(options.file)
        # Every row comes once before the first comes again.
        order = Draw(f"{self.name}-rows", seed=seed, index=0).sample(range(len(rows)))
        row = rows[order[index % len(order)]]
        return Task(
            id=f"{self.name}-{seed}-{index}",
            question=row["question"],
            context=row["context_window_text_with_labels" if options.labels else "context_window_text"],
            gold=row["gold"],
            info={"question": "published", "answer": row["gold"]["kind"], "labels": options.labels},
        )

    def score(self, task: Task, answer: str) -> Score:
        """What stands after the last colon is the answer, or else the only thing of its kind that is said."""
        reward = _REWARD[task.gold["kind"]](task.gold, answer)
        return Score(reward=reward, metrics={"exact": float(reward == 1.0)})


def bare(answer: str) -> str:
    """What follows the last colon, without brackets, stars and quotes around it, in lower case."""
    return answer.rpartition(":")[2].strip(" \t\r\n*[]\"'`.").lower()


def only_number(answer: str) -> int | None:
    """The number that is meant, if there is no doubt about it."""
    for text in (bare(answer), answer):
        found = set(numbers_in(text))
        if len(found) == 1 and len(number := found.pop()) <= _LONGEST_NUMBER:
            return int(number)
    return None


def dates_in(text: str) -> set[date]:
    """The dates of a text in whichever notation: `Jan 05, 2024`, `5 January 2024`, `2024-01-05`."""
    found = set()
    lowered = text.lower()
    for month, day, year in _NAMED_MONTH.findall(lowered):
        found.add((year, month, day))
    for day, month, year in _NAMED_DAY.findall(lowered):
        found.add((year, month, day))
    numbers = {name.lower(): at for at, name in enumerate(MONTHS, 1)}
    numeric = [(int(year), numbers.get(month, 0), int(day)) for year, month, day in found]
    numeric += [(int(year), int(month), int(day)) for year, month, day in _ISO.findall(text)]
    return {date(*each) for each in numeric if _is_date(*each)}


def _is_date(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def _number(gold: dict[str, Any], answer: str) -> float:
    said = only_number(answer)
    return 0.0 if said is None else _PER_OFF_BY_ONE ** abs(said - int(gold["answers"][0]))


def _user(gold: dict[str, Any], answer: str) -> float:
    return float(str(only_number(answer)) in gold["answers"])


def _date(gold: dict[str, Any], answer: str) -> float:
    return float([each.isoformat() for each in dates_in(answer)] == gold["answers"])


def _comparison(gold: dict[str, Any], answer: str) -> float:
    said = [phrase for phrase, pattern in _COMPARED.items() if pattern.search(answer.lower())]
    return float(said == gold["answers"])


def _name(gold: dict[str, Any], answer: str) -> float:
    right = {name.lower() for name in gold["answers"]}
    if bare(answer) in right:
        return 1.0
    said = [name for name in map(str.lower, gold["names"]) if re.search(rf"\b{re.escape(name)}\b", answer.lower())]
    return float(len(said) == 1 and said[0] in right)


_REWARD = {"number": _number, "user": _user, "date": _date, "comparison": _comparison, "name": _name}

ENVIRONMENT: Environment = Oolong()
