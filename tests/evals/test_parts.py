"""Arms, options, rows, the cost cap and the tables, each by itself."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from examples.eval_environment import ENVIRONMENT
from rlm.config import Settings
from rlm.errors import ConfigError, InputError
from rlm.evals.arms import Arm, context_chars, inputs_of, parse_arm, parse_arms, settings_of
from rlm.evals.document import Section, Table, to_html, to_markdown
from rlm.evals.registry import chosen_options, environment
from rlm.evals.report import write_report
from rlm.evals.rows import Row, RowFile, digest
from rlm.evals.summary import by_size, cells, differences
from rlm.evals.task import Task

ROOT = Path(__file__).resolve().parents[2]


def row(**values: Any) -> Row:
    names = {"env": "e", "options": "o", "arm": "rlm", "model": "m", "sub_model": "m", "task_id": "t"}
    return Row(**{**names, "seed": 0, "index": 0, "reward": 1.0, **values})


def a_task(context: Any) -> Task:
    return Task(id="t", question="?", context=context, gold=1, tools=(len,))


# --- arms and options


def test_arms_by_name() -> None:
    assert parse_arm("rlm@2+tips") == Arm("rlm@2+tips", "rlm", 2, tips=True)
    assert [arm.name for arm in parse_arms("llm, rlm,llm")] == ["llm", "rlm"]


@pytest.mark.parametrize("name", ["gpt", "llm+tips", "llm@1", "rlm@9", "rlm+tips@1", ""])
def test_what_is_no_arm(name: str) -> None:
    with pytest.raises(ConfigError, match="arm"):
        parse_arms(name)


def test_an_arm_makes_settings() -> None:
    settings = Settings(model="m")
    plain = settings_of(parse_arm("llm"), settings, ENVIRONMENT, a_task(None))
    assert (plain.route, plain.tips, plain.tools) == ("llm", None, (len,))
    deep = settings_of(parse_arm("rlm@3+tips"), settings, ENVIRONMENT, a_task(None))
    assert (deep.route, deep.depth, deep.tips) == ("rlm", 3, ENVIRONMENT.tips)


def test_inputs_by_arm(tmp_path: Path) -> None:
    rlm, llm = parse_arm("rlm"), parse_arm("llm")
    assert inputs_of(rlm, a_task(None)) == []
    assert inputs_of(llm, a_task(tmp_path)) == [tmp_path]
    texts = a_task({"a": "xx", "b": "y"})
    assert [value.data for value in inputs_of(rlm, texts)] == [{"a": "xx", "b": "y"}]
    assert [(value.name, value.data) for value in inputs_of(llm, texts)] == [("a", "xx"), ("b", "y")]
    (tmp_path / "f").write_text("123")
    sizes = [context_chars(a_task(context)) for context in (None, "xyz", {"a": "xx", "b": "y"}, tmp_path)]
    assert sizes == [0, 3, 3, 3]


def test_environments_and_options_are_checked(tmp_path: Path) -> None:
    found = environment(f"{ROOT}/examples/eval_environment.py:ENVIRONMENT")
    assert found.name == "clerks"
    assert chosen_options([found], ["clerks.lines=7"])["clerks"].model_dump() == {"lines": 7}
    wrong = ["clerks.rows=7", "clerks.lines=no", "needle.lines=7", "clerks=7", "clerks.lines"]
    for pair in wrong:
        with pytest.raises(ConfigError):
            chosen_options([found], [pair])
    for name in ("nedle", f"{ROOT}/examples/eval_environment.py:TIPS"):
        with pytest.raises(ConfigError, match="no environment"):
            environment(name)


# --- rows


def test_rows_are_read_back_and_the_last_of_a_key_counts(tmp_path: Path) -> None:
    file = RowFile(tmp_path)
    first, other = row(error="broken", reward=0.0), row(index=1, info={"size": 3}, answer="a\nb\u2028")
    for each in (first, other, replace(first, error=None, reward=0.5)):
        file.append(each)
    assert file.read() == [replace(first, error=None, reward=0.5), other]
    assert file.path.stat().st_mode & 0o077 == 0


def test_a_line_that_was_cut_off_costs_that_row_only(tmp_path: Path) -> None:
    file = RowFile(tmp_path)
    file.append(row())
    whole = file.path.stat().st_size
    file.append(row(index=1))
    os.truncate(file.path, whole + 20)
    assert file.read() == [row()]
    file.append(row(index=2))
    assert file.read() == [row(), row(index=2)]


def test_what_are_no_rows_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(InputError, match="not a row"):
        RowFile(tmp_path).read()


def test_options_tell_rows_apart() -> None:
    assert digest({"lines": 1}) != digest({"lines": 2})
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


# --- tables


def test_differences_are_between_the_same_tasks() -> None:
    rows = [row(arm="llm", index=n, reward=0.0) for n in range(4)]
    rows += [row(index=n, reward=1.0) for n in (1, 2)]
    rows += [row(index=3, reward=0.0, error="down")]
    (found,) = differences(cells(rows))
    assert (found.first, found.second, found.reward) == ("llm", "rlm", (1, 1, 1, 2))
    assert (found.better, found.worse) == (2, 0)


def test_errors_are_in_no_mean() -> None:
    (cell,) = cells([row(reward=1.0, root_input=1500, root_output=500), row(index=1, reward=0.0, error="down")])
    assert cell.errors == 1
    assert cell.reward is not None
    assert (cell.reward.mean, cell.efficiency) == (1.0, 0.5)


def test_models_are_named_where_there_are_several() -> None:
    assert [cell.arm for cell in cells([row(), row(model="n", sub_model="k")])] == ["rlm · m", "rlm · n / k"]


def test_sizes_are_in_classes() -> None:
    (cell,) = cells([row(index=n, context_chars=size) for n, size in enumerate([0, 4**5, 4**6 - 1, 4**6])])
    assert [(point.low, point.high, point.reward.n) for point in by_size(cell)] == [(1024, 4096, 2), (4096, 16384, 1)]


HOSTILE = "<script>alert(1)</script> | `x` ![i](http://127.0.0.1/) \n# head \x1b[31m"


def test_texts_of_models_stay_texts(tmp_path: Path) -> None:
    sections = [Section("S", [HOSTILE, Table([HOSTILE], [[HOSTILE]])])]
    page, text = to_html("T", sections, folder=tmp_path), to_markdown("T", sections)
    assert "<script" not in page
    assert "\x1b" not in page + text
    assert "\n# head" not in text
    assert "![i]" not in text.replace("\\!\\[", "")
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(table) == 3
    assert all(line.replace("\\|", "").count("|") == 2 for line in table)


def test_a_report_of_errors_only_has_no_figures(tmp_path: Path) -> None:
    write_report([row(error=HOSTILE, reward=0.0)], tmp_path)
    assert "Errors" in (tmp_path / "report.md").read_text()
    assert not (tmp_path / "plots").exists()
