"""Looking quotations up: in what encodings, over piece borders, where first, and when there is no time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm.citations import Citer, cite, search
from rlm.context import prepare


def cited(folder: Path, answer: str, *inputs: Any, **options: Any) -> Any:
    prepared = prepare(list(inputs), spool_dir=folder / "spool")
    return cite(answer, prepared.items, **options)


def only(folder: Path, answer: str, *inputs: Any, **options: Any) -> Any:
    (citation,) = cited(folder, answer, *inputs, **options).citations
    return citation


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_text(
        "First line.\nÜber allen Gipfeln ist Ruh.\r\nThe “third” line \u2013 it\u2019s last.\n",
        encoding="utf-8",
        newline="",
    )
    return path


def test_a_quotation_is_found_with_its_characters_and_its_line(tmp_path, book):
    found = only(tmp_path, "<quote>allen Gipfeln</quote>", str(book))
    assert (found.status, found.file, found.line, found.exact) == ("found", str(book), 2, True)
    assert book.read_bytes().decode()[found.start : found.end] == "allen Gipfeln"


@pytest.mark.parametrize(
    "quote",
    ["Gipfeln ist Ruh. The “third”", "First\n   line.", 'The "third" line - it\'s last.', "ist Ruh.\nThe"],
)
def test_other_spacing_and_marks_are_found_and_told(tmp_path, book, quote):
    found = only(tmp_path, f"<quote>{quote}</quote>", str(book))
    assert (found.status, found.exact) == ("found", False)


@pytest.mark.parametrize("quote", ["allen gipfeln", "First line … Ruh.", "Firstline.", "a third line"])
def test_other_words_are_missing(tmp_path, book, quote):
    missing = only(tmp_path, f"<quote>{quote}</quote>", str(book))
    assert (missing.status, missing.file, missing.start, missing.line) == ("missing", None, None, None)


def test_the_file_that_the_model_names_comes_first(tmp_path):
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.txt", "sub/b.txt"):
        (folder / name).write_text("the very same words\n")
    plain = only(tmp_path, "<quote>the very same words</quote>", str(folder))
    assert plain.file == f"{folder}/a.txt"
    named = only(tmp_path, '<quote source="sub/b.txt">the very same words</quote>', str(folder))
    assert named.file == f"{folder}/sub/b.txt"
    wrong = only(tmp_path, '<quote source="no.txt">the very same words</quote>', str(folder))
    assert (wrong.status, wrong.file) == ("found", f"{folder}/a.txt")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_encodings(tmp_path, encoding):
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.txt").write_text("Eins\nZwei für drei größere Öfen\n", encoding=encoding)
    found = only(tmp_path, "<quote>für drei größere</quote>", str(folder))
    assert (found.status, found.line) == ("found", 2)


def test_strings_of_json(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"said": 'He said "no", and left\nfor Zürich.'}))
    assert only(tmp_path, '<quote>said "no", and left\nfor Zürich.</quote>', str(path)).status == "found"


def test_bytes_that_are_no_text_are_no_evidence(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"\0\0the words are in here\0")
    assert only(tmp_path, "<quote>the words are in here</quote>", str(path)).status == "missing"


def test_a_file_that_has_gone(tmp_path, book):
    prepared = prepare([str(book)], spool_dir=tmp_path / "spool")
    book.unlink()
    assert cite("<quote>First line</quote>", prepared.items).citations[0].status == "missing"


async def test_the_same_answer_is_looked_up_once(tmp_path, book):
    citer = Citer(prepare([str(book)], spool_dir=tmp_path / "spool").items)
    first = await citer.cited("<quote>First line</quote>")
    book.unlink()
    assert await citer.complaint("<quote>First line</quote>") == ""
    assert await citer.cited("<quote>First line</quote>") is first
    assert "- First line" in await citer.complaint("again: <quote>First line</quote>")


def test_out_of_time_is_not_missing(tmp_path, book):
    assert only(tmp_path, "<quote>nowhere to be seen</quote>", str(book), seconds=-1).status == "unchecked"


def test_too_many_and_too_long_are_not_missing(tmp_path, book):
    answer = "".join(f"<quote>absent {number}</quote>" for number in range(201)) + f"<quote>{'x' * 20_001}</quote>"
    statuses = [citation.status for citation in cited(tmp_path, answer, str(book)).citations]
    assert statuses == ["missing"] * 200 + ["unchecked"] * 2


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_slice_is_found_where_it_first_stands(tmp_path_factory, data):
    text = data.draw(st.text(alphabet="ab\n ü€", min_size=1, max_size=400), label="text")
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    quote = text[start:end].strip()
    if not quote:
        return
    folder = tmp_path_factory.mktemp("slices")
    (folder / "a.txt").write_text(text, encoding="utf-8", newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "PIECE", 16)
        found = only(folder, f"<quote>{quote}</quote>", str(folder / "a.txt"))
    assert (found.status, found.start) == ("found", text.find(quote))
    assert found.end == found.start + len(quote)
    assert found.line == text.count("\n", 0, found.start) + 1
