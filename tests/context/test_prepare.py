"""Inputs from the caller's words to what the guest's `context` is: both sides together, without a sandbox."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import pytest
from guest import inputs as guest_inputs
from guest.files import Files
from guest.text import Text

from rlm.context import PreparedInput, Value, prepare
from rlm.errors import InputError


@pytest.fixture
def spool(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder that any user may enter."""
    folder = tmp_path / "here"
    folder.mkdir(mode=0o755)
    monkeypatch.chdir(folder)
    return folder


def context_of(prepared: PreparedInput):
    # Through JSON, as it travels.
    return guest_inputs.build(json.loads(json.dumps(prepared.local_config())))


def build(inputs, spool, **options):
    prepared = prepare(inputs, spool_dir=spool, **options)
    return prepared, context_of(prepared)


class Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


# --- what becomes what ---------------------------------------------------------------------------


def test_no_input_is_none_and_an_empty_text_is_a_text(spool):
    prepared, context = build([], spool)
    assert context is None
    assert "`context` is None" in prepared.preview
    assert not spool.exists()
    prepared, context = build([Value("")], spool)
    assert context == ""
    assert "`context` is a str" in prepared.preview


def test_a_text_file_is_a_str_mounted_where_it_lies(here, spool):
    (here / "big.txt").write_bytes(b"caf\xc3\xa9\r\n\xff end")
    prepared, context = build(["big.txt"], spool)
    assert context == "café\r\n\ufffd end"
    assert type(context) is str
    assert [(m.source, m.target) for m in prepared.mounts] == [(str(here / "big.txt"), "/input/0/big.txt")]
    assert prepared.config["roots"] == ["/input/0/big.txt"]
    assert not spool.exists()
    assert prepared.bytes == 12
    assert prepared.memory == 2 << 30


@pytest.mark.parametrize("limit", [600, 599])
def test_a_str_must_fit_the_memory_six_times(here, spool, limit):
    (here / "a").write_text("x" * 100)
    prepared, context = build(["a"], spool, memory=limit)
    assert isinstance(context, str) == (limit == 600)
    assert str(context) == "x" * 100
    assert ("`context` is a str" in prepared.preview) == (limit == 600)
    assert ("`Text`" in prepared.preview) == (limit == 599)
    loaded = guest_inputs.load(prepared.local_config())
    assert loaded.has_text == (limit == 599)


def test_several_texts_share_the_memory(here, spool):
    for name in "abc":
        (here / name).write_text(name * 100)
    _, context = build(["a", "b", "c"], spool, memory=1300)
    assert [type(value) for value in context.values()] == [str, str, Text]
    assert {name: str(value) for name, value in context.items()} == {name: name * 100 for name in "abc"}


@pytest.mark.parametrize("content", [b"a\0b", b"PAR1\0\0", b"SQLite format 3\0"])
def test_a_binary_file_is_a_path(here, spool, content):
    (here / "x.bin").write_bytes(content)
    prepared, context = build(["x.bin"], spool)
    assert isinstance(context, Path)
    assert context.read_bytes() == content
    assert "pathlib.Path" in prepared.preview


def test_json_is_parsed_and_its_shape_shown(here, spool):
    data = {"users": [{"id": 1, "name": "x"}, {"id": 2}], "n": None, "empty": []}
    (here / "d.json").write_text("\ufeff" + json.dumps(data), encoding="utf-8")
    prepared, context = build(["d.json"], spool)
    assert context == data
    assert '{"users": [{"id": int, "name": str}, … 2 items], "n": None, "empty": []}' in prepared.preview


@pytest.mark.parametrize(
    ("head", "shape"),
    [
        ('{"a": 1, "b": {"c": "d"}, "long": "', '{"a": int, "b": {"c": str}, "long": …, …}'),
        ('[{"a": 1}, "', '[{"a": int}'),
    ],
)
def test_the_shape_of_json_too_large_to_read_here(here, spool, head, shape):
    (here / "d.json").write_text(head + "x" * 300_000 + '"' + ("}" if head[0] == "{" else "]"))
    prepared, context = build(["d.json"], spool)
    assert isinstance(context, dict | list)
    assert shape in prepared.preview


