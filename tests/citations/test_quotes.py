"""What counts as a quotation in an answer, and what becomes of its marks."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm import Citation
from rlm.citations.quotes import find_quotes, numbered


def texts(answer: str) -> list[str]:
    return [quote.text for quote in find_quotes(answer)]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("<quote>short</quote>", ["short"]),
        ('<quote source="a.txt">one\n  two</quote> and <quote>three</quote>', ["one\n  two", "three"]),
        ("<quote>he said “never again, not once more” to her</quote>", ["he said “never again, not once more” to her"]),
        ("She wrote “the contract ends in May” twice.", ["the contract ends in May"]),
        ('She wrote "the contract ends in May" twice.', ["the contract ends in May"]),
        ("Sie schrieb „der Vertrag endet im Mai“ und ging.", ["der Vertrag endet im Mai"]),
        ("Il a écrit « le contrat expire en mai » hier.", ["le contrat expire en mai"]),
        ("It says:\n> the contract ends\n> in May\nand no more.", ["the contract ends\nin May"]),
        ('The so-called "fast track" is slow.', []),
        ("<quote>  </quote>", []),
        ("<quote>never closed", []),
        ("", []),
    ],
)
def test_what_is_a_quotation(answer, expected):
    assert texts(answer) == expected


def test_the_source_is_what_the_model_names():
    quotes = find_quotes("<quote source='b/c.txt'>x</quote><quote source=d.txt>y</quote><quote>z</quote>")
    assert [quote.source for quote in quotes] == ["b/c.txt", "d.txt", ""]


def test_numbers_go_behind_tags_and_all_else_stays():
    answer = 'A: <quote>one</quote>, B: <quote>two</quote>, {"c": "this stays as it is written"}'
    quotes = find_quotes(answer)
    citations = [
        Citation(1, "one", "found", "a.txt", 0, 3, 1, True),
        Citation(2, "two", "missing"),
        Citation(3, "this stays as it is written", "unchecked"),
    ]
    assert numbered(answer, quotes, citations) == (
        'A: “one” [1], B: “two” [2: not in the input], {"c": "this stays as it is written"}'
    )


@given(st.text(alphabet='<quote source="a>/ \n>“”«»„ab', max_size=200))
def test_any_answer_can_be_read(answer):
    quotes = find_quotes(answer)
    assert all(0 <= quote.start < quote.end <= len(answer) for quote in quotes)
    assert all(before.end <= after.start for before, after in itertools.pairwise(quotes))


@pytest.mark.parametrize(
    "hostile", ["<quote " * 20_000, '"a ' * 50_000, "> " * 100_000, "<quote>" * 50_000, "«" * 100_000]
)
def test_hostile_answers_take_no_time(hostile):
    import time

    begun = time.monotonic()
    find_quotes(hostile)
    assert time.monotonic() - begun < 5
