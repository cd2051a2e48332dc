"""`math_python`: problems with an exact answer that code works out and mental arithmetic does not.

There is no input. The answer is compared exactly: 1/3 is not 0.333. Rewards are 1 and 0.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from rlm.evals.math_python.equality import NoExpression, check_installed, equal
from rlm.evals.math_python.families import FAMILIES
from rlm.evals.math_python.oracle import bad_root, llm, root, sub
from rlm.evals.math_python.reading import candidates, parts
from rlm.evals.task import Environment, Oracle, Score, Task

NAME = "math_python"
FORM = "Answer with the exact value alone: an integer, a fraction such as 3/7, or an expression with sqrt or pi."
_BY_NAME = {family.name: family for family in FAMILIES}


class Options(BaseModel):
    """What can be chosen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    families: tuple[str, ...] = tuple(_BY_NAME)
    """The kinds of problems, which take turns."""

    @field_validator("families")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted(set(names) - _BY_NAME.keys()):
            raise ValueError(f"unknown: {', '.join(unknown)}; there are: {', '.join(_BY_NAME)}")
        if not names:
            raise ValueError("none is chosen")
        return names


class MathPython:
    """The environment."""

    name = NAME
    options: type[BaseModel] = Options
    tips = "math_python"
    oracle = Oracle(root=root, bad_root=bad_root, sub=sub, llm=llm)

    def task(self, index: int, *, seed: int, options: Any, place: Path) -> Task:
        """Raises `ConfigError` without sympy (the extra `evals`)."""
        check_installed()
        rng = random.Random(f"{seed}-{index}-{NAME}")
        family = _BY_NAME[options.families[index % len(options.families)]]
        numbers = family.draw(rng)
        return Task(
            id=f"{NAME}-{seed}-{index}",
            question=f"{family.text.format(**numbers)}\n\n{FORM}",
            context=None,
            gold=str(family.gold(**numbers)),
            info={"variant": family.name},
        )

    def score(self, task: Task, answer: str) -> Score:
        """1 for an answer that equals the gold. Which part of a longer text counts: `reading.candidates`."""
        right = _right(answer, str(task.gold))
        return Score(reward=float(right), metrics={"exact": float(right)})


def _right(answer: str, gold: str) -> bool:
    wanted = [each.strip() for each in gold.split(",")]
    for candidate in candidates(answer):
        given = parts(candidate)
        try:
            verdicts = [equal(text, value) for text, value in zip(given, wanted, strict=False)]
        except NoExpression:
            continue
        return len(given) == len(wanted) and all(verdicts)
    return False


ENVIRONMENT: Environment = MathPython()