@pytest.mark.parametrize("content", ["{broken", "[" * 100_000, "", "9" * 5000])
def test_json_that_is_none_is_text(here, spool, content):
    (here / "d.json").write_text(content)
    prepared = prepare(["d.json"], spool_dir=spool)
    loaded = guest_inputs.load(prepared.local_config())
    assert loaded.context == content
    assert bool(loaded.notices) == bool(content)


def test_tables_are_text_and_show_their_columns(here, spool):
    (here / "t.csv").write_text('id,"full name"\n1,"a"\n')
    (here / "t.jsonl").write_text('{"id": 1, "tags": ["x"]}\n{"id": 2}\n')
    prepared, context = build(["t.csv", "t.jsonl"], spool)
    assert context["t.csv"].startswith('id,"full name"')
    assert "2 columns: ['id', 'full name']" in prepared.preview
    assert '{"id": int, "tags": [str]}' in prepared.preview


@pytest.mark.parametrize("data", ["text é \ud800", {"a": [1, None]}, [1, "x"], 5, b"\0\1", "x" * 3_000_000])
def test_values_of_the_api(spool, data):
    prepared, context = build([Value(data)], spool)
    if isinstance(data, bytes):
        assert context.read_bytes() == data
    else:
        assert context == (data.replace("\ud800", "?") if isinstance(data, str) else data)
    assert (spool / "input").stat().st_mode & 0o777 == 0o700
    assert prepared.items[0].source == "context"


def test_a_value_that_json_cannot_hold(spool):
    with pytest.raises(InputError, match="context: a dict that JSON cannot hold"):
        prepare([Value({"a": {1, 2}})], spool_dir=spool)


# --- directories ---------------------------------------------------------------------------------


def tree(root: Path, **files: str | bytes) -> None:
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def test_a_directory_is_a_lazy_mapping(here, spool):
    tree(here / "src", b="B", a__c="C", a__b="caf\u00e9")
    tree(here / "src", **{"x.bin": "\0", ".git__config": "secret"})
    (here / "src/a/__pycache__").mkdir()
    (here / "src/a/__pycache__/m.pyc").write_text("x")
    prepared, context = build(["src"], spool)
    assert isinstance(context, Files)
    assert list(context) == ["a/b", "a/c", "b", "x.bin"]
    assert context["a/b"] == "café"
    assert isinstance(context["x.bin"], Path)
    assert "'.git'" in prepared.preview
    assert "secret" not in prepared.preview
    assert prepared.mounts[0].source == str(here / "src")
    assert prepared.items[0].files == len(context)
    assert prepared.bytes == sum(context.sizes.values())


def test_links_within_are_followed_and_links_out_are_not(here, spool, tmp_path):
    (tmp_path / "secret").write_text("SECRET")
    (tmp_path / "secrets").mkdir()
    tree(here / "src", a="A", d__b="B")
    links = {
        "in": "a",
        "abs": str(here / "src/d/b"),
        "out": "../../secret",
        "dir": str(tmp_path / "secrets"),
        "gone": "x",
    }
    for name, target in links.items():
        (here / "src" / name).symlink_to(target)
    (here / "src/loop").symlink_to("loop")
    prepared, context = build(["src"], spool)
    assert dict(context) == {"a": "A", "abs": "B", "d/b": "B", "in": "A"}
    assert "SECRET" not in prepared.preview
    assert any("2 not offered, links that lead out of it: dir, out" in notice for notice in prepared.notices)


