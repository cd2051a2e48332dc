"""Needle in a haystack: short facts to be found in many lines of common words.

Variants: `word` (rare words that have each replaced a common one), `number` (lines that state a magic number), `hops`
(a chain of keys, each leading to the next, the last to a number), `near` (the numbers of stations, among stations with
almost the same names and statements that do not hold), `none` (one of these with nothing to be found; the right answer
is "none"). The reward is the F1 of what was answered, so that naming everything earns next to nothing; `exact`,
`precision` and `recall` are metrics. 1,000 lines are 36 kB; from 100,000 on the input is a file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rlm.evals.needle_oracle import ORACLE
from rlm.evals.needle_words import COMMON, RARE
from rlm.evals.task import Environment, Oracle, Score, Task
from rlm.evals.textkit import Draw, agreement, digest, numbers_in, words

Variant = Literal["word", "number", "hops", "near"]

PRESENT: tuple[Variant, ...] = ("word", "number", "hops", "near")

LINES_IN_A_FILE = 100_000
"""From this many lines on, the input is a file."""

_POOL = 20_000
"""Different lines of common words; longer inputs repeat them."""
_BLOCK = 10_000
_DECOYS = 8
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"

# Words that an answer may use around what it names. Any other word of a `word` answer counts as named.
_AROUND = frozenset(
    words(
        "a all an and answer are contains found final five four following here hidden i in input is it line lines list "
        "needle needles occur occurs of once one only rare replaced respectively so that the them there these they "
        "this three times two unusual was were which with word words"
    )
)
_NOTHING = frozenset({"none", "nothing", "no", "not"})
_SHORTEST_NUMBER = 5
"""Digits of a number that counts as answered: shorter ones name stations, or count."""


class NeedleOptions(BaseModel):
    """What the haystack is like."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lines: int = Field(default=10_000, ge=100, le=50_000_000)
    """Lines of the input, of some 36 characters each."""
    variant: Literal["word", "number", "hops", "near", "none", "all"] = "all"
    """What is hidden; `all` goes through the five in turn."""
    needles: int = Field(default=3, ge=1, le=20)
    """Facts to be found."""
    hops: int = Field(default=3, ge=1, le=10)
    """Keys of a chain, in `hops`."""
    position: float | None = Field(default=None, ge=0, le=1)
    """Around which part of the input the needles lie, 0 its begin and 1 its end; None: anywhere."""

    @model_validator(mode="after")
    def _room(self) -> Self:
        most = self.needles * max(4 * (self.hops + 1), _DECOYS + 1)
        if self.lines < 2 * most:
            raise ValueError(f"{self.needles} needles of this kind need at least {2 * most} lines")
        return self


class Hidden(NamedTuple):
    """What goes into the haystack."""

    lines: list[str]
    gold: list[str]
    question: str


class Needle:
    """Facts hidden among lines of common words."""

    name: str = "needle"
    options: type[BaseModel] = NeedleOptions
    tips: str = "needle"
    oracle: Oracle = ORACLE

    def task(self, index: int, *, seed: int, options: Any, place: Path) -> Task:
        """The question names what is looked for, not how much of it there is."""
        draw = Draw(self.name, seed=seed, index=index)
        variants = (*PRESENT, "none") if options.variant == "all" else (options.variant,)
        variant = variants[index % len(variants)]
        kind = draw.pick(PRESENT) if variant == "none" else variant
        hidden = _HIDE[kind](draw, options, variant != "none")
        planted = dict(zip(_positions(draw, len(hidden.lines), options), hidden.lines, strict=True))
        blocks = _blocks(draw, options.lines, planted)
        context: str | Path
        if options.lines < LINES_IN_A_FILE:
            context = "".join(blocks)
        else:
            context = place / f"needle-{digest(seed, index, options)}.txt"
            _write(context, blocks)
        return Task(
            id=f"{self.name}-{seed}-{index}",
            question=f"{hidden.question} Answer with nothing but these, separated by commas; if there is none: none.",
            context=context,
            gold=hidden.gold,
            info={"variant": variant, "kind": kind, "lines": options.lines, "needles": len(hidden.gold)},
        )

    def score(self, task: Task, answer: str) -> Score:
        """F1 over the answered words or numbers, whatever stands around them."""
        said = re.findall(r"[a-z]+", answer.lower())
        if task.info["kind"] == "word":
            named = [word for word in said if word not in _AROUND and word not in _NOTHING]
        else:
            named = [number for number in numbers_in(answer) if len(number) >= _SHORTEST_NUMBER]
        figures = agreement(named, task.gold)
        # That there is nothing has to be said: an empty answer is none.
        if not task.gold and _NOTHING.isdisjoint(said):
            return Score(reward=0.0, metrics={"exact": 0.0, "precision": 0.0, "recall": 0.0})
        metrics = {"exact": figures.exact, "precision": figures.precision, "recall": figures.recall}
        return Score(reward=figures.f1, metrics=metrics)


