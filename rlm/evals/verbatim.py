"""Verbatim copy: a text stands in the question, in every arm, and has to come back character by character.

Contents: `words`, `json`, `csv`, `codes` (UUIDs and licence keys), `mixed` (all of these), `all` (one of the five for
each task). With `fragment` the text is pieced together from slices of about that many characters, so that no habit of
language helps. The reward is exact equality; the metrics are `char_accuracy` (equal characters at equal places),
`edit_similarity` (1 - Levenshtein distance / the longer length) and `stripped` (equal but for blanks around it). The
answer is never parsed: braces, quotes and blanks in it are text.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rlm.evals.task import Environment, Oracle, Score, Task
from rlm.evals.textkit import Draw
from rlm.evals.verbatim_oracle import ORACLE
from rlm.evals.verbatim_texts import codes, csv_rows, json_records, plain_words

Content = Literal["words", "json", "csv", "codes", "mixed", "all"]

_MAKE: dict[str, Callable[[Draw], str]] = {
    "words": plain_words,
    "json": json_records,
    "csv": csv_rows,
    "codes": codes,
}
_LENGTHS = {"words": 200, "json": 500, "csv": 500, "codes": 300, "mixed": 600}
_SHARES = {"words": 0.2, "json": 0.2, "csv": 0.2, "codes": 0.25, "mixed": 0.15}


class VerbatimOptions(BaseModel):
    """What is to be copied."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    content: Content = "all"
    """The kind of text; `all` draws one for each task."""
    length: int = Field(default=500, ge=0, le=100_000)
    """Characters of the text; 0: 200 to 600, by content."""
    fragment: int | None = Field(default=None, ge=4, le=10_000)
    """Mean characters of the slices that the text is pieced together from; None: one whole text."""


class Verbatim:
    """A text to be copied exactly."""

    name: str = "verbatim"
    options: type[BaseModel] = VerbatimOptions
    tips: str = "verbatim"
    oracle: Oracle = ORACLE

    def task(self, index: int, *, seed: int, options: Any, place: Path) -> Task:
        """The text is in the question, so that the model of every arm has to write it out."""
        draw = Draw(self.name, seed=seed, index=index)
        content = options.content
        if content == "all":
            content = draw.weighted(list(_SHARES), list(_SHARES.values()))
        length = options.length or _LENGTHS[content]
        pool = _pool(draw, content, 2 * length)
        text = _whole(pool, length) if options.fragment is None else _pieced(draw, pool, length, options.fragment)
        return Task(
            id=f"{self.name}-{seed}-{index}",
            question=(
                "Copy the text between <text> and </text> exactly, character by character, with every blank, line "
                f"break and punctuation mark, and without the tags. The answer is the copy alone.\n<text>{text}</text>"
            ),
            context=None,
            gold=text,
            info={"content": content, "length": len(text), "fragment": options.fragment},
        )

    def score(self, task: Task, answer: str) -> Score:
        """Exact equality."""
        gold = str(task.gold)
        longer = max(1, len(gold), len(answer))
        same = sum(a == b for a, b in zip(gold, answer, strict=False))
        metrics = {
            "char_accuracy": same / longer,
            "edit_similarity": 1 - edit_distance(gold, answer) / longer,
            "stripped": float(answer.strip() == gold),
        }
        return Score(reward=float(answer == gold), metrics=metrics)


def edit_distance(gold: str, answer: str) -> int:
    """The Levenshtein distance; 5,000 characters against as many take some 10 ms.

    Where the answer is more than twice as long as `gold`, what lies beyond counts as inserted: an upper bound.
    """
    limit = 2 * len(gold) + 1000
    beyond = max(0, len(answer) - limit)
    return beyond + _distance(gold, answer[:limit])


def _distance(pattern: str, text: str) -> int:
    # Myers' bit vectors: one column of the table is two integers, the steps up and the steps down.
    if not pattern:
        return len(text)
    where: dict[str, int] = {}
    for at, character in enumerate(pattern):
        where[character] = where.get(character, 0) | 1 << at
    full, last = (1 << len(pattern)) - 1, 1 << len(pattern) - 1
    up, down, distance = full, 0, len(pattern)
    for character in text:
        equal = where.get(character, 0)
        diagonal = (((equal & up) + up) ^ up) | equal | down
        right_up, right_down = down | ~(diagonal | up) & full, up & diagonal
        if right_up & last:
            distance += 1
        elif right_down & last:
            distance -= 1
        right_up = (right_up << 1 | 1) & full
        right_down = right_down << 1 & full
        up = right_down | ~(diagonal | right_up) & full
        down = right_up & diagonal
    return distance


def _pool(draw: Draw, content: str, length: int) -> str:
    """At least `length` characters of the kind."""
    kinds = ("codes", "words", "csv", "json") if content == "mixed" else (content,)
    parts: list[str] = []
    size = 0
    while size < length:
        parts.append(_MAKE[kinds[len(parts) % len(kinds)]](draw))
        size += len(parts[-1]) + 1
    return "\n".join(parts)


def _whole(pool: str, length: int) -> str:
    # Blanks at the ends would be lost in a chat for reasons that have nothing to do with copying.
    return pool[:length].strip()


def _pieced(draw: Draw, pool: str, length: int, fragment: int) -> str:
    text = ""
    while len(text) < length:
        size = min(draw.between(fragment // 2, fragment + fragment // 2), len(pool) // 2)
        start = draw.below(len(pool) - size + 1)
        text += pool[start : start + size]
    return text[:length].strip()


ENVIRONMENT: Environment = Verbatim()