def test_a_file_swapped_for_a_link_is_not_read(here, spool, tmp_path, monkeypatch):
    (tmp_path / "secret").write_text("SECRET")
    (here / "a").write_text("A")
    real = os.path.realpath

    def swap(path, **options):
        found = real(path, **options)
        if Path(found).name == "a":
            (here / "a").unlink()
            (here / "a").symlink_to(tmp_path / "secret")
        return found

    monkeypatch.setattr(os.path, "realpath", swap)
    with pytest.raises(InputError, match="cannot read a"):
        prepare(["a"], spool_dir=spool)


def test_undecodable_and_odd_names(here, spool):
    os.mkdir(b"d\xff")
    for name in (b"d\xff/x\xfe.txt", b"d\xff/x\xff.txt", b"d\xff/new\nline", b"one\xff"):
        Path(os.fsdecode(name)).write_bytes(name)
    prepared, context = build([os.fsdecode(b"d\xff")], spool)
    assert list(context) == ["new\nline", "x\ufffd.txt", "x\ufffd.txt (2)"]
    assert context["new\nline"] == "d\u00ff/new\nline"  # what is not UTF-8 at all is read as western text
    assert r"'new\nline'" in prepared.preview
    prepared.preview.encode()
    json.dumps([mount.source for mount in prepared.mounts], ensure_ascii=False).encode()
    prepared, context = build([os.fsdecode(b"one\xff")], spool)
    assert context == "one\u00ff"
    assert all(mount.source.isascii() for mount in prepared.mounts)


def test_a_directory_with_a_door_to_the_host_is_not_mounted(here, spool):
    tree(here / "src", a="A", sub__b="B", **{".git__x": "x"})
    with socket.socket(socket.AF_UNIX) as door:
        door.bind("src/.git/door")
        (here / "src/.git/door").chmod(0o777)
        prepared, context = build(["src"], spool)
        assert dict(context) == {"a": "A", "sub/b": "B"}
        assert [mount.target for mount in prepared.mounts] == ["/input/spool"]
        assert "sockets" in prepared.notices[0]
        # Only its owner may talk through this one, and the sandbox is somebody else.
        (here / "src/.git/door").chmod(0o755)
        assert prepare(["src"], spool_dir=spool / "2").mounts[0].source == str(here / "src")
        assert prepare(["src"], spool_dir=spool / "3", foreign_uid=False).mounts[0].target == "/input/spool"


# --- what the sandbox's user can read ------------------------------------------------------------

READER = """
import json, os, sys
roots, paths = json.loads(sys.argv[1]), json.loads(sys.argv[2])
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for root, path in paths:
    fd = os.open(path, os.O_RDONLY, dir_fd=roots[root]) if path else roots[root]
    print(json.dumps(os.pread(fd, 99, 0).decode()))
"""


def read_as_nobody(prepared: PreparedInput) -> list[str]:
    """What another user reads through the mounts, each an open descriptor as a bind mount is one."""
    assert os.geteuid() == 0
    config = prepared.config
    paths = []
    for entry in config["inputs"]:
        if entry["as"] == "files":
            listing = Path(prepared.mounts[entry["root"]].source, entry["path"])
            for name, _size, *where in json.loads(listing.read_bytes())["files"]:
                paths.append(where or [entry["files_root"], name])
        paths.append([entry["root"], entry["path"]])
    roots = [os.open(mount.source, os.O_RDONLY) for mount in prepared.mounts]
    command = [sys.executable, "-I", "-c", READER, json.dumps(roots), json.dumps(paths)]
    try:
        done = subprocess.run(command, pass_fds=roots, capture_output=True, text=True, check=True)
    finally:
        for fd in roots:
            os.close(fd)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_another_user_can_read_everything_that_is_offered(here, spool):
    tree(here / "src", open="1", private="2", closed__open="3", half__private="4", half__open="5")
    (here / "src/private").chmod(0o600)
    (here / "src/half/private").chmod(0o640)
    (here / "src/closed").chmod(0o700)
    (here / "mine").mkdir(mode=0o700)
    tree(here / "mine", a="6")
    (here / "single").write_text("7")
    (here / "single").chmod(0o600)
    prepared, context = build(["src", "mine", "single", Value("8", name="value")], spool)
    assert dict(context["src"]) == {
        "closed/open": "3",
        "half/open": "5",
        "half/private": "4",
        "open": "1",
        "private": "2",
    }
    read = read_as_nobody(prepared)
    assert sorted(text for text in read if len(text) == 1) == list("12345678")
    # Nothing was copied that need not be: readable files are linked, or stay where they are.
    kept = {p.relative_to(spool / "input/shared").as_posix(): p for p in (spool / "input").rglob("*") if p.is_file()}
    names = [name for name in kept if not name.endswith(".json")]
    assert sorted(names) == ["0/closed/open", "0/half/private", "0/private", "1/a", "2/single", "given/1"]
    assert kept["0/closed/open"].samefile(here / "src/closed/open")
    assert kept["1/a"].samefile(here / "mine/a")
    assert not kept["0/private"].samefile(here / "src/private")
    assert (here / "src/private").stat().st_mode & 0o777 == 0o600
    assert (spool / "input").stat().st_mode & 0o777 == 0o700


