"""Texts in other encodings read as what they say; a wrong byte is never an error."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from rlm.context import encodings

GERMAN = (
    "Die Gr\u00f6\u00dfe der T\u00fcr betr\u00e4gt zwei Meter \u2013 f\u00fcr \u00c4rzte \u201egen\u00fcgend\u201c.\n"
    * 40
)
RUSSIAN = "Все счастливые семьи похожи друг на друга.\n" * 40  # noqa: RUF001
JAPANESE = (
    "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじ"
    "めじめした所でニャーニャー泣いていた事だけは記憶している。吾輩はここで始めて人間"
    "というものを見た。しかもあとで聞くとそれは書生という人間中で一番獰悪な種族であっ"
    "たそうだ。この書生というのは時々我々を捕えて煮て食うという話である。しかしその当"
    "時は何という考もなかったから別段恐しいとも思わなかった。"
    "\n"
) * 5


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (GERMAN, "cp1252"),
        ("na\u00efve caf\u00e9", "latin-1"),
        ("a caf\u00e9", "latin-1"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
        (GERMAN, "utf-16"),
        (GERMAN, "utf-16-le"),
        (GERMAN, "utf-16-be"),
        (JAPANESE, "utf-32"),
    ],
)
def test_another_encoding_is_read_as_what_it_says(desk, text, encoding):
    desk.write("a.txt", text.encode(encoding))
    built = desk.build("a.txt")
    assert built.context == text
    assert built.originals["a.txt"].read_bytes() == text.encode(encoding)
    assert built.prepared.notices[0].startswith("a.txt is not UTF-8: read as ")
    assert built.prepared.manifest[0]["characters"] == len(text)


@pytest.mark.parametrize("text", ["plain", GERMAN, JAPANESE, ""])
def test_utf_8_is_mounted_as_it_lies_and_its_mark_is_not_part_of_it(desk, text):
    desk.write("a.txt", text.encode())
    built = desk.build("a.txt")
    assert built.context == text
    assert not built.prepared.notices
    assert not (desk.folder.parent / "run1").exists()
    desk.write("b.txt", codecs.BOM_UTF8 + text.encode())
    built = desk.build("b.txt", Path("b.txt"))
    assert list(built.context.values()) == [text, text]


def test_a_few_wrong_bytes_in_utf_8_are_replaced(desk):
    desk.write("a.txt", GERMAN.encode() + b"\xff\xfe broken \x80" + GERMAN.encode())
    built = desk.build("a.txt")
    assert built.context == GERMAN + "\ufffd\ufffd broken \ufffd" + GERMAN
    assert not built.prepared.notices


def test_a_wrong_byte_far_inside_is_found(desk):
    desk.write("a.txt", b"x" * 3_000_000 + "caf\u00e9".encode("latin-1") + b"y" * 3_000_000)
    assert desk.build("a.txt").context[3_000_000:3_000_004] == "caf\u00e9"


def test_what_is_no_text_is_left_alone(desk):
    for number, data in enumerate([b"\0" * 100, bytes(range(256)) * 10, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"]):
        desk.write(str(number), data)
        assert isinstance(desk.build(str(number)).context, Path)


def test_a_large_text_is_converted_in_constant_memory(desk, monkeypatch):
    import tracemalloc

    monkeypatch.setattr(encodings, "CHECKED", 8 << 20)
    path = desk.write("a.txt", b"")
    with path.open("wb") as file:
        for _ in range(20):
            file.write(("caf\u00e9 " * 200_000).encode("latin-1"))
    tracemalloc.start()
    built = desk.build("a.txt", max_documents=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert built.prepared.manifest[0]["characters"] == 20_000_000
    # The guest's str is made in this process too.
    assert peak < 20_000_000 * 2 + (32 << 20)


def test_the_files_of_a_directory_are_decoded_where_they_are_read(desk):
    desk.write("d/latin.txt", "na\u00efve caf\u00e9".encode("latin-1"))
    desk.write("d/utf16.txt", GERMAN.encode("utf-16"))
    desk.write("d/mark.txt", codecs.BOM_UTF8 + b"text")
    desk.write("d/damaged.txt", GERMAN.encode() + b"\xff")
    built = desk.build("d")
    assert dict(built.context) == {
        "latin.txt": "na\u00efve caf\u00e9",
        "utf16.txt": GERMAN,
        "mark.txt": "text",
        "damaged.txt": GERMAN + "\ufffd",
    }
    assert not built.prepared.notices
