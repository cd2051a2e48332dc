"""What the root model is shown of a cell."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rlm.observation import Budget, excerpt, observe
from rlm.protocols import Answer, CellError, CellResult, Death, Variable

BUDGET = Budget(turn=4, max_turns=30, seconds=3000, sub_calls=4990, tokens=120_000, cost=1.5)


def show(cell: CellResult, *, limit: int = 1000, lost: tuple[str, ...] = ()) -> str:
    return observe(cell, BUDGET, limit=limit, cell_timeout=120, lost=lost)


def test_output_variables_and_what_is_left() -> None:
    variables = (Variable("df", "DataFrame", "(3, 4)"), Variable("n", "int", ""))
    text = show(CellResult("ok", output="hello\n", variables=variables))
    assert text.startswith("hello\n")
    assert "New or changed: df (DataFrame, (3, 4)), n (int)" in text
    assert text.endswith("[turn 4 of 30; left: 4,990 sub-calls, 120,000 tokens, 1.5000 of cost, 50 min]")


def test_no_output_is_said() -> None:
    assert show(CellResult("ok")).startswith("(no output)")


def test_long_output_keeps_both_ends_and_says_where_the_rest_is() -> None:
    text = show(CellResult("ok", output="START" + "x" * 50_000 + "END"))
    assert text.startswith("START")
    assert "END\n" in text
    assert '[… 49,008 characters left out; see history[-1]["output"] …]' in text
    assert len(text) < 1300


def test_the_end_of_a_traceback_is_always_there() -> None:
    error = CellError("ValueError", "boom", "Traceback\n" + "frame\n" * 5000 + "ValueError: boom")
    text = show(CellResult("error", output="o" * 5000, error=error))
    assert "ValueError: boom" in text
    assert len(text) < 1400


def test_hostile_output_is_bounded_and_without_control_characters() -> None:
    cell = CellResult(
        "ok",
        output="\x1b[31mred\x1b[0m\x00\x07",
        variables=tuple(Variable("v" * 10_000, "t" * 10_000, "s") for _ in range(1000)),
        notices=("n" * 100_000,) * 1000,
    )
    text = show(cell)
    assert text.startswith("red\n")
    assert "and 970 more" in text
    assert len(text) < 20_000


def test_a_template_in_the_output_is_text() -> None:
    assert show(CellResult("ok", output="{{ 7 * 7 }}{% for %}")).startswith("{{ 7 * 7 }}{% for %}")


def test_a_dead_kernel_says_exactly_what_was_lost() -> None:
    text = show(CellResult("died", death=Death("oom", "2 GB")), lost=("df", "chunks"))
    assert "ran out of memory" in text
    assert "Lost are `history`, what was imported, and all variables: df, chunks." in text
    assert "`context` loaded again" in text
    assert "(no output)" not in text


def test_stops_are_explained() -> None:
    assert "computed for 120 s" in show(CellResult("timeout"))
    assert "interrupted" in show(CellResult("interrupted"))
    assert "content" in show(CellResult("ok", answer=Answer("", ready=True, version=1)))


@given(st.text(max_size=300), st.integers(0, 500), st.text(max_size=300), st.integers(1, 400))
def test_an_excerpt_accounts_for_every_character(head: str, omitted: int, tail: str, limit: int) -> None:
    shown = excerpt(head, omitted, tail, limit)
    whole = len(head) + len(tail) + omitted
    assert len(shown.head) + len(shown.tail) <= max(limit, 0)
    assert len(shown.head) + shown.omitted + len(shown.tail) == whole
    assert (head if omitted else head + tail).startswith(shown.head)
    assert (tail if omitted else head + tail).endswith(shown.tail)
    if whole <= limit:
        assert shown.omitted == omitted
