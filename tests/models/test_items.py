"""Messages and parameters as the Responses API takes them, and back: what models are asked stays what it was."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rlm.errors import ModelError
from rlm.models.items import LEAST_OUTPUT, to_input, to_params
from rlm.models.responses import ResponsesWire
from rlm.models.wire import Dialect
from rlm.testing.responses import messages_of

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
SAID = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
PART = st.builds(lambda text: {"type": "text", "text": text}, TEXT) | st.builds(
    lambda data: {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}, TEXT
)
CALL = st.builds(
    lambda id_, name, arguments: {
        "id": id_,
        "type": "function",
        "function": {"name": name, "arguments": json.dumps(arguments)},
    },
    SAID,
    SAID,
    st.dictionaries(TEXT, TEXT, max_size=2),
)


def _assistant(content: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
    return {"role": "assistant", "content": content or None, **({"tool_calls": calls} if calls else {})}


ASKED = st.one_of(
    st.builds(lambda content: {"role": "user", "content": content}, TEXT | st.lists(PART, min_size=1, max_size=3)),
    st.builds(lambda id_, content: {"role": "tool", "tool_call_id": id_, "content": content}, SAID, TEXT),
)
ANSWERED = st.builds(_assistant, SAID, st.just([])) | st.builds(
    _assistant, TEXT, st.lists(CALL, min_size=1, max_size=3)
)
# As conversations are: what is asked, and what was answered, in turn.
TALK = st.builds(
    lambda system, pairs, last: [
        *([{"role": "system", "content": system}] if system is not None else []),
        *(message for pair in pairs for message in pair),
        last,
    ],
    st.none() | TEXT,
    st.lists(st.tuples(ASKED, ANSWERED), max_size=4),
    ASKED,
)


@given(TALK)
def test_a_conversation_comes_through_as_it_was(talk: list[dict[str, Any]]) -> None:
    told = to_input(talk)
    body = {"input": told.items} | ({} if told.instructions is None else {"instructions": told.instructions})
    assert messages_of(json.loads(json.dumps(body))) == talk


@given(TALK)
def test_reasoning_stands_right_before_what_it_led_to(talk: list[dict[str, Any]]) -> None:
    calls = {call["id"] for message in talk for call in message.get("tool_calls", ())}
    items = to_input(talk, lambda id_: [{"type": "reasoning", "of": id_}]).items
    assert {item["of"] for item in items if item.get("type") == "reasoning"} == calls
    for thought, *after in (items[place : place + 3] for place in range(len(items))):
        if thought.get("type") == "reasoning":
            said = [item for item in after if item.get("role") != "assistant"]
            assert said[0]["call_id"] == thought["of"]
    assert [item for item in items if item.get("type") != "reasoning"] == to_input(talk).items


def test_a_system_message_that_is_alone_is_the_input() -> None:
    told = to_input([{"role": "system", "content": "be brief"}])
    assert told == (None, [{"role": "system", "content": "be brief"}])


def test_later_system_messages_stay_where_they_are() -> None:
    talk = [{"role": role, "content": role} for role in ("system", "user", "system")]
    told = to_input(talk)
    assert told.instructions == "system"
    assert told.items[1] == {"role": "system", "content": "system"}


def test_parameters_have_other_names() -> None:
    tool = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
    schema = {"name": "reply", "schema": {"type": "object"}, "strict": True}
    given = {
        "tools": [tool],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": schema},
        "reasoning_effort": "low",
        "verbosity": "low",
        "temperature": 0.5,
    }
    assert to_params(given, 99) == {
        "tools": [
            {"type": "function", "strict": False, "name": "f", "description": "d", "parameters": {"type": "object"}}
        ],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {"format": {"type": "json_schema", **schema}, "verbosity": "low"},
        "reasoning": {"effort": "low"},
        "temperature": 0.5,
        "max_output_tokens": 99,
    }
    assert to_params({"response_format": {"type": "json_object"}}, None) == {
        "text": {"format": {"type": "json_object"}}
    }


def test_what_is_of_this_api_already_stays() -> None:
    tool = {"type": "web_search"}
    given = {"tools": [tool], "tool_choice": "none", "text": {"verbosity": "high"}, "reasoning": {"summary": "auto"}}
    assert to_params(given, None) == given
    assert to_params({**given, "reasoning_effort": "low"}, None)["reasoning"] == {"effort": "low", "summary": "auto"}


def test_caps() -> None:
    assert to_params({}, 3) == {"max_output_tokens": LEAST_OUTPUT}
    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
        assert to_params({name: 50}, 99) == {"max_output_tokens": 50}


ODD: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
NAMES = ("tools", "tool_choice", "response_format", "text", "reasoning", "reasoning_effort", "verbosity", "include")


@given(st.fixed_dictionaries({}, optional={name: ODD for name in (*NAMES, "max_tokens")}), st.booleans())
def test_any_parameters_are_json_or_refused(params: dict[str, Any], structured: bool) -> None:
    """A user may set what they like; the endpoint says what it thinks of it."""
    messages = [{"role": "user", "content": "x"}]
    dialect = Dialect(structured=structured)
    try:
        body = ResponsesWire().encode("m", messages, params, max_tokens=7, dialect=dialect, stream=True)
    except ModelError:
        return
    told = json.loads(body)
    assert told["input"] == messages
    assert told["store"] is False
