"""`codeqa`: questions about a real code base that is on every machine, the Python standard library.

The input is a folder with some packages of the running Python, so tasks are the same for the same version of Python
only; `info` names it. The gold is computed from the syntax trees. Rewards: 1 or 0, and F1 for sets.
"""

from __future__ import annotations

import platform
import random
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rlm.errors import ConfigError
from rlm.evals.codeqa.library import read_library, write_library
from rlm.evals.codeqa.oracle import bad_root, llm, root, sub
from rlm.evals.codeqa.questions import FORMS, KINDS, draw
from rlm.evals.codeqa.scoring import score
from rlm.evals.task import Environment, Oracle, Score, Task

NAME = "codeqa"
_BY_NAME = {kind.name: kind for kind in KINDS}


class Options(BaseModel):
    """What can be chosen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    packages: tuple[str, ...] = Field(
        default=("asyncio", "concurrent", "email", "html", "http", "json", "logging", "urllib"), min_length=1
    )
    """Packages of the standard library; with the default some 1.6 MB of code."""
    kinds: tuple[str, ...] = Field(default=tuple(_BY_NAME), min_length=1)
    """The kinds of questions, which take turns."""

    @field_validator("packages")
    @classmethod
    def _are_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [name for name in names if not name.isidentifier()]:
            raise ValueError(f"not the name of a package: {wrong[0]!r}")
        return tuple(sorted(set(names)))

    @field_validator("kinds")
    @classmethod
    def _are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted(set(names) - _BY_NAME.keys()):
            raise ValueError(f"unknown: {', '.join(unknown)}; there are: {', '.join(_BY_NAME)}")
        return names


class CodeQa:
    """The environment."""

    name = NAME
    options: type[BaseModel] = Options
    tips = "codeqa"
    oracle = Oracle(root=root, bad_root=bad_root, sub=sub, llm=llm)

    def task(self, index: int, *, seed: int, options: Any, place: Path) -> Task:
        """Raises `ConfigError` for packages that are not there, or that have nothing to ask about."""
        facts = read_library(options.packages).facts
        rng = random.Random(f"{seed}-{index}-{NAME}")
        # What these packages have no question for gives way to the next kind.
        for turn in range(len(options.kinds)):
            kind = _BY_NAME[options.kinds[(index + turn) % len(options.kinds)]]
            drawn = draw(kind, facts, rng)
            if drawn is not None:
                break
        else:
            raise ConfigError(f"codeqa: nothing to ask about {', '.join(options.packages)}")
        chosen, value = drawn
        return Task(
            id=f"{NAME}-{seed}-{index}",
            question=f"The folder holds packages of Python code. {kind.text.format(**chosen)} {FORMS[kind.form]}",
            context=write_library(options.packages, place),
            gold={"form": kind.form, "value": value},
            info={"variant": kind.name, "form": kind.form, "python": platform.python_version()},
        )

    def score(self, task: Task, answer: str) -> Score:
        """Exact, or F1 for a set: see `scoring`."""
        return score(task.gold["form"], task.gold["value"], answer)


ENVIRONMENT: Environment = CodeQa()
