"""docs/events.md and the docstring of `rlm.events` name every event and every field that occurs."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlm import RLM, RunResult, Settings, events, metrics
from rlm.testing import Fault, ScriptedModelServer
from rlm.trace.reader import Trace
from tests.export import rich

DOC = (Path(__file__).resolve().parents[2] / "docs" / "events.md").read_text(encoding="utf-8")
COMMON = {"type", "seq", "ts", "run_id", "rollout", "blobs"}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return rich.play(tmp_path_factory.mktemp("rich"))


def sections() -> dict[str, str]:
    """The part of the page about each type."""
    parts = re.split(r"^### `([a-z.]+)`$", DOC.partition("## The result")[0], flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def fields(section: str) -> set[str]:
    """The names in the first column of its table."""
    return set(re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE))


def in_docstring() -> dict[str, str]:
    """The part of the docstring about each type."""
    assert events.__doc__ is not None
    parts = re.split(r"^    ([a-z]+\.[a-z]+|notice)  ?", events.__doc__, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A run whose endpoint failed, and that was taken up again."""
    done = rich.cell("answer['content'] = 'done'\nanswer['ready'] = True")
    with ScriptedModelServer([rich.cell("x = 1"), Fault.http(401), done]) as server, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the process sandbox")
        options: dict[str, Any] = {"model": "m", "sandbox": "process", "trace_dir": tmp_path_factory.mktemp("again")}
        rlm = RLM(settings=Settings(base_url=server.base_url, **options))
        rlm.run("What?", "x")
        return rlm.resume()


def occurring(*results: RunResult) -> Iterator[tuple[str, str]]:
    for event in (each for found in results if found.trace for each in Trace(found.trace.parent).events(whole=False)):
        for name in event.keys() - COMMON:
            yield event["type"], name


def test_the_runs_are_rich(result: RunResult, resumed: RunResult) -> None:
    types = {type_ for type_, _ in occurring(result, resumed)}
    rare = {"context.read", "cell.diverged", "protocol.error", "notice", "root.delta"}
    assert sections().keys() - types <= rare


def test_every_type_and_field_is_documented(result: RunResult, resumed: RunResult) -> None:
    found = set(occurring(result, resumed))
    page = {(type_, name) for type_, section in sections().items() for name in fields(section)}
    assert found - page == set()
    told = in_docstring()
    assert {(type_, name) for type_, name in found if not re.search(rf"\b{name}\b", told.get(type_, ""))} == set()


def test_page_and_docstring_know_the_same_types() -> None:
    assert sections().keys() == in_docstring().keys() | events.TRANSIENT


def test_common_fields_are_documented() -> None:
    assert COMMON | {"past"} == fields(DOC.partition("## What stays")[0])


def test_each_type_has_an_example_that_holds_its_fields() -> None:
    for type_, section in sections().items():
        (line,) = re.findall(r"^```json\n(.*)\n```$", section, flags=re.MULTILINE)
        example = json.loads(line)
        assert example["type"] == type_
        assert example.keys() - COMMON <= fields(section), type_


def test_result_and_metrics_are_documented(result: RunResult) -> None:
    told = DOC.partition("## The result")[2]
    assert fields(told.partition("## Metrics")[0]) == result.to_dict().keys()
    assert metrics.of([]).to_dict().keys() == result.metrics.keys()
    rows = "".join(re.findall(r"^\|[^|]*\|", told.partition("## Metrics")[2], flags=re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", rows)) == result.metrics.keys()


def test_the_version_is_the_one_that_is_told() -> None:
    assert f"`schema_version`, which is {events.SCHEMA_VERSION}" in DOC
