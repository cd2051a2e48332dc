"""Plays an evaluation: every task in every arm, some at a time, each finished one a row.

The same plan again goes on where it ended: what has a row is not tried again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from rlm.batches.pool import in_pool
from rlm.config import Settings
from rlm.errors import ConfigError, InputError
from rlm.evals.arms import Arm, context_chars, inputs_of, settings_of
from rlm.evals.rows import Key, Row, RowFile, digest, short, spent, total_cost
from rlm.evals.scripted import ForEnvironment
from rlm.evals.task import Environment, Score, Task
from rlm.gates import Gate, GateClosed
from rlm.parts import Shared
from rlm.purse import Purse
from rlm.result import RunResult
from rlm.run import Run

CUT = "the evaluation's cost cap ended this run"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be tried."""

    environments: Sequence[Environment]
    options: Mapping[str, BaseModel]
    """Of each environment by name."""
    arms: Sequence[Arm]
    n: int
    """Tasks of each environment: index 0 to n - 1."""
    seed: int
    settings: Settings
    model: str
    """As the rows name it; what is asked is in the settings."""
    sub_model: str
    out: Path
    workers: int = 4
    max_cost: float | None = None
    """Most money in all, earlier rows of this folder included."""
    retry_failed: bool = False
    for_environment: ForEnvironment = lambda _, settings: settings
    """The settings for the runs of an environment."""


class Job(NamedTuple):
    """One task in one arm."""

    environment: Environment
    number: int
    """Of the task."""
    arm: Arm
    key: Key


class Progress(NamedTuple):
    """What is told after each run."""

    done: int
    total: int
    row: Row


def jobs_of(plan: Plan) -> Iterator[Job]:
    """All of them, the arms of a task one after the other."""
    for environment in plan.environments:
        options = digest(plan.options[environment.name].model_dump(mode="json"))
        for index in range(plan.n):
            for arm in plan.arms:
                names = (environment.name, options, arm.name, plan.model, plan.sub_model)
                yield Job(environment, index, arm, (*names, plan.seed, index))


def rows_of(plan: Plan, rows: Sequence[Row]) -> list[Row]:
    """Those of the rows that belong to this plan, in its order."""
    by_key = {row.key: row for row in rows}
    return [by_key[job.key] for job in jobs_of(plan) if job.key in by_key]


async def play(plan: Plan, progress: Callable[[Progress], None] = lambda _: None) -> list[Row]:
    """Try what has no row yet; returns all rows of the plan.

    Raises `ConfigError` for settings that make no run or a folder into which another process plays, and `InputError`
    for a file of rows that cannot be read. Where the cost cap ends it, what was not tried has no row.
    """
    with RowFile(plan.out).held():
        return await _Evaluation(plan, progress).play()


class _Evaluation:
    def __init__(self, plan: Plan, progress: Callable[[Progress], None]) -> None:
        self._plan = plan
        self._progress = progress
        self._file = RowFile(plan.out)
        self._tasks: dict[tuple[str, int], asyncio.Task[Task]] = {}
        self._done = 0

    async def play(self) -> list[Row]:
        plan, before = self._plan, self._file.read()
        done = {row.key for row in before if not (row.error and plan.retry_failed)}
        jobs = [job for job in jobs_of(plan) if job.key not in done]
        self._total = len(jobs)
        self._open = Counter((job.environment.name, job.number) for job in jobs)
        self._purse = None if plan.max_cost is None else Purse(plan.max_cost, spent=total_cost(before))
        coming = in_pool(jobs, self._try, workers=plan.workers, purse=self._purse, was_cut=self._was_cut)
        try:
            async with aclosing(coming):
                async for row in coming:
                    if row is not None:
                        self._file.append(row)
                        self._done += 1
                        self._progress(Progress(self._done, self._total, row))
        finally:
            for task in self._tasks.values():
                task.cancel()
        return rows_of(plan, self._file.read())

    def _was_cut(self, row: Row | None) -> bool:
        return row is not None and row.error == CUT and bool(row.cost)

    async def _try(self, job: Job, gate: Gate) -> Row | None:
        """The row of one run; None if it was interrupted."""
        environment, plan = job.environment, self._plan
        env, options, arm, model, sub_model, seed, index = job.key
        names: dict[str, Any] = {"env": env, "options": options, "arm": arm, "model": model, "sub_model": sub_model}
        row = Row(**names, seed=seed, index=index, task_id="", reward=0.0)
        try:
            task = await self._task(job)
            about: dict[str, Any] = {"task_id": task.id, "gold": short(task.gold), "info": dict(task.info)}
            row = replace(row, **about, context_chars=await asyncio.to_thread(context_chars, task))
            settings = settings_of(job.arm, plan.for_environment(environment, plan.settings), environment, task)
            settings = settings.model_copy(update={"trace_dir": plan.out / "traces"})
            run = Run(settings, task.question, inputs_of(job.arm, task), shared=Shared(self._purse))
            result = await run.play(gate)
            if result.stop_reason == "interrupted":
                return None
            row = replace(row, **spent(result), trace=self._trace(result))
            if result.stop_reason == "max_cost" and self._purse and self._purse.cut(result.cost, settings.max_cost):
                return replace(row, error=CUT)
            return await self._scored(row, environment, task, result)
        except (ConfigError, GateClosed):
            raise
        except Exception as error:
            # An environment may be anybody's code, and one task that fails must not end the others.
            return replace(row, error=f"{type(error).__name__}: {error}", stop_reason="error")
        finally:
            self._finished(job)

    async def _scored(self, row: Row, environment: Environment, task: Task, result: RunResult) -> Row:
        if result.error is not None and result.error.type != "PromptTooLong":
            return replace(row, error=f"{result.error.type}: {result.error.message}")
        if result.error is not None:
            row = replace(row, stop_reason="too_long")
        score: Score = await asyncio.to_thread(environment.score, task, result.answer)
        return replace(row, reward=float(score.reward), metrics=dict(score.metrics))

    # --- tasks, made once for all arms

    async def _task(self, job: Job) -> Task:
        name = (job.environment.name, job.number)
        if name not in self._tasks:
            self._tasks[name] = asyncio.create_task(asyncio.to_thread(self._make, job))
        return await asyncio.shield(self._tasks[name])

    def _make(self, job: Job) -> Task:
        environment, (_, options, *_) = job.environment, job.key
        place = self._plan.out / "inputs" / environment.name / f"{options}-{self._plan.seed}-{job.number}"
        place.mkdir(parents=True, exist_ok=True)
        chosen = self._plan.options[environment.name]
        task = environment.task(job.number, seed=self._plan.seed, options=chosen, place=place)
        if not any(place.iterdir()):
            place.rmdir()
        return task

    def _finished(self, job: Job) -> None:
        name = (job.environment.name, job.number)
        self._open[name] -= 1
        if not self._open[name]:
            self._tasks.pop(name, None)

    def _trace(self, result: RunResult) -> str:
        if result.trace is None:
            return ""
        out = self._plan.out.resolve()
        trace = result.trace.resolve()
        return str(trace.relative_to(out)) if trace.is_relative_to(out) else str(trace)


def check(plan: Plan) -> None:
    """Raise `InputError` if the folder cannot be written to, before anything is spent."""
    try:
        plan.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {plan.out}: {error.strerror}") from error
