"""Environments as data sets with rewards; the `verifiers` package is played by stand-ins."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from examples.eval_environment import ENVIRONMENT
from rlm.config import Settings
from rlm.errors import ConfigError
from rlm.evals import adapters
from rlm.evals.scripted import scripted

pytestmark = pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")


def an_example(place: Path) -> dict[str, Any]:
    (found,) = adapters.examples(ENVIRONMENT, n=1, start=1, place=place)
    return found


async def test_an_example_and_its_reward(tmp_path: Path) -> None:
    example = an_example(tmp_path)
    assert json.loads(json.dumps(example)) == example
    assert "Clerk number 3 lives in" in example["prompt"][0]["content"]
    gold, reward = json.loads(example["answer"]), adapters.reward_function(ENVIRONMENT, tmp_path)
    right = [{"role": "assistant", "content": f"It is <answer>{gold}</answer>"}]
    assert await reward(prompt=example["prompt"], completion=right, answer=example["answer"], info=example["info"]) == 1
    for wrong in ([{"role": "assistant", "content": "Atlantis"}], "", [], [{"role": "assistant", "content": None}]):
        assert await reward(completion=wrong, info=json.loads(example["info"])) == 0


async def test_a_rollout(tmp_path: Path) -> None:
    example = an_example(tmp_path / "tasks")
    settings = Settings(model="m", sandbox="process", trace_dir=tmp_path / "traces")
    with scripted([ENVIRONMENT]) as served:
        settings = served(ENVIRONMENT, settings)
        state = await adapters.rollout(ENVIRONMENT, example, settings=settings, place=tmp_path / "tasks")
    assert (state["reward"], state["error"], state["spent"]["turns"]) == (1, None, 2)
    assert state["completion"][-1] == {"role": "assistant", "content": json.loads(example["answer"])}
    assert [line["rollout"] for line in state["trajectory"]] == ["0"]


def test_as_an_environment_of_verifiers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="verifiers and datasets"):
        adapters.load_environment(ENVIRONMENT, n=2, place=tmp_path)
    verifiers, datasets = ModuleType("verifiers"), ModuleType("datasets")
    stand_ins: dict[str, Any] = {"Rubric": SimpleNamespace, "SingleTurnEnv": SimpleNamespace}
    verifiers.__dict__.update(stand_ins)
    datasets.__dict__["Dataset"] = SimpleNamespace(from_list=list)
    monkeypatch.setitem(sys.modules, "verifiers", verifiers)
    monkeypatch.setitem(sys.modules, "datasets", datasets)
    found = adapters.load_environment(ENVIRONMENT, n=2, place=tmp_path, max_workers=3)
    assert [row["task"] for row in found.dataset] == ["clerks", "clerks"]
    assert (len(found.rubric.funcs), found.max_workers) == (1, 3)
