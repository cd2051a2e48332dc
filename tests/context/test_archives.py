"""ZIP and TAR become directories; nothing leaves its place, and nothing explodes."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile

import pytest
from guest.files import Files

from rlm.context import archives, keep
from rlm.errors import InputError


def zipped(entries, **options) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", options.get("compression", zipfile.ZIP_DEFLATED)) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return out.getvalue()


def tarred(entries, mode="w:gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as file:
        for name, content in entries.items():
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return out.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def beneath(folder) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.zip", zipped({"d/one.txt": b"1", "two.md": b"2"})),
        ("a.tar", tarred({"d/one.txt": b"1", "two.md": b"2"}, "w")),
        ("a.tar.gz", tarred({"d/one.txt": b"1", "./two.md": b"2"})),
        ("a.tgz", tarred({"d/one.txt": b"1", "two.md": b"2"}, "w:gz")),
        ("a.tar.bz2", tarred({"d/one.txt": b"1", "two.md": b"2"}, "w:bz2")),
        ("a.TAR.XZ", tarred({"d/one.txt": b"1", "two.md": b"2"}, "w:xz")),
    ],
)
def test_an_archive_is_a_mapping_of_its_files(desk, name, data):
    desk.write(name, data)
    built = desk.build(name)
    assert isinstance(built.context, Files)
    assert dict(built.context) == {"d/one.txt": "1", "two.md": "2"}
    (item,) = built.prepared.manifest
    assert (item["type"], item["kind"], item["files"], item["bytes"]) == ("archive", "files", 2, 2)
    assert f"from {name!r}" in built.prepared.preview


def test_an_archives_hash_is_its_own_and_its_files_outlive_it(desk):
    import hashlib

    data = zipped({"a.txt": b"text"})
    path = desk.write("a.zip", data)
    prepared = desk.build("a.zip").prepared
    assert prepared.sha256() == {"a.zip": hashlib.sha256(data).hexdigest()}
    keep.save(prepared, desk.folder.parent / "run1/input.json")
    kept = keep.load(desk.folder.parent / "run1/input.json")
    keep.check_unchanged(kept, prepared.sha256())
    path.write_bytes(zipped({"a.txt": b"other"}))
    with pytest.raises(InputError, match="has changed"):
        keep.check_unchanged(kept, {"a.zip": hashlib.sha256(data).hexdigest()})


def test_documents_in_it_are_converted_and_archives_are_not_extracted(desk):
    from tests import needs
    from tests.documents import samples

    needs.module("markitdown")
    desk.write("a.zip", zipped({"in/a.pdf": samples.pdf(), "b.zip": zipped({"x": b"x"}), "c/.gitignore": b"z\n"}))
    built = desk.build("a.zip")
    assert samples.PHRASE in built.context["in/a.pdf"]
    assert built.context.path("in/a.pdf").read_bytes() == samples.pdf()
    assert zipfile.is_zipfile(built.context["b.zip"])


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "..\\evil", "a/..", "\\evil"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_names_that_lead_out_are_left_out(desk, name, kind):
    make = zipped if kind == "zip" else tarred
    desk.write(f"a.{kind}", make({name: b"evil", "good": b"good"}))
    built = desk.build(f"a.{kind}")
    assert list(built.context) == ["good"]
    assert beneath(desk.folder.parent / "run1/input/shared/archives") == {"1/good"}
    assert "1 not extracted, links or names that lead out" in built.prepared.notices[0]


def test_links_and_devices_are_left_out(desk, tmp_path):
    (tmp_path / "secret").write_text("SECRET")
    entries = {
        special("link", tarfile.SYMTYPE, str(tmp_path / "secret")): b"",
        special("link2", tarfile.SYMTYPE, "/etc"): b"",
        "link2/passwd": b"mine",
        special("hard", tarfile.LNKTYPE, "/etc/passwd"): b"",
        special("fifo", tarfile.FIFOTYPE): b"",
        special("device", tarfile.CHRTYPE): b"",
        "good": b"good",
    }
    desk.write("a.tar", tarred(entries, "w"))
    built = desk.build("a.tar")
    assert dict(built.context) == {"good": "good", "link2/passwd": "mine"}
    folder = desk.folder.parent / "run1/input/shared/archives/1"
    assert all(stat.S_ISREG(os.lstat(folder / name).st_mode) for name in beneath(folder))
    assert "5 not extracted" in built.prepared.notices[0]
    linked = zipfile.ZipInfo("link")
    linked.external_attr = (stat.S_IFLNK | 0o777) << 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr(linked, "/etc/passwd")
        file.writestr("good", "good")
    desk.write("b.zip", out.getvalue())
    assert dict(desk.build("b.zip").context) == {"good": "good"}


def test_names_that_collide_are_kept_apart(desk):
    desk.write("a.tar", tarred({"a": b"1", "./a": b"2", "b/c": b"3", "b": b"4", "a/d": b"5", "x\ny": b"6"}, "w"))
    assert dict(desk.build("a.tar").context) == {"a": "1", "a (2)": "2", "b/c": "3", "b (file)": "4", "x_y": "6"}


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("bomb.zip", lambda: zipped({f"{n}.txt": bytes(8 << 20) for n in range(12)})),
        ("bomb.tar.gz", lambda: tarred({"0.txt": bytes(96 << 20)})),
        ("bomb.tar.xz", lambda: tarred({"0.txt": bytes(96 << 20)}, "w:xz")),
    ],
)
def test_a_bomb_is_one_error_and_its_parts_are_bounded(desk, name, make):
    desk.write(name, make())
    with pytest.raises(InputError, match=rf"^{name} is not extracted: more than 67,108,864 bytes") as caught:
        desk.build(name)
    assert "\n" not in str(caught.value)
    out = desk.folder.parent / "run1/input/shared/archives"
    assert sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) <= 64 << 20


def test_too_many_entries_and_giant_headers_are_errors(desk, monkeypatch):
    monkeypatch.setattr(archives, "MAX_FILES", 10)
    desk.write("many.zip", zipped({str(n): b"" for n in range(11)}))
    with pytest.raises(InputError, match="more than 10 entries"):
        desk.build("many.zip")
    header = special("x", tarfile.XHDTYPE)
    desk.write("header.tar", tarred({header: b"x" * (2 << 20), "a": b"a"}, "w"))
    with pytest.raises(InputError, match="a header of 2,097,152 bytes"):
        desk.build("header.tar")


# Named: an archive holds the time at which it was made, and tests are collected in several processes.
DAMAGED = {
    "empty": b"",
    "no zip": b"PK\x03\x04 nothing",
    "no gzip": b"\x1f\x8b nothing",
    "cut": zipped({"a": b"a" * 999})[:60],
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_a_damaged_archive_is_one_line(desk, name, data):
    desk.write(name, data)
    with pytest.raises(InputError, match=rf"(cannot extract|there is no file in) {name}") as caught:
        desk.build(name)
    assert "\n" not in str(caught.value)


def test_an_archive_by_a_pipe(desk):
    built = desk.build("-", stdin=io.BytesIO(zipped({"a.txt": b"A"})))
    assert dict(built.context) == {"a.txt": "A"}
