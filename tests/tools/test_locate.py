"""`module:function` and `file.py:function`."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest

from rlm.errors import ConfigError
from rlm.tools import Tool, load


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    assert sys.path == before
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")


def test_a_module_of_the_working_directory(folder):
    write(folder / "my_tools.py", "import my_help\ndef search(q): return my_help.ask(q)")
    write(folder / "my_help.py", "def ask(q): return q * 2")
    assert load("my_tools:search")("a") == "aa"


def test_a_module_that_is_installed_and_attributes_with_dots():
    assert load("os.path:join")("a", "b") == "a/b"
    assert load("collections:Counter.fromkeys")


def test_a_file_with_its_neighbours_is_run_once(folder):
    write(folder / "sub" / "tools.py", "import neighbour\nRUNS = neighbour.count()\ndef runs(): return RUNS")
    write(folder / "sub" / "neighbour.py", "N = []\ndef count():\n    N.append(1)\n    return len(N)")
    runs = load("sub/tools.py:runs")
    assert runs() == 1
    assert load(f"{folder}/sub/../sub/tools.py:runs") is runs
    assert sys.modules[runs.__module__].__dict__["runs"] is runs


def test_the_working_directory_shadows_nothing(folder):
    write(folder / "calendar.py", "raise RuntimeError('hostile')")
    write(folder / "textwrap.py", "raise RuntimeError('hostile')")
    sys.modules.pop("calendar", None)
    assert load("calendar:isleap")(2024) is True


def test_a_tool_may_be_a_ready_made_one(folder):
    write(folder / "ready.py", "from rlm.tools import Tool\ndef f(): ...\ntool = Tool(f, route='both')")
    found = load("ready:tool")
    assert isinstance(found, Tool)
    assert found.route == "both"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("search", "not of the form"),
        ("mod:", "not of the form"),
        (":f", "not of the form"),
        ("mod:f()", "not of the form"),
        ("my mod:f", "neither a module's name nor a Python file"),
        ("..mod:f", "neither a module's name nor a Python file"),
        ("nowhere_at_all:f", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("nowhere.py:f", "there is no file"),
        ("broken:f", "ZeroDivisionError: division by zero"),
        ("broken.py:f", "ZeroDivisionError: division by zero"),
        ("leaves:f", "SystemExit: bye"),
        ("wrong:f", "SyntaxError"),
        ("empty:f", "AttributeError: module 'empty' has no attribute 'f'"),
        ("value:x", "of type int, and cannot be called"),
        ("value:x.y.z", "AttributeError"),
    ],
)
def test_what_goes_wrong_is_told_in_one_line(folder, spec, says):
    write(folder / "broken.py", "1 / 0")
    write(folder / "leaves.py", "import sys; sys.exit('bye')")
    write(folder / "wrong.py", "def f(:")
    write(folder / "empty.py", "")
    write(folder / "value.py", "x = 1")
    with pytest.raises(ConfigError, match=says) as caught:
        load(spec)
    assert "\n" not in str(caught.value)


def test_a_file_that_failed_is_tried_again(folder):
    write(folder / "late.py", "raise ValueError")
    with pytest.raises(ConfigError):
        load("late.py:f")
    write(folder / "late.py", "def f(): return 'now it works'")
    assert load("late.py:f")() == "now it works"
