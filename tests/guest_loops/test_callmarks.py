"""Two calls have the same mark only if they are the same call."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from guest.callmarks import copy_options, copy_prompt, mark_options, mark_prompt
from guest.purevalues import Caution, Doubtful
from guest.results import CallResult


def options(**given: Any) -> Any:
    return mark_options(given, Caution())


def prompt(value: Any) -> Any:
    return mark_prompt(value, Caution())


class One: ...


SAME = [
    {"temperature": 0.5, "model": "m"},
    {"schema": {"a": list[int], "b": int | None, "c": Literal["x"]}},
    {"schema": One},
    {"schema": {"type": "object", "properties": {}}},
]


@pytest.mark.parametrize("given", SAME)
def test_equal_options_have_equal_marks(given):
    again = {name: copy_options(value) for name, value in given.items()}
    assert options(**given) == options(**again)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"temperature": 1}),
        ({"temperature": 1}, {"max_tokens": 1}),
        ({"cache": 1}, {"cache": True}),
        ({"temperature": 1}, {"temperature": 1.0}),
        ({"schema": [1, [2]]}, {"schema": [1, 2]}),
        ({"schema": [1]}, {"schema": (1,)}),
        ({"schema": list[int]}, {"schema": list[str]}),
        ({"schema": list[int]}, {"schema": set[int]}),
        ({"schema": int | None}, {"schema": int | str}),
        ({"schema": One}, {"schema": type("One", (), {})}),
        ({"schema": {"a": str}}, {"schema": {"b": str}}),
    ],
)
def test_other_options_have_other_marks(one, other):
    assert options(**one) != options(**other)


@pytest.mark.parametrize(
    "given", [{"images": ["a.png"]}, {"model": object()}, {"temperature": One}, {"system": [object()]}]
)
def test_what_cannot_be_compared_has_none(given):
    with pytest.raises(Doubtful):
        options(**given)


def test_a_schema_that_the_loop_changes_has_none():
    schema: dict[str, Any] = {"a": str}
    caution = Caution()
    caution.change(schema)
    for given in ({"schema": schema}, {"schema": [schema]}):
        with pytest.raises(Doubtful):
            mark_options(given, caution)


def test_prompts_are_told_by_kind_and_content():
    text = CallResult.make({"text": "[1]"})
    assert prompt(text) == prompt("[1]") != prompt([1])
    assert prompt([1]) != prompt([True]) != prompt([1.0])
    assert prompt([1]) != prompt((1,))
    messages = [{"role": "user", "content": "é"}]
    assert prompt(messages) == prompt(json.loads(json.dumps(messages)))
    for strange in ({"prompt": "x", "images": ["a.png"]}, [One()], One):
        with pytest.raises(Doubtful):
            prompt(strange)


def test_copies_do_not_change_with_the_original():
    messages = [{"role": "user", "content": "x"}]
    schema = {"a": [int, {"b": str}]}
    copied, kept = copy_prompt(prompt(messages)), copy_options({"schema": schema})
    messages[0]["content"] = "y"
    schema["a"].append(One)
    schema["a"][1]["b"] = One  # type: ignore[index]
    assert copied == [{"role": "user", "content": "x"}]
    assert kept == {"schema": {"a": [int, {"b": str}]}}
