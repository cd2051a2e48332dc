"""`rlm batch` from the file of tasks to the results: a real endpoint and real kernels, scripted models."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlm.commands import app
from rlm.testing import ScriptedModelServer
from tests.batches.conftest import Models, answer_of, line

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")]
ROOT = Path(__file__).resolve().parents[2]
Ran = tuple[int, str, str]


def command(server: ScriptedModelServer, *arguments: object) -> list[str]:
    models = ("--model", "root", "--sub-model", "sub", "--base-url", server.base_url)
    return ["batch", "tasks.jsonl", "--out", "out", *models, "--sandbox", "process", *map(str, arguments)]


@pytest.fixture
def batch(isolated_env: Path, server: ScriptedModelServer, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def run(*arguments: object) -> Ran:
        capfd.readouterr()
        code = app.run(command(server, *arguments))
        return (code, *capfd.readouterr())

    return run


def result(id_: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(f"out/{id_}.json").read_text(encoding="utf-8"))
    return found


def test_each_task_has_its_result_and_none_is_done_twice(batch, tasks, models: Models) -> None:
    tasks("a", "b", "c")
    code, out, err = batch("--workers", 2, "--sub-max-tokens", 100)
    assert code == 0, err
    for name in "abc":
        assert (result(name)["answer"], result(name)["stop_reason"]) == (answer_of(name), "answered")
        assert Path(result(name)["trace"]).is_relative_to(Path("out/traces").absolute())
    assert sorted(row.split()[0] for row in out.splitlines()) == ["3", "ID", "a", "b", "c"]
    assert sorted(row.split("] ")[1].split(",")[0] for row in err.splitlines() if row.startswith("rlm: [")) == [
        "a: answered", "b: answered", "c: answered"
    ]  # fmt: skip
    asked = Counter(models.seen)
    tasks("c", "d", "a")
    code, out, err = batch("--workers", 2, "--json")
    assert code == 0
    summary = json.loads(out)
    assert (summary["tasks"], summary["done"], summary["failed"]) == (3, 3, 0)
    assert summary["stop_reasons"] == {"answered": 3}
    assert set(models.seen - asked) == {"root d 0", "root d 1", *(f"part {k} of d" for k in range(3))}


def test_what_failed_is_told_and_tried_again_when_asked(batch, tasks, models: Models) -> None:
    path = tasks("good", "bad")
    path.write_text(path.read_text() + line("lost", context=None, inputs=["missing.txt"]) + "\n")
    models.broken = {"bad"}
    code, out, err = batch()
    assert code == 1
    assert (result("bad")["error"]["type"], result("lost")["error"]["type"]) == ("AuthError", "InputError")
    assert "2 error" not in out
    assert out.splitlines()[1].split()[:2] in (["bad", "error"], ["lost", "error"]), "what went wrong comes first"
    asked = Counter(models.seen)
    assert batch()[0] == 1
    assert models.seen == asked, "a failure is a result too"
    models.broken = set()
    (path.parent / "missing.txt").write_text("x")
    code, out, err = batch("--retry-failed")
    assert code == 0, err
    assert result("bad")["answer"] == answer_of("bad")
    assert result("bad")["run_id"] in os.listdir("out/traces")
    assert models.seen["root good 0"] == 1


def test_a_draft_that_a_limit_cut_short_is_done(batch, tasks, models: Models) -> None:
    tasks("a")
    code, _, _ = batch("--max-turns", 1)
    assert (code, result("a")["stop_reason"]) == (0, "max_turns")
    first = result("a")["run_id"]
    assert batch("--retry-failed")[0] == 0
    assert (result("a")["stop_reason"], result("a")["run_id"] != first) == ("answered", True)


def test_mistakes_are_found_before_anything_is_spent(batch, tasks, models: Models, isolated_env: Path) -> None:
    tasks("a", "a")
    assert batch()[0] == 2
    tasks("a")
    code, _, err = batch("--max-cost", 1)
    assert (code, "price" in err) == (2, True)
    assert batch("--depth", 99)[0] == 2
    assert models.seen == {}
    assert batch()[0] == 0
    (isolated_env / "tasks.jsonl").write_text(line("a", question="another question") + "\n")
    code, _, err = batch()
    assert (code, "another question" in err) == (2, True)
    os.remove("out/a.json")
    assert batch()[0] == 0


def test_a_cap_holds_for_all_runs_together(batch, tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    price = {"input": 0, "output": 1000}
    monkeypatch.setenv("RLM_PRICES", json.dumps({"root": price, "sub": price}))
    options = ("--workers", 2, "--sub-max-tokens", 20, "--param", "max_tokens=50", "--json")
    tasks("a", "b")
    code, out, _ = batch(*options)
    before = json.loads(out)["cost"]
    tasks(*"cdefgh")
    # What two runs keep for their last turns, 1,024 tokens each, and some more.
    cap = before + 2.048 + 1.2 * before
    code, out, _ = batch(*options, "--max-cost", cap)
    summary = json.loads(out)
    assert code == 3
    assert before < summary["cost"] <= cap
    assert summary["without_result"]
    assert summary["stop_reasons"].get("max_cost", 0) <= 4, "those that were ready when the first was cut"
    code, out, _ = batch(*options, "--max-cost", 100, "--retry-failed")
    summary = json.loads(out)
    assert (code, summary["stop_reasons"]) == (0, {"answered": 6})


def start(server: ScriptedModelServer, folder: Path, *arguments: object) -> subprocess.Popen[bytes]:
    words = [sys.executable, str(ROOT / "cli.py"), *command(server, *arguments)]
    return subprocess.Popen(words, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_killed_batch_goes_on_and_pays_nothing_twice(
    batch, tasks, models: Models, server: ScriptedModelServer, isolated_env: Path
) -> None:
    names = [f"t{number}" for number in range(6)]
    tasks(*names)
    models.delay = 0.2
    process = start(server, isolated_env, "--workers", 2)
    # Sub-calls of the first run have been answered by then, and the second turns are in flight.
    until(lambda: any(text.startswith("root t") and text.endswith(" 1") for text in models.seen))
    process.kill()
    process.communicate()
    until(lambda: server.in_flight == 0)
    before = Counter(models.seen)
    models.delay = 0.0
    code, _, err = batch("--workers", 2)
    assert code == 0, err
    assert all(result(name)["answer"] == answer_of(name) for name in names)
    for name in names:
        parts = [f"part {k} of {name}" for k in range(3)]
        # What came after a reply shows that it had arrived.
        arrived = [f"root {name} 0"] if any(part in before for part in parts) else []
        arrived += parts if f"root {name} 1" in before else []
        assert [models.seen[text] for text in arrived] == [1] * len(arrived), "only what was in flight is asked again"
    begun = {each["id"]: each["run_id"] for each in reversed(journal()) if "id" in each}
    assert all(result(name)["run_id"] == begun[name] for name in names), "each is the run that was begun first"


def journal() -> list[dict[str, Any]]:
    return [json.loads(text) for text in Path("out/batch.jsonl").read_text(encoding="utf-8").splitlines()]


def test_an_interrupted_batch_stops_its_runs_and_takes_them_up_again(
    batch, tasks, models: Models, server: ScriptedModelServer, isolated_env: Path
) -> None:
    tasks("a", "b", "c")
    models.delay = 0.5
    process = start(server, isolated_env, "--workers", 1)
    until(lambda: any(text.startswith("part") for text in models.seen))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"taken up again" in err
    assert not list(Path("out").glob("*.json"))
    kept = os.listdir("out/traces")
    assert len(kept) == 1, "runs that had not begun leave nothing"
    models.delay = 0.0
    assert batch("--workers", 1)[0] == 0
    (name,) = (name for name in "abc" if result(name)["run_id"] == kept[0])
    assert models.seen[f"root {name} 0"] == 1
