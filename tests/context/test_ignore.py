"""`.gitignore` as git reads it, and what the caller wants of a directory."""

from __future__ import annotations

import random
import shutil
import subprocess
import time

import pytest

from rlm.context.ignore import Patterns
from rlm.context.scan import scan
from rlm.errors import InputError
from tests.needs import lacking

NAMES = ["a", "b", "ab", "a.py", "b.py", "foo", "foo.txt", "bar", "build", "x y", "[x]", "a-b", "A"]
PATTERNS = [
    "*",
    "*.py",
    "!*.py",
    "foo",
    "/foo",
    "foo/",
    "!foo/",
    "a/b",
    "a/*",
    "/a/**",
    "**/foo",
    "a/**/b",
    "!*/",
    "/*",
]
PATTERNS += [
    "!/a",
    "b*",
    "?",
    "[ab]",
    "[!a]",
    "[a-c]*",
    "*o*o*",
    "\\!x",
    "a/",
    "**/b/",
    "/**/a.py",
    "foo/**",
    "!foo/bar",
]
PATTERNS += [
    "**",
    "*.txt ",
    "x\\ y",
    "x y",
    "[[]x]",
    "\\[x\\]",
    "[[:alpha:]]",
    "a[-]b",
    "*b*",
    "[^b]",
    "b/*/a",
    "**/a/**",
]
PATTERNS += ["a**b", "[A-Z]", "[a", "foo\\", "# a", "", "  ", "\\#a", "[]a]", "a\\*", "**/**/b"]


@pytest.mark.parametrize("seed", range(4))
def test_the_same_files_as_git_lists(tmp_path, seed):
    if shutil.which("git") is None:
        lacking("git is not installed")
    rnd = random.Random(seed)
    for number in range(6):
        folder = tmp_path / str(number)
        folder.mkdir()
        subprocess.run(["git", "init", "-q", folder], check=True)
        for _ in range(30):
            place = folder.joinpath(*(rnd.choice(NAMES) for _ in range(rnd.randint(1, 4))))
            if not any(each.is_file() for each in place.parents) and not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
        folders = [folder, *(path for path in sorted(folder.rglob("*")) if path.is_dir() and ".git" not in path.parts)]
        for inner in rnd.sample(folders, min(2, len(folders))):
            (inner / ".gitignore").write_text("\n".join(rnd.choices(PATTERNS, k=rnd.randint(1, 5))))
        command = ["git", "-C", folder, "ls-files", "--others", "--exclude-standard", "-z"]
        listed = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
        assert {found.name for found in scan(str(folder), foreign_uid=False).files} == set(listed) - {""}


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 40 + "b", "a" * 255),
        ("**/a/" * 100 + "b/c", "a/" * 2000 + "d"),
        ("**/*" * 200 + "b", "a/" * 2000),
        ("x/**/*a*a*a*b/**/c*d", "x/" + "a" * 250 + "/b"),
    ],
)
def test_a_hostile_pattern_takes_no_time(pattern, path):
    began = time.perf_counter()
    assert not Patterns([pattern]).match(path, folder=False)
    assert time.perf_counter() - began < 0.5


def files(desk, *names):
    for name in names:
        desk.write(f"d/{name}", name)


def test_nested_files_negations_and_a_notice(desk):
    files(desk, "a.log", "keep.log", "src/b.log", "src/c.py", "out/x", "out/y/z")
    desk.write("d/.gitignore", "*.log\n!keep.log\nout/\n")
    desk.write("d/src/.gitignore", "!b.log\n")
    built = desk.build("d")
    assert list(built.context) == [".gitignore", "keep.log", "src/.gitignore", "src/b.log", "src/c.py"]
    assert built.prepared.notices == ("d: 2 left out by .gitignore (--no-ignore offers them): a.log, out/",)
    assert "Not offered, left out by .gitignore: 'a.log', 'out/'" in built.prepared.preview
    assert len(desk.build("d", ignore=False).context) == 8
    # What is named is what one gets, whatever the folders above say.
    assert list(desk.build("d/out").context) == ["x", "y/z"]


def test_a_gitignore_that_is_a_link_or_a_pipe_is_not_read(desk, tmp_path):
    import os

    (tmp_path / "patterns").write_text("*\n")
    files(desk, "a", "e/b")
    (desk.folder / "d/.gitignore").symlink_to(tmp_path / "patterns")
    os.mkfifo(desk.folder / "d/e/.gitignore")
    assert list(desk.build("d").context) == ["a", "e/b"]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"include": ("*.py",)}, ["a.py", "src/b.py", "src/deep/c.py"]),
        ({"include": ("/src/",)}, ["src/b.py", "src/deep/c.py", "src/deep/d.md"]),
        ({"include": ("*.py",), "exclude": ("deep",)}, ["a.py", "src/b.py"]),
        ({"exclude": ("src/**/*.md", "a.py")}, ["e.txt", "src/b.py", "src/deep/c.py"]),
        ({"include": ("*.py", "!b.py")}, ["a.py", "src/deep/c.py"]),
    ],
)
def test_include_and_exclude(desk, choice, expected):
    files(desk, "a.py", "src/b.py", "src/deep/c.py", "src/deep/d.md", "e.txt")
    assert list(desk.build("d", **choice).context) == expected


def test_nothing_left_is_an_error(desk):
    files(desk, "a.py")
    with pytest.raises(InputError, match="--include and --exclude leave no file of it"):
        desk.build("d", include=("*.txt",))


@pytest.mark.slow
def test_a_large_tree_is_listed_quickly(tmp_path):
    for number in range(200):
        folder = tmp_path / "d" / f"m{number}"
        folder.mkdir(parents=True)
        for inner in range(100):
            (folder / f"file{inner}.py").touch()
    (tmp_path / "d/.gitignore").write_text("*.pyc\n*.log\nbuild/\n/dist\ndocs/_build/\n*.egg-info/\n.env\n" * 3)
    began = time.perf_counter()
    assert len(scan(str(tmp_path / "d"), foreign_uid=True).files) == 20_001
    assert time.perf_counter() - began < 2
