"""Environments for others' machinery: as data sets with a reward, and for the `verifiers` package.

`examples` and `reward_function` are plain data and a plain function, in the shape that `verifiers` documents for its
data sets and rubrics: `prompt`, `answer`, `info`, and `async (prompt, completion, answer, info) -> float`. `rollout`
plays one of the examples as an RLM, and returns what such a trainer calls a state.

`load_environment` needs `verifiers` and `datasets`, which are not among our extras: verifiers 0.4.0 wants openai < 3,
and this package openai 3. It is written against their documentation and tested with stand-ins, not with the package.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlm.agent import RLM
from rlm.config import Settings
from rlm.context import prepare
from rlm.errors import ConfigError, PromptTooLong
from rlm.evals.arms import inputs_of, parse_arm, settings_of
from rlm.evals.rows import spent
from rlm.evals.task import Environment, Score, Task
from rlm.events import ROOT
from rlm.export.messages import transcripts
from rlm.route import answer_of, plain_prompt
from rlm.trace.reader import Trace

Reward = Callable[..., Awaitable[float]]
MAX_OUTPUT = 4096


def examples(
    environment: Environment, *, n: int, place: Path, seed: int = 0, start: int = 0, options: Any = None
) -> Iterator[dict[str, Any]]:
    """Tasks `start` to `start + n - 1` as rows of a data set.

    `prompt` is the chat of the plain arm, the input pasted into it; `answer` the gold as JSON; `info` a JSON object
    with all it takes to make the task again. Raises `PromptTooLong` for an input that no prompt can hold.
    """
    options = options or environment.options()
    for index in range(start, start + n):
        task = environment.task(index, seed=seed, options=options, place=_folder(place, index))
        about = {"env": environment.name, "index": index, "seed": seed, "options": options.model_dump(mode="json")}
        yield {
            "prompt": [{"role": "user", "content": _prompt(task, _folder(place, index) / "prompt")}],
            "answer": json.dumps(task.gold, ensure_ascii=False, default=str),
            "info": json.dumps({**about, "task_id": task.id, **task.info}, default=str),
            "task": environment.name,
        }


def reward_function(environment: Environment, place: Path) -> Reward:
    """The scorer over what a model said last, for a rubric. It makes the task again from `info`."""

    async def reward(completion: Any, info: Any, **_: Any) -> float:
        return score(environment, completion, info, place).reward

    return reward


def score(environment: Environment, completion: Any, info: Any, place: Path) -> Score:
    """What a completion (a text, or a chat whose last message counts) is worth for the example with this `info`."""
    return environment.score(_again(environment, info, place), answer_of(_said(completion)))


async def rollout(
    environment: Environment, example: Mapping[str, Any], *, settings: Settings, place: Path, arm: str = "rlm"
) -> dict[str, Any]:
    """Play one example in an arm, with the models of `settings`.

    Returns the example with `completion` (the root's chat after its first message, the answer as the last one where
    code gave it), `reward`, `metrics`, `answer_given`, `trajectory` (the lines of `rlm.export.messages`) and what it
    took. Raises `ConfigError`.
    """
    way = parse_arm(arm)
    task = _again(environment, example["info"], place)
    played = settings_of(way, settings, environment, task)
    result = await RLM(settings=played).arun(task.question, inputs=inputs_of(way, task))
    worth = environment.score(task, result.answer)
    lines = list(transcripts(Trace(result.trace.parent).events(), sub_calls=True)) if result.trace else []
    chat: list[Any] = next(
        (line["messages"] for line in lines if line.get("rollout") == ROOT and "batch" not in line), []
    )
    return {
        **example,
        "completion": [*chat[1:], {"role": "assistant", "content": result.answer}],
        "answer_given": result.answer,
        "reward": worth.reward,
        "metrics": dict(worth.metrics),
        "trajectory": lines,
        "spent": spent(result),
        "error": result.error.message if result.error else None,
    }


def load_environment(
    environment: Environment, *, n: int, place: Path, seed: int = 0, options: Any = None, **more: Any
) -> Any:
    """The plain arm as a `verifiers.SingleTurnEnv`. Raises `ConfigError` without that package, or for tools."""
    try:
        import verifiers
        from datasets import Dataset
    except ImportError as error:
        raise ConfigError(f"this needs the packages verifiers and datasets: {error}") from None
    first = environment.task(0, seed=seed, options=options or environment.options(), place=_folder(place, 0))
    if first.tools:
        raise ConfigError(f"{environment.name} has tools, and a single turn cannot call them")
    rows: Sequence[dict[str, Any]] = list(examples(environment, n=n, place=place, seed=seed, options=options))
    rubric = verifiers.Rubric(funcs=[reward_function(environment, place)])
    return verifiers.SingleTurnEnv(dataset=Dataset.from_list(rows), rubric=rubric, **more)


def _folder(place: Path, index: int) -> Path:
    folder = place / str(index)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _prompt(task: Task, spool: Path) -> str:
    prepared = prepare(inputs_of(parse_arm("llm"), task), spool_dir=spool, foreign_uid=False)
    settings = Settings(route="llm")
    prompt = plain_prompt(settings, task.question, prepared, window=None, max_output=MAX_OUTPUT)
    if prompt is None:
        raise PromptTooLong(f"{task.id}: the input does not fit a prompt", attempts=0)
    return prompt


def _again(environment: Environment, info: Any, place: Path) -> Task:
    about = json.loads(info) if isinstance(info, str) else info
    options = environment.options.model_validate(about["options"])
    folder = _folder(place, about["index"])
    return environment.task(about["index"], seed=about["seed"], options=options, place=folder)


def _said(completion: Any) -> str:
    if isinstance(completion, str):
        return completion
    last = completion[-1] if completion else {}
    content = last.get("content") if isinstance(last, Mapping) else getattr(last, "content", "")
    return content if isinstance(content, str) else ""