def test_the_same_user_needs_no_copies(here, spool):
    (here / "a").write_text("A")
    (here / "a").chmod(0o600)
    assert prepare(["a"], spool_dir=spool, foreign_uid=False).mounts[0].source == str(here / "a")
    assert prepare(["a"], spool_dir=spool).mounts[0].target == "/input/spool"


# --- many, globs, names --------------------------------------------------------------------------


def test_a_glob_is_sorted_and_stays_beneath_its_folder(here, spool, tmp_path):
    tree(here / "g", **{"b.txt": "B", "a.txt": "A", "s__c.txt": "C", "x.md": "X"})
    (tmp_path / "secret").write_text("SECRET")
    (here / "g/z.txt").symlink_to(tmp_path / "secret")
    prepared, context = build(["g/**/*.txt"], spool)
    assert list(context.items()) == [("a.txt", "A"), ("b.txt", "B"), ("c.txt", "C")]
    assert "1 links that lead out" in prepared.notices[0]
    (here / "g/[x].txt").write_text("literal")
    assert build(["g/[x].txt"], spool / "2")[1] == "literal"


def test_names_are_unique_and_in_order(here, spool):
    tree(here, a__f="1", b__f="2", c="3")
    _, context = build(["b/f", "a/f", "c", "a/f"], spool)
    assert list(context.items()) == [("b/f", "2"), ("a/f", "1"), ("c", "3"), ("a/f (2)", "1")]


def test_more_than_64_files_are_one_mapping_and_one_mount(here, spool):
    tree(here, **{f"f{i:03}": str(i) for i in range(65)}, d__x="X")
    names = [f"f{i:03}" for i in range(65)]
    assert len(prepare(names[:64], spool_dir=spool).mounts) == 64
    prepared, context = build(names, spool / "2")
    assert isinstance(context, Files)
    assert dict(context) == {name: str(i) for i, name in enumerate(names)}
    assert len(prepared.mounts) == 1
    _, context = build([*names, "d"], spool / "3")
    assert list(context) == ["files", "d"]
    assert context["d"]["x"] == "X"


def test_ten_thousand_files_and_ten_gigabytes_start_in_about_a_second(here, spool):
    many = here / "many"
    for folder in range(100):
        (many / f"{folder:02}").mkdir(parents=True)
        for number in range(100):
            (many / f"{folder:02}/{number:02}.txt").write_text("x")
    (here / "big.txt").write_text("line\n" * 4000 + "END")
    os.truncate("big.txt", 10 << 30)
    tracemalloc.start()
    start = time.monotonic()
    try:
        prepared = prepare(["many", "big.txt"], spool_dir=spool)
        seconds = time.monotonic() - start
        assert tracemalloc.get_traced_memory()[1] < 30 << 20
    finally:
        tracemalloc.stop()
    assert seconds < 8  # with tracing on, and room for a busy machine
    assert prepared.bytes == (10 << 30) + 10_000
    assert prepared.memory == 3 * prepared.bytes
    assert len(json.dumps(prepared.config)) < 1000
    assert len(prepared.preview) < 6000
    context = context_of(prepared)
    assert len(context["many"]) == 10_000
    assert context["many"]["42/07.txt"] == "x"
    assert isinstance(context["big.txt"], Text)
    assert context["big.txt"][4:9] == "\nline"


