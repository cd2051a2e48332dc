"""The shipped environments, from the generator to the report, with the scripted models that solve or miss them."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from rlm.commands import app
from rlm.evals.arms import tips_of
from rlm.evals.registry import ENVIRONMENTS, environment
from rlm.prompts import tips_text

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")]
NAMES = [name for name, module in ENVIRONMENTS.items() if find_spec(module)]


@pytest.mark.parametrize("name", NAMES)
def test_each_has_its_name_its_defaults_and_its_tips(name: str) -> None:
    found = environment(name)
    assert found.name == name
    found.options()
    assert len(tips_text(tips_of(found)).split()) > 5


@pytest.mark.skipif(not NAMES, reason="none is there")
@pytest.mark.parametrize(("model", "solved"), [("scripted", True), ("scripted-bad", False)])
def test_from_the_generator_to_the_report(isolated_env: Path, model: str, solved: bool) -> None:
    fixed = ["eval", *NAMES, "--arms", "rlm", "--n", "1", "--sandbox", "process", "--out", "out"]
    assert app.run([*fixed, "--model", model]) == 0
    rows = [json.loads(line) for line in Path("out/rows.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["env"]: row["reward"] == 1 for row in rows} == dict.fromkeys(NAMES, solved)
    report = Path("out/report.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if name.replace("_", "\\_") not in report] == []
