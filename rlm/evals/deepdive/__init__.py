"""`deepdive`: questions that take several look-ups, over a generated wiki of long pages.

There is no input: sub-LLMs have the tools `search` and `open`, the root has none. The answer is one name; its aliases
count too. Rewards are 1 and 0.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from rlm.evals.deepdive.matching import names
from rlm.evals.deepdive.oracle import bad_root, llm, root, sub
from rlm.evals.deepdive.questions import draw_chain
from rlm.evals.deepdive.wiki import make_wiki
from rlm.evals.task import Environment, Oracle, Score, Task

NAME = "deepdive"


class Options(BaseModel):
    """What can be chosen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pages: int = Field(default=500, ge=50, le=20_000)
    """Pages of the wiki."""
    shortest: PositiveInt = 10_000
    """Characters of a page, at least."""
    longest: PositiveInt = 50_000
    """Characters of a page, about at most."""
    hops: tuple[Annotated[int, Field(ge=1, le=8)], ...] = Field(default=(2, 3, 4), min_length=1)
    """How many relations lead from what is described to the answer; they take turns."""
    obscured: bool = True
    """Describe things in other words than the pages do."""

    @model_validator(mode="after")
    def _ordered(self) -> Options:
        if self.shortest > self.longest:
            raise ValueError("shortest is more than longest")
        return self


class DeepDive:
    """The environment."""

    name = NAME
    options: type[BaseModel] = Options
    tips = "deepdive"
    oracle = Oracle(root=root, bad_root=bad_root, sub=sub, llm=llm)

    def task(self, index: int, *, seed: int, options: Any, place: Path) -> Task:
        wiki = make_wiki(seed, options.pages, options.shortest, options.longest)
        hops = options.hops[index % len(options.hops)]
        chain = draw_chain(wiki.world, random.Random(f"{seed}-{index}-{NAME}"), hops=hops, obscured=options.obscured)
        target = wiki.world[chain.path[-1]]
        return Task(
            id=f"{NAME}-{seed}-{index}",
            question=f"In the wiki, what is the name of {chain.text}? Answer with the name alone.",
            context=None,
            gold={"name": target.name, "aliases": list(target.aliases), "path": list(chain.path)},
            info={"hops": hops, "pages": options.pages},
            tools=wiki.tools,
        )

    def score(self, task: Task, answer: str) -> Score:
        """1 for an answer that names the gold or an alias, and nothing else: `matching.names`."""
        right = float(names(answer, [task.gold["name"], *task.gold["aliases"]]))
        return Score(reward=right, metrics={"exact": right})


ENVIRONMENT: Environment = DeepDive()
