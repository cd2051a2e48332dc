"""The file of tasks, and the folder of results."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rlm.batches.results import Folder
from rlm.batches.tasks import BatchTask, read_tasks
from rlm.context import Value
from rlm.errors import ConfigError, InputError
from rlm.result import RunResult


def read(folder: Path, *lines: object) -> list[BatchTask]:
    path = folder / "tasks.jsonl"
    path.write_text("".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in lines))
    return read_tasks(path)


def test_tasks_are_read_and_paths_are_relative_to_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a [b]"
    folder.mkdir()
    (folder / "x[1].txt").write_text("x")
    monkeypatch.chdir("/")
    names = ["x[1].txt", "*.md", "/abs/*.txt", "../up.txt", "https://example.org/a"]
    first, second, third = read(
        folder,
        {"id": "A-1._", "question": "q", "inputs": names},
        "   ",
        {"id": "b", "question": "q", "context": "a text"},
        {"id": "c", "question": "q"},
    )
    found = [str(each) for each in first.inputs]
    assert found == [
        f"{folder}/x[1].txt", f"{tmp_path}/a [[]b]/*.md", "/abs/*.txt", f"{folder}/../up.txt", "https://example.org/a"
    ]  # fmt: skip
    assert second.given == (Value("a text"),)
    assert (third.given, third.inputs) == ((), ())


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "not JSON"),
        ([1], "not a JSON object"),
        ({"id": "b"}, "no question"),
        ({"question": "q"}, "no id"),
        ({"id": "b", "question": "q", "input": []}, "unknown key 'input'"),
        ({"id": "b", "question": " "}, "question"),
        ({"id": "b", "question": 1}, "question"),
        ({"id": "a", "question": "q"}, "is that of line 1"),
        ({"id": "b", "question": "q", "inputs": "x"}, "list of paths"),
        ({"id": "b", "question": "q", "inputs": ["-"]}, "'-'"),
        ({"id": "b", "question": "q", "inputs": [""]}, "empty"),
        ({"id": "b", "question": "q", "context": {}}, "not a text"),
        ({"id": "b", "question": "q", "context": "x", "inputs": ["y"]}, "either"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, line: object, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        read(tmp_path, {"id": "a", "question": "q"}, "", line)
    assert "line 3: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("id_", ["", ".a", "a/b", "..", "a b", "ä", "a" * 129, "a\n", None, 1])
def test_what_is_no_id(tmp_path: Path, id_: object) -> None:
    with pytest.raises(InputError, match="line 1: not an id"):
        read(tmp_path, {"id": id_, "question": "q"})


def test_a_file_without_tasks(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no tasks"):
        read(tmp_path, "")
    with pytest.raises(InputError, match="cannot read"):
        read_tasks(tmp_path / "missing")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_tasks(tmp_path / "bytes")


def a_result(answer: str) -> RunResult:
    broken = RunResult.without_run(InputError("none"), run_id="r").to_dict()
    return RunResult.from_dict({**broken, "answer": answer})


def test_results_are_whole_and_private(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "out", secrets=["sk-12345678"])
    folder.keep("a", a_result("the key sk-12345678, \udc80 and ä"))
    place = tmp_path / "out" / "a.json"
    assert (place.stat().st_mode & 0o777, (tmp_path / "out").stat().st_mode & 0o777) == (0o600, 0o700)
    assert json.loads(place.read_bytes())["answer"] == "the key [redacted], \udc80 and ä"
    assert folder.result("a") == RunResult.from_dict(json.loads(place.read_bytes()))
    assert [name for name in os.listdir(tmp_path / "out") if name.endswith(".part")] == []
    assert folder.result("b") is None
    place.write_text("{}")
    with pytest.raises(InputError, match="not the result of a run"):
        folder.result("a")
    folder.close()


def test_the_journal_outlives_a_kill_in_the_middle_of_a_line(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.began("a", "digest", "run-1")
    folder.ended("run-1", "error", 0.5)
    folder.began("a", "digest", "run-2")
    folder.close()
    with (tmp_path / "batch.jsonl").open("ab") as file:
        file.write(b'{"run_id": "run-2", "stop_rea')
    again = Folder(tmp_path)
    again.began("b", "digest", "run-3")
    again.close()
    last = Folder(tmp_path)
    found = {run_id: (each.id, each.stop_reason, each.cost) for run_id, each in last.attempts.items()}
    assert found == {"run-1": ("a", "error", 0.5), "run-2": ("a", None, None), "run-3": ("b", None, None)}
    assert last.latest()["a"].run_id == "run-2"
    last.close()


def test_a_folder_is_one_batches_at_a_time(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    with pytest.raises(ConfigError, match="another process"):
        Folder(tmp_path)
    folder.close()
    Folder(tmp_path).close()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write"):
        Folder(tmp_path / "file")
