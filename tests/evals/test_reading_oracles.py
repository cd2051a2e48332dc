"""The scripted models of needle, oolong, oolong_pairs and verbatim, played in the real runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlm import RLM, RunResult, Settings
from rlm.evals import needle, oolong, oolong_pairs, verbatim
from rlm.evals.task import Environment, Task
from rlm.testing import ScriptedModelServer, ScriptedRequest

pytestmark = pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")

NEEDLE, OOLONG = needle.ENVIRONMENT, oolong.ENVIRONMENT
PAIRS, VERBATIM = oolong_pairs.ENVIRONMENT, verbatim.ENVIRONMENT

LISTS: list[tuple[Environment, dict[str, Any], int]] = [
    (NEEDLE, {"lines": 2000}, 0),
    (NEEDLE, {"lines": 2000}, 2),
    (OOLONG, {"items": 120}, 4),
    (OOLONG, {"items": 120, "labels": True}, 0),
    (OOLONG, {"items": 60, "real": True}, 10),
    (PAIRS, {"items": 120}, 6),
    (VERBATIM, {"length": 2000, "content": "mixed", "fragment": 20}, 0),
]


async def play(
    environment: Environment, folder: Path, root: Any, index: int, *, depth: int = 1, **chosen: Any
) -> tuple[Task, RunResult]:
    task = environment.task(index, seed=0, options=environment.options(**chosen), place=folder)
    with ScriptedModelServer({"root": root, "sub": environment.oracle.sub}) as server:
        settings = Settings(
            base_url=server.base_url,
            model="root",
            sub_model="sub",
            sandbox="process",
            depth=depth,
            trace_dir=folder / "traces",
        )
        result = await RLM(settings=settings).arun(task.question, task.context)
    assert server.errors == []
    return task, result


@pytest.mark.parametrize(("environment", "chosen", "index"), LISTS)
async def test_the_root_solves_its_task(environment, chosen, index, tmp_path):
    task, result = await play(environment, tmp_path, environment.oracle.root, index, **chosen)
    assert environment.score(task, result.answer).reward == 1.0


@pytest.mark.parametrize("environment", [NEEDLE, OOLONG, PAIRS, VERBATIM])
async def test_the_bad_root_does_not(environment, tmp_path):
    task, result = await play(environment, tmp_path, environment.oracle.bad_root, 2)
    assert result.answer
    assert environment.score(task, result.answer).reward < 0.7


@pytest.mark.parametrize(("environment", "items"), [(OOLONG, 20), (PAIRS, 20)])
async def test_without_sub_llms_the_root_reads_what_it_prints(environment, items, tmp_path):
    task, result = await play(environment, tmp_path, environment.oracle.root, 0, depth=0, items=items)
    assert result.answer
    assert environment.score(task, result.answer).reward > 0


async def test_a_needle_is_found_in_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(needle, "LINES_IN_A_FILE", 1000)
    task, result = await play(NEEDLE, tmp_path, NEEDLE.oracle.root, 3, lines=30_000)
    assert isinstance(task.context, Path)
    assert NEEDLE.score(task, result.answer).reward == 1.0


def plain(task: Task) -> ScriptedRequest:
    prompt = f"{task.question}\n\n<context>\n{task.context or ''}\n</context>"
    return ScriptedRequest(model="llm", messages=[{"role": "user", "content": prompt}], body={}, headers={}, index=0)


def answered(environment: Environment, task: Task) -> float:
    reply = environment.oracle.llm(plain(task))
    return environment.score(task, reply.removeprefix("<answer>").removesuffix("</answer>")).reward


@pytest.mark.parametrize(
    ("environment", "short", "long"),
    [
        (NEEDLE, {"lines": 400}, {"lines": 20_000}),
        (OOLONG, {"items": 120}, {"items": 2000}),
        (OOLONG, {"items": 60, "real": True}, {"items": 2000, "real": True}),
        (PAIRS, {"items": 120}, {"items": 2000}),
        (VERBATIM, {"length": 200}, {"length": 3000}),
    ],
)
def test_the_plain_arm_fares_well_on_short_inputs_only(environment, short, long, tmp_path):
    def mean(chosen: dict[str, Any]) -> float:
        options = environment.options(**chosen)
        tasks = [environment.task(index, seed=3, options=options, place=tmp_path) for index in range(10)]
        return sum(answered(environment, task) for task in tasks) / len(tasks)

    assert mean(short) == 1.0
    assert mean(long) < 0.7
