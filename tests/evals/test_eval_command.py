"""`rlm eval` from the generator to the report: a real endpoint and real kernels, scripted models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlm.commands import app
from rlm.evals import runner
from rlm.evals.rows import RowFile
from rlm.testing import Fault, ScriptedModelServer

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")]
CLERKS = f"{Path(__file__).resolve().parents[2]}/examples/eval_environment.py:ENVIRONMENT"


@pytest.fixture
def evaluate(isolated_env: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        fixed = ["eval", CLERKS, "--sandbox", "process", "--out", "out"]
        code = app.run([*fixed, *map(str, arguments)])
        return (code, *capfd.readouterr())

    return run


def rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("out/rows.jsonl").read_text(encoding="utf-8").splitlines()]


def test_one_process_at_a_time_plays_into_a_folder(evaluate) -> None:
    arguments = ("--arms", "rlm", "--model", "scripted", "--n", 1)
    with RowFile(Path("out")).held():
        code, _, err = evaluate(*arguments)
        assert (code, "another process plays an evaluation into" in err) == (2, True)
    assert evaluate(*arguments)[0] == 0


def test_from_the_generator_to_the_report(evaluate) -> None:
    arguments = ("--arms", "llm,rlm,rlm+tips", "--model", "scripted", "--n", 2, "--trajectories", "t.jsonl")
    code, out, _ = evaluate(*arguments)
    assert code == 0
    assert "out/report.html" in out
    found = {(row["arm"], row["index"]): row for row in rows()}
    assert [found["rlm", index]["reward"] for index in (0, 1)] == [1, 1]
    # The scripted model of the plain arm reads the beginning of its prompt only.
    assert [found["llm", index]["reward"] for index in (0, 1)] == [0, 1]
    assert found["llm", 0]["root_input"] > 10 * found["rlm", 0]["root_input"]
    assert (found["llm", 0]["turns"], found["rlm", 0]["turns"]) == (1, 2)
    assert all((Path("out") / row["trace"]).is_file() for row in found.values())
    report, page = (
        Path("out/report.md").read_text(encoding="utf-8"),
        Path("out/report.html").read_text(encoding="utf-8"),
    )
    assert "| clerks | rlm | 2 | 0 | 1.000 | 0.342 to 1.000 |" in report
    assert "| clerks | rlm | llm | +0.500 |" in report
    assert page.count("data:image/png;base64,") == 5
    assert "--trajectories" not in report
    lines = [json.loads(line) for line in Path("t.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {(line["arm"], line["reward"]) for line in lines if line["index"] == 0} == {
        ("llm", 0), ("rlm", 1), ("rlm+tips", 1)
    }  # fmt: skip
    assert all(line["messages"][-1]["role"] == "assistant" for line in lines)

    before = rows()
    code, _, err = evaluate(*arguments)
    assert (code, rows()) == (0, before)
    assert "[1/" not in err


def test_models_that_fail_and_the_report_alone(evaluate) -> None:
    code, _, _ = evaluate("--arms", "rlm", "--model", "scripted-bad", "--n", 1)
    assert code == 0
    (row,) = rows()
    assert (row["reward"], row["metrics"]) == (0, {"named": 1})
    Path("out/report.md").unlink()
    code, _out, err = evaluate("--arms", "rlm", "--model", "scripted-bad", "--n", 1, "--report-only")
    assert (code, err) == (0, "")
    assert Path("out/report.md").is_file()
    assert evaluate("--arms", "llm", "--model", "scripted-bad", "--n", 1, "--report-only")[0] == 2


def test_what_could_not_be_carried_out_is_tried_again_when_asked(evaluate) -> None:
    replies = {"m": [Fault.http(401), "<answer>Graz</answer>"]}
    with ScriptedModelServer(replies) as server:
        common = ("--arms", "llm", "--model", "m", "--base-url", server.base_url, "--n", 1)
        assert evaluate(*common)[0] == 1
        assert evaluate(*common)[0] == 1
        assert server.request_count == 1
        assert evaluate(*common, "--retry-failed")[0] == 0
    assert [bool(row["error"]) for row in rows()] == [True, False]
    assert "Errors" not in Path("out/report.md").read_text(encoding="utf-8")


def test_an_input_that_fits_no_prompt_is_a_result(evaluate) -> None:
    too_long = Fault.http(400, "This model's maximum context length is 8192 tokens", code="context_length_exceeded")
    with ScriptedModelServer({"m": too_long}) as server:
        assert evaluate("--arms", "llm", "--model", "m", "--base-url", server.base_url, "--n", 1)[0] == 0
    (row,) = rows()
    assert (row["stop_reason"], row["reward"], row["error"]) == ("too_long", 0, None)


def test_the_cost_cap_ends_it(evaluate, isolated_env: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prices = isolated_env / "config.toml"
    prices.write_text('[prices."m"]\ninput = 1000\noutput = 1000\n')
    monkeypatch.setattr("rlm.layers.user_file", lambda: prices)
    with ScriptedModelServer({"m": "<answer>Graz</answer>"}) as server:
        common = ("--arms", "llm", "--model", "m", "--base-url", server.base_url, "--workers", 1)
        code, _, err = evaluate(*common, "--n", 4, "--max-cost", 6, "--option", "clerks.lines=50")
    assert "the cost cap of 6.0 is reached" in err or code == 1
    assert 0 < sum(row["cost"] or 0 for row in rows()) <= 6


def test_a_cap_without_a_price_is_a_mistake(evaluate) -> None:
    code, _, err = evaluate("--arms", "llm", "--model", "m", "--base-url", "http://127.0.0.1:9", "--max-cost", 1)
    assert (code, err.count("\n")) == (2, 1)
    assert not Path("out/rows.jsonl").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--arms", "gpt", "--model", "m"),
        ("--option", "clerks.rows=1", "--model", "m"),
        ("--arms", "llm"),
        ("--report-only", "--model", "m"),
    ],
)
def test_mistakes_are_one_line(evaluate, arguments) -> None:
    code, out, err = evaluate(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_a_task_is_made_once_for_all_arms(evaluate, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = runner._Evaluation._make

    def counted(self: Any, job: Any) -> Any:
        made.append(job.number)
        return original(self, job)

    monkeypatch.setattr(runner._Evaluation, "_make", counted)
    assert evaluate("--arms", "llm,auto", "--model", "scripted", "--n", 2, "--option", "clerks.lines=20")[0] == 0
    assert sorted(made) == [0, 1]
    assert {row["turns"] for row in rows()} == {1}
