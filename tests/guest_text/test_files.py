"""The mapping that a directory becomes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from guest import inputs, textre
from guest.files import Entry, Files
from guest.text import Text


@pytest.fixture
def root(tmp_path):
    contents = {
        "a.py": b"import re\nx = 1\r\n",
        "d/b.py": "y\n# TODO é".encode() + b"\xff",
        "d/e/c.txt": b"z" * 50,
        "bin": b"\0x",
    }
    for name, content in contents.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path


def files(root: Path, **options) -> Files:
    found = [path for path in root.rglob("*") if path.is_file()]
    entries = {path.relative_to(root).as_posix(): Entry(str(path), path.stat().st_size) for path in found}
    return Files(entries, str_max=40, **options)


def test_it_is_a_sorted_mapping(root):
    context = files(root)
    assert list(context) == context.paths() == ["a.py", "bin", "d/b.py", "d/e/c.txt"]
    assert len(context) == 4
    assert "a.py" in context
    assert "nope" not in context
    assert context.get("nope") is None
    assert context["d/b.py"] == "y\n# TODO é\ufffd"
    assert context["bin"] == context.path("bin") == root / "bin"
    assert isinstance(context["d/e/c.txt"], Text)
    assert context.sizes["bin"] == 2
    assert context.size == sum(context.sizes.values())
    assert len(repr(context)) < 100
    assert context == context
    assert context != files(root)
    with pytest.raises(KeyError, match=r"did you mean d/b\.py"):
        context["b.py"]


def test_files_are_read_when_asked_for_and_kept_while_there_is_room(root):
    context = files(root, cache_bytes=20)
    (root / "bin").unlink()
    first = context["a.py"]
    assert context["a.py"] is first
    (root / "a.py").write_text("changed")
    assert context["a.py"] is first
    assert context["d/b.py"]
    assert context["a.py"] == "changed"


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*", ["a.py", "bin"]),
        ("*.py", ["a.py"]),
        ("**/*.py", ["a.py", "d/b.py"]),
        ("d/**", ["d/b.py", "d/e/c.txt"]),
        ("**/e/*", ["d/e/c.txt"]),
        ("?.p[xy]", ["a.py"]),
        ("[!a]*", ["bin"]),
        ("d/[", []),
        (".py", []),
    ],
)
def test_glob(root, pattern, found):
    assert files(root).glob(pattern) == found


def test_grep(root):
    context = files(root)
    assert context.grep("todo", flags=re.I) == [("d/b.py", 2, "# TODO é\ufffd")]
    assert context.grep(textre.module.compile("TODO"))[0].number == 2
    assert [hit.path for hit in context.grep("z+")] == ["d/e/c.txt"]
    assert context.grep("TODO", "*.txt") == []
    assert [hit.path for hit in context.grep("[xy]", "*.py")] == ["a.py", "d/b.py"]
    assert len(context.grep("", limit=3)) == 3


def test_a_configuration_of_another_version_is_refused():
    with pytest.raises(ValueError, match="version 2"):
        inputs.build({"v": 2, "inputs": []})
    assert inputs.build(None) is None