# --- stdin, pipes, mistakes ----------------------------------------------------------------------


def test_stdin_is_spooled_once(spool):
    prepared, context = build(["-"], spool, stdin=io.BytesIO(b"from stdin"))
    assert context == "from stdin"
    assert prepared.items[0].name == "stdin"
    assert (spool / "input/shared/given/1").stat().st_mode & 0o777 == 0o644
    with pytest.raises(InputError, match="only once"):
        prepare(["-", "-"], spool_dir=spool / "2", stdin=io.BytesIO(b""))
    with pytest.raises(InputError, match="terminal"):
        prepare(["-"], spool_dir=spool / "3", stdin=Terminal())


def test_a_pipe_is_read_like_stdin(here, spool):
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_bytes(b"through"))
    writer.start()
    _, context = build(["pipe"], spool)
    writer.join()
    assert context == "through"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("missing.txt", "no such file or directory: missing.txt"),
        ("plain/inside", "no such file or directory: plain/inside"),
        ("*.nope", "no file matches *.nope"),
        ("d*", "only directories match d*"),
        ("/dev/null", "not a file or directory: /dev/null"),
        ("a\0b", "cannot read a\0b: embedded null byte"),
        (Path("*.txt"), "no such file or directory: *.txt"),
    ],
)
def test_mistakes_are_one_line(here, spool, given, message):
    (here / "dir").mkdir()
    (here / "plain").write_text("x")
    with pytest.raises(InputError) as caught:
        prepare([given], spool_dir=spool)
    assert str(caught.value) == message


# --- preview, manifest ---------------------------------------------------------------------------


def test_the_preview_shows_both_ends_quoted(here, spool):
    (here / "a.txt").write_text("HEAD\x1b[31m\n" + "m\n" * 5000 + "é" * 700 + "`TAIL`")
    prepared, _ = build(["a.txt"], spool)
    assert r"It begins: 'HEAD\x1b[31m\nm\nm" in prepared.preview
    assert "é`TAIL`'" in prepared.preview
    assert len(prepared.preview) < 2500
    assert "\x1b" not in prepared.preview


def test_many_inputs_make_no_long_preview(here, spool):
    tree(here, **{f"f{i:02}": "x" * 5000 for i in range(60)})
    prepared, _ = build(sorted(p.name for p in here.iterdir()), spool)
    assert len(prepared.preview) < 6000
    assert "context['f59']" in prepared.preview


def test_fingerprints_are_cheap_and_hashes_true(here, spool):
    tree(here, a="hello", d__x="1")
    prepared = prepare(["a", "d"], spool_dir=spool)
    assert prepared.sha256()["a"] == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert json.loads(json.dumps(prepared.manifest))[1]["files"] == 1
    again = prepare(["a", "d"], spool_dir=spool / "2")
    assert again.fingerprint() == prepared.fingerprint()
    (here / "d/x").write_text("2")
    os.utime("d/x", (1, 1))
    changed = prepare(["a", "d"], spool_dir=spool / "3")
    assert changed.fingerprint()["a"] == prepared.fingerprint()["a"]
    assert changed.fingerprint()["d"] != prepared.fingerprint()["d"]
    before = again.sha256()["d"]
    (here / "d/x").unlink()
    with pytest.raises(InputError, match="cannot read x"):
        prepared.sha256()
    tree(here, d__x="1")
    assert prepared.sha256()["d"] != before
