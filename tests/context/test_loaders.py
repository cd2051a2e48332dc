"""Loaders of the user's own for files of other kinds."""

from __future__ import annotations

from pathlib import Path

import pytest

import rlm
from rlm.context import Value, loaders
from rlm.errors import ConfigError, InputError


@pytest.fixture(autouse=True)
def nothing_stays_registered(monkeypatch):
    monkeypatch.setattr(loaders, "_registered", {})


def fields(path: Path) -> dict[str, str]:
    return dict(line.split(": ") for line in path.read_text(encoding="utf-8").splitlines())


def fail(path: Path) -> str:
    raise ValueError("no such\nthing")


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ("a text", "a text"),
        ("", ""),
        ({"a": [1]}, {"a": [1]}),
        ([1, 2], [1, 2]),
        (Value("named", name="other.txt"), "named"),
        ("caf\u00e9\0", "caf\u00e9\ufffd"),
    ],
)
def test_what_a_loader_returns_is_context(desk, made, expected):
    desk.write("a.las", "raw")
    built = desk.build("a.las", loaders={".las": lambda path: made})
    assert built.context == expected
    name = "other.txt" if isinstance(made, Value) else "a.las"
    assert built.prepared.manifest[0]["name"] == name
    assert built.originals[name].read_text(encoding="utf-8") == "raw"
    assert f"It is made by a loader; `originals[{name!r}]`" in built.prepared.preview


def test_bytes_are_a_file(desk):
    desk.write("a.las", "raw")
    built = desk.build("a.las", loaders={".las": lambda path: b"\0\1"})
    assert built.context.read_bytes() == b"\0\1"
    assert built.originals["a.las"].read_text(encoding="utf-8") == "raw"


def test_registered_for_all_runs_and_the_setting_goes_before(desk):
    rlm.register_loader([".MBOX", ".tar.las"], fields)
    desk.write("a.mbox", "from: me")
    desk.write("b.tar.las", "to: you")
    built = desk.build("a.mbox", "b.tar.las")
    assert built.context == {"a.mbox": {"from": "me"}, "b.tar.las": {"to": "you"}}
    assert desk.build("a.mbox", loaders={".mbox": lambda path: "mine"}).context == "mine"


def test_in_a_directory_each_file_is_read_by_it_and_a_failure_is_a_notice(desk):
    desk.write("d/a.las", "k: v")
    desk.write("d/b.las", "broken")
    desk.write("d/c.txt", "plain")
    built = desk.build("d", loaders={".las": fields})
    assert dict(built.context) == {"a.las": '{"k":"v"}', "b.las": "broken", "c.txt": "plain"}
    assert built.context.path("a.las").read_text(encoding="utf-8") == "k: v"
    assert built.prepared.notices[0].startswith("the loader of d/b.las failed: ValueError: ")


@pytest.mark.parametrize("loader", [fail, lambda path: None, lambda path: object()])
def test_a_loader_that_fails_is_one_line(desk, loader):
    desk.write("a.las", "raw")
    with pytest.raises(InputError, match=r"the loader of a\.las") as caught:
        desk.build("a.las", loaders={".las": loader})
    assert "\n" not in str(caught.value)


def test_loaders_by_name_come_from_files_and_modules(desk):
    desk.write("mine.py", 'def load(path):\n    return path.read_text(encoding="utf-8").upper()\n')
    desk.write("a.las", "raw")
    assert desk.build("a.las", loaders={".las": "mine.py:load"}).context == "RAW"
    with pytest.raises(ConfigError, match="nothing_there"):
        desk.build("a.las", loaders={".las": "nothing_there:load"})


@pytest.mark.parametrize(("suffixes", "loader"), [("las", fields), (".", fields), ("./x", fields), (".las", "text")])
def test_what_is_no_suffix_or_no_function_is_refused(suffixes, loader):
    with pytest.raises(ConfigError):
        rlm.register_loader(suffixes, loader)
    assert not loaders._registered


def test_a_resumed_run_does_not_ask_the_loader_again(desk):
    from rlm.context import keep

    desk.write("a.las", "raw")
    prepared = desk.build("a.las", loaders={".las": lambda path: "once"}).prepared
    keep.save(prepared, desk.folder.parent / "run1/input.json")
    kept = keep.load(desk.folder.parent / "run1/input.json")
    assert Path(kept.items[0].parts[0].text).read_text(encoding="utf-8") == "once"
