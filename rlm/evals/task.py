"""What an environment is: tasks, how their answers are scored, and scripted models that try it without a real one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel

from rlm.testing import ScriptedRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One question with a known answer."""

    id: str
    """Unique and the same on every machine, e.g. `needle-0-7` for seed 0 and index 7."""
    question: str
    """What is asked, in every arm; it says in which form the answer is wanted."""
    context: str | Mapping[str, str] | Path | None
    """The input: in the REPL of the RLM arms, in the prompt of the plain one. A `Path` is a file or a folder."""
    gold: Any
    """The right answer, as JSON."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """What the task is like (variant, size, …), as JSON: for tables by group."""
    tools: tuple[Callable[..., Any], ...] = ()
    """For the sub-LLMs of the RLM arms, and for the model of the plain one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What an answer is worth."""

    reward: float
    """0 to 1."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Further figures, e.g. `exact`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Oracle:
    """Scripted models of one environment; none of them knows the gold."""

    root: Callable[[ScriptedRequest], Any]
    """Solves the task the RLM way: its code finds its way in `context`."""
    bad_root: Callable[[ScriptedRequest], Any]
    """Fails as a weak model might."""
    sub: Callable[[ScriptedRequest], Any]
    """Answers sub-calls from their prompts alone."""
    llm: Callable[[ScriptedRequest], Any]
    """The plain arm: the context is in the prompt."""


class Environment(Protocol):
    """A kind of task. Each module of this package that is one has its instance as `ENVIRONMENT`."""

    name: str
    options: type[BaseModel]
    """What can be chosen, with defaults; unknown keys are errors."""
    tips: str
    """The name of its file in `prompts/tips`, without `.md`."""
    oracle: Oracle

    def task(self, index: int, *, seed: int, options: Any, place: Path) -> Task:
        """Task number `index`. `options` is an instance of `self.options`; large inputs are written below `place`."""
        ...

    def score(self, task: Task, answer: str) -> Score:
        """Deterministic; never raises, whatever the answer is."""
        ...