def _hide_words(draw: Draw, options: NeedleOptions, present: bool) -> Hidden:
    rare = draw.sample(RARE, options.needles) if present else []
    lines = []
    for word in rare:
        line = _common(draw).split()
        line[draw.below(len(line))] = word
        lines.append(" ".join(line))
    question = "The lines of the input are made of common words that recur again and again. Here and there one of them "
    return Hidden(
        lines, rare, question + "may have been replaced by a word that occurs nowhere else. Which words are they?"
    )


def _hide_numbers(draw: Draw, options: NeedleOptions, present: bool) -> Hidden:
    numbers = draw.distinct(lambda: _number(draw), options.needles) if present else []
    question = (
        'Somewhere in the input there may be lines that say "The magic number is …". Which magic numbers are there?'
    )
    return Hidden([f"The magic number is {number}." for number in numbers], numbers, question)


def _hide_chains(draw: Draw, options: NeedleOptions, present: bool) -> Hidden:
    """Of four chains for each needle one is asked for. Where nothing is to be found, its last key is missing."""
    length, count = options.hops + 1, 4 * options.needles
    keys = draw.distinct(lambda: "".join(draw.picks(_LETTERS, 5)), count * length)
    numbers = draw.distinct(lambda: _number(draw), count)
    lines, starts, gold = [], [], []
    for at in range(count):
        chain = keys[at * length : (at + 1) * length]
        asked = at < options.needles
        lines += [f"The key {here} leads to the key {there}." for here, there in pairwise(chain)]
        if present or not asked:
            lines.append(f"The key {chain[-1]} opens the number {numbers[at]}.")
        if asked:
            starts.append(chain[0])
            gold += [numbers[at]] if present else []
    question = (
        f"In the input, lines say which key leads to which, and which key opens a number. Start from each of these "
        f"keys and follow them to the end: {', '.join(starts)}. Which numbers do they open?"
    )
    return Hidden(draw.sample(lines), gold, question)


def _hide_near(draw: Draw, options: NeedleOptions, present: bool) -> Hidden:
    stations = draw.distinct(lambda: f"{draw.pick(_LETTERS)}-{draw.between(1000, 9999)}", options.needles)
    count = options.needles * (_DECOYS + 1)
    numbers = iter(draw.distinct(lambda: _number(draw), count))
    lines, gold = [], []
    for station in stations:
        if present:
            gold.append(next(numbers))
            lines.append(f"The magic number of station {station} is {gold[-1]}.")
        lines.append(f"The magic number of station {station} is not {next(numbers)}.")
        lines.append(f"The magic number of station {station} was once {next(numbers)}.")
        others = draw.distinct(partial(_misread, draw, station, stations), _DECOYS - 2)
        lines += [f"The magic number of station {other} is {next(numbers)}." for other in others]
    question = f"What are, by the input, the magic numbers that these stations have now: {', '.join(stations)}?"
    return Hidden(draw.sample(lines), gold, question)


_HIDE = {"word": _hide_words, "number": _hide_numbers, "hops": _hide_chains, "near": _hide_near}


def _misread(draw: Draw, name: str, taken: list[str]) -> str:
    """Another name that differs from `name` in one place."""
    while True:
        at = draw.pick((0, 2, 3, 4, 5))
        other = name[:at] + draw.pick(_LETTERS if at == 0 else "0123456789") + name[at + 1 :]
        if other not in taken:
            return other


def _number(draw: Draw) -> str:
    return str(draw.between(1_000_000, 9_999_999))


def _common(draw: Draw) -> str:
    return " ".join(draw.picks(COMMON, draw.between(4, 8)))


def _positions(draw: Draw, count: int, options: NeedleOptions) -> list[int]:
    """Different numbers of lines: anywhere, or within 5 % of the input around `position`."""
    low, width = 0, options.lines
    if options.position is not None:
        width = max(2 * count, options.lines // 20)
        low = round(options.position * (options.lines - width))
    return draw.distinct(lambda: low + draw.below(width), count)


def _blocks(draw: Draw, count: int, planted: dict[int, str]) -> Iterator[str]:
    """The input, some thousand lines at a time."""
    pool = [_common(draw) for _ in range(min(count, _POOL))]
    for start in range(0, count, _BLOCK):
        size = min(_BLOCK, count - start)
        lines = pool[start : start + size] if count <= _POOL else draw.picks(pool, size)
        for position, line in planted.items():
            if start <= position < start + size:
                lines[position - start] = line
        yield "\n".join(lines) + "\n"


def _write(path: Path, blocks: Iterator[str]) -> None:
    """A file that is there is whole, so it is taken as it is."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    with unfinished.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(blocks)
    unfinished.replace(path)


ENVIRONMENT: Environment = Needle()
