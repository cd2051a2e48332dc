"""`math_python`: problems with an exact answer that code works out and mental arithmetic does not.

There is no input. The answer is compared exactly: 1/3 is not 0.333. Rewards are 1 and 0.
"""

from __future__ import annotations

import inspect
import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from rlm.evals.math_python.equality import NoExpression, equal
from rlm.evals.math_python.families import FAMILIES, Family
from rlm.evals.math_python.reading import candidates, parts
from rlm.evals.math_python.solvers import SOLVERS
from rlm.evals.task import Environment, Oracle, Score, Task
from rlm.testing import ScriptedRequest
from rlm.testing.script import message_text

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

    def __init__(self) -> None:
        self.oracle = Oracle(root=root, bad_root=bad_root, sub=sub, llm=llm)

    def task(self, index: int, *, seed: int, options: Any, place: Path) -> Task:
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


def problem(messages: str) -> tuple[Family, Mapping[str, int]] | None:
    """The problem that a text states, and its numbers."""
    for family in FAMILIES:
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>-?\\d+)", re.escape(family.text))
        if found := re.search(pattern, messages):
            return family, {name: int(value) for name, value in found.groupdict().items()}
    return None


def root(request: ScriptedRequest) -> str:
    """Writes a program and looks at what it prints; then answers with that."""
    found = problem(_said(request))
    if found is None:
        return _cell("answer['content'] = 'I do not know this kind of problem.'\nanswer['ready'] = True")
    family, numbers = found
    solver = SOLVERS[family.name]
    if request.turn == 0:
        start = "from __future__ import annotations\nimport itertools\nfrom fractions import Fraction\n\n"
        call = f"value = {solver.__name__}(**{dict(numbers)!r})\nprint(value)\nanswer['content'] = str(value)"
        return _cell(f"{start}{inspect.getsource(solver)}\n{call}")
    return _cell("print(answer['content'])\nanswer['ready'] = True")


def bad_root(request: ScriptedRequest) -> str:
    """Works with floating point, and stops at the first number that comes to mind."""
    found = problem(_said(request))
    numbers = list(found[1].values()) if found else [1]
    code = f"value = sum({numbers!r}) / 7\nanswer['content'] = f'approximately {{value:.4f}}'\nanswer['ready'] = True"
    return _cell(code)


def sub(request: ScriptedRequest) -> str:
    """Sums a problem up in one number, rarely the right one: there is no REPL in a sub-call."""
    return llm(request)


def llm(request: ScriptedRequest) -> str:
    """Knows the formulas for what takes one line; elsewhere its arithmetic is a guess."""
    found = problem(_said(request))
    if found is None:
        return "I cannot tell."
    family, numbers = found
    if family.name in {"roots", "triangle", "urn", "coin", "paths"}:
        return f"The answer is {SOLVERS[family.name](**numbers)}"
    return f"Roughly estimated, the answer is {sum(numbers.values())}."


def _said(request: ScriptedRequest) -> str:
    return "\n".join(message_text(each) for each in request.messages if each.get("role") == "user")


def _cell(code: str) -> str:
    return f"```repl\n{code}\n```"


ENVIRONMENT: Environment = MathPython()
