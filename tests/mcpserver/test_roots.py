"""Which paths may be asked about."""

from __future__ import annotations

import os

import pytest

from rlm.context import Named, prepare
from rlm.errors import ConfigError, InputError
from rlm.mcpserver.roots import Roots


@pytest.fixture
def tree(tmp_path):
    for name in ("docs/a.txt", "docs/deep/b.txt", "more/c.txt", "docs-other/d.txt", "secret.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "docs/inner").symlink_to("deep/b.txt")
    (tmp_path / "docs/out").symlink_to("../secret.txt")
    (tmp_path / "docs/outdir").symlink_to("../more")
    (tmp_path / "docs/loop").symlink_to("loop")
    (tmp_path / "link").symlink_to("docs")
    return tmp_path


def test_what_lies_beneath_a_root_is_found(tree):
    roots = Roots([tree / "link", tree / "more"])
    assert roots.folders == (tree / "docs", tree / "more")
    for given, found in (
        ("a.txt", "docs/a.txt"),
        ("deep", "docs/deep"),
        (".", "docs"),
        ("deep/../a.txt", "docs/a.txt"),
        ("inner", "docs/deep/b.txt"),
        ("c.txt", "more/c.txt"),
        ("outdir/c.txt", "more/c.txt"),
        (str(tree / "docs"), "docs"),
        (str(tree / "link/a.txt"), "docs/a.txt"),
    ):
        assert roots.resolve(given) == tree / found


@pytest.mark.parametrize(
    "given",
    ["out", "outdir/c.txt", "../secret.txt", "../docs-other/d.txt", "..", "/", "/etc/passwd", "nope", "loop", "a\0", "",
     "~", "*.txt", "http://127.0.0.1/", "file:///etc/passwd", "-", "/dev/stdin", "/proc/self/environ",
     "x" * 5000],
)  # fmt: skip
def test_nothing_else_is(tree, given):
    with pytest.raises(InputError) as caught:
        Roots([tree / "docs"]).resolve(given or "../")
    assert "beneath the roots" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_client_can_only_narrow(tree):
    roots = Roots([tree / "docs"])
    deep = roots.within([(tree / "docs/deep").as_uri()])
    assert deep.resolve("deep/b.txt") == tree / "docs/deep/b.txt"
    for given in ("a.txt", ".", "../secret.txt"):
        with pytest.raises(InputError):
            deep.resolve(given)
    assert roots.within([tree.as_uri()]).resolve("a.txt")
    with pytest.raises(InputError):
        roots.within([tree.as_uri()]).resolve("../secret.txt")
    for nothing in ([], ["https://host/docs"], ["file://elsewhere/"], ["docs"], ["file:///%00"], ["file:///%ff"]):
        with pytest.raises(InputError):
            roots.within(nothing).resolve("a.txt")


def test_a_root_is_a_folder(tree):
    with pytest.raises(ConfigError):
        Roots([tree / "docs/a.txt"])


def test_a_link_that_has_come_to_stand_there_since_is_refused(tree, tmp_path):
    checked = Roots([tree / "docs"]).resolve("deep/b.txt")
    os.rename(tree / "docs/deep", tree / "docs/was-deep")
    (tree / "docs/deep").symlink_to("../more")
    (tree / "more/b.txt").write_text("what nobody may see")
    with pytest.raises(InputError, match=r"deep/b\.txt is not where it was"):
        prepare([Named(checked, "deep/b.txt")], spool_dir=tmp_path / "spool")
