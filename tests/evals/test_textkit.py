"""Random choices that are the same everywhere, numbers in prose, agreement of sets."""

from __future__ import annotations

import pytest

from rlm.evals.textkit import Draw, agreement, delegates, material, numbers_in, question_of, source
from rlm.testing import ScriptedRequest


def request(*messages: tuple[str, str]) -> ScriptedRequest:
    said = [{"role": role, "content": content} for role, content in messages]
    return ScriptedRequest(model="m", messages=said, body={}, headers={}, index=0)


def test_what_is_drawn_depends_on_name_seed_and_index_alone():
    def drawn(name: str, seed: int, index: int) -> list[int]:
        draw = Draw(name, seed=seed, index=index)
        return [draw.below(1000) for _ in range(5)]

    assert drawn("a", 0, 0) == drawn("a", 0, 0) == [234, 714, 19, 128, 771]
    assert len({tuple(drawn(*each)) for each in (("a", 0, 0), ("b", 0, 0), ("a", 1, 0), ("a", 0, 1))}) == 4


def test_samples_are_distinct_and_bounds_are_included():
    draw = Draw("t", seed=0, index=0)
    assert sorted(draw.sample(range(50))) == list(range(50))
    assert len(set(draw.sample("abcdefgh", 5))) == 5
    assert {draw.between(1, 3) for _ in range(200)} == {1, 2, 3}
    assert sorted(draw.distinct(lambda: draw.below(10), 10)) == list(range(10))
    picked = [draw.weighted("ab", (9, 1)) for _ in range(1000)]
    assert 850 < picked.count("a") < 950


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", []),
        ("none", []),
        ("There are 12.", ["12"]),
        ("1,234,567 and 7654321", ["1234567", "7654321"]),
        ("1234567,7654321", ["1234567", "7654321"]),
        ("**12.0**", ["12"]),
        ("12.5", ["12", "5"]),
        ("1,111,1111", ["1111", "1111"]),
    ],
)
def test_numbers_are_read_in_any_notation(text, numbers):
    assert numbers_in(text) == numbers


def test_agreement_counts_each_thing_once():
    assert agreement(["a", "a", "b"], ["a"]) == (0.5, 1.0, 2 / 3, 0.0)
    assert agreement([], ["a"]) == (0.0, 0.0, 0.0, 0.0)
    assert agreement(["a"], []) == (0.0, 0.0, 0.0, 0.0)
    assert agreement([], []) == (1.0, 1.0, 1.0, 1.0)


def test_a_scripted_model_finds_question_and_input():
    root = request(("system", "`llm_batch(prompts)`"), ("user", "What?\n\n<input>\nthe preview\n</input>"))
    assert question_of(root).strip() == "What?"
    assert delegates(root)
    assert not delegates(request(("system", "no sub-LLMs"), ("user", "What is llm_batch(x)?")))
    assert material("What?\n<context>\na </context> b\n</context>\nGo.") == "a </context> b"
    assert material("no tags") == "no tags"


def helper(lines: Missing) -> int:  # type: ignore[name-defined]  # noqa: F821
    return len(lines)


def test_the_code_of_a_function_runs_without_what_its_annotations_name():
    names: dict[str, object] = {}
    exec(source(helper) + "\nfound = helper([1, 2])", names)
    assert names["found"] == 2
