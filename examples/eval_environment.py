"""An evaluation of your own: which city does a clerk live in? Try it without a model:

rlm eval examples/eval_environment.py:ENVIRONMENT --arms llm,rlm,rlm+tips --model scripted --n 5
"""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from rlm.evals.task import Oracle, Score, Task
from rlm.testing import ScriptedRequest

CITIES = ("Bergen", "Cork", "Delft", "Evora", "Graz", "Turku")
TIPS = "The context is a list, one person per line. Search it with code; there is no need to read all of it."


class Options(BaseModel):
    """What can be chosen on the command line, as `--option clerks.lines=5000`."""

    model_config = ConfigDict(extra="forbid")

    lines: int = Field(default=300, ge=1)


class Clerks:
    """One line of many says it."""

    name: str = "clerks"
    options: type[BaseModel] = Options
    tips: str = TIPS

    def __init__(self) -> None:
        self.oracle = Oracle(root=root, bad_root=bad_root, sub=sub, llm=llm)

    def task(self, index: int, *, seed: int, options: Any, place: Path) -> Task:
        draw = random.Random(f"{seed}-{index}-{self.name}")
        size = max(1, options.lines * 4 ** draw.randrange(3))
        homes = [draw.choice(CITIES) for _ in range(size)]
        clerk = draw.randrange(size)
        return Task(
            id=f"{self.name}-{seed}-{index}",
            question=f"In which city does clerk number {clerk} live? Answer with the city alone.",
            context="\n".join(f"Clerk number {number} lives in {city}." for number, city in enumerate(homes)),
            gold=homes[clerk],
            info={"lines": size},
        )

    def score(self, task: Task, answer: str) -> Score:
        """The city and nothing else: who lists all of them has not found it."""
        exact = answer.strip().strip(".").casefold() == task.gold.casefold()
        return Score(reward=float(exact), metrics={"named": float(task.gold.casefold() in answer.casefold())})


# --- scripted models: they show that the task can be solved, and test the way from generator to report


def root(request: ScriptedRequest) -> str:
    """Looks with code, then answers."""
    if request.turn == 0:
        search = f"re.search(r'number {asked(request)} lives in (\\w+)', str(context))[1]"
        return f"```repl\nimport re\nhome = {search}\nprint(home)\n```"
    return "```repl\nanswer['content'] = home\nanswer['ready'] = True\n```"


def bad_root(request: ScriptedRequest) -> str:
    """Lists what it knows."""
    return f"```repl\nanswer['content'] = {', '.join(CITIES)!r}\nanswer['ready'] = True\n```"


def sub(request: ScriptedRequest) -> str:
    """Is never asked."""
    return "I do not know."


def llm(request: ScriptedRequest) -> str:
    """Reads the beginning of its prompt only, as a model with a small window would."""
    home = re.search(rf"number {asked(request)} lives in (\w+)", request.prompt[:20_000])
    return f"<answer>{home[1] if home else CITIES[0]}</answer>"


def asked(request: ScriptedRequest) -> str:
    texts = [str(message.get("content")) for message in request.messages]
    return str(re.findall(r"does clerk number (\d+) live", "\n".join(texts))[-1])


ENVIRONMENT = Clerks()
