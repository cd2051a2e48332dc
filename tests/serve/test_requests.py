"""From a body to a question, an input and limits: the rules, and what is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm import Failure, RunResult, RunUsage, Settings, errors
from rlm.serve.conversation import last_paragraph
from rlm.serve.failures import ApiError, of_result
from rlm.serve.files import safe_name
from rlm.serve.messages import Inline, Uploaded, read_messages
from rlm.serve.options import ServeOptions
from rlm.serve.request import read_request
from rlm.service.ceilings import NAMES

SETTINGS = Settings(model="root", max_turns=10, timeout=100, depth=1)
OPTIONS = ServeOptions(long_message=50, max_file=1000)


def read(body: Any) -> Any:
    return read_request(body if isinstance(body, bytes) else json.dumps(body).encode(), SETTINGS, OPTIONS)


def chat(*messages: Any, **more: Any) -> Any:
    texts = [{"role": "user", "content": each} if isinstance(each, str | list) else each for each in messages]
    return read({"model": "rlm", "messages": texts, **more})


def refusal(body: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(body)
    return caught.value


def read_or_refused(body: Any) -> Any:
    try:
        return read(body)
    except ApiError as error:
        return error


# --- the question and the input


def test_a_short_message_is_the_question_and_nothing_else():
    found = chat("  who is it? ").asked
    assert (found.question, found.values, found.documents) == ("who is it?", (), ())


def test_a_long_message_is_the_context_and_its_last_paragraph_the_question():
    text = "a story\n" * 20 + "\n \n\nWho is in it?\nAnd why?\n"
    found = chat(text).asked
    assert found.question.startswith(
        "Who is in it?\nAnd why?\n\nThis is the end of a long message. The input is the whole"
    )
    assert [(value.name, value.data) for value in found.values] == [("message", text)]


def test_earlier_messages_are_the_conversation():
    system = {"role": "system", "content": "be brief"}
    found = chat(system, "first", {"role": "assistant", "content": None}, "second").asked
    (value,) = found.values
    assert value.data == [{"role": "user", "content": "first"}, {"role": "assistant", "content": ""}]
    lines = found.question.splitlines()
    assert lines[0] == "second"
    assert lines[2].startswith("This is the last message of a conversation. The input is the list")
    assert lines[-3:] == ["<instructions>", "be brief", "</instructions>"]


def test_with_several_inputs_each_is_named():
    file = {"type": "file", "file": {"file_id": "file-1"}}
    system = {"role": "developer", "content": "s" * 51}
    found = chat(
        system, [{"type": "text", "text": "old"}, file], {"role": "assistant", "content": "yes"}, "x" * 60
    ).asked
    assert [value.name for value in found.values] == ["conversation", "message", "instructions"]
    assert found.values[2].data == "s" * 51
    assert found.documents == (Uploaded("file-1"),)
    assert all(f"The input `{name}`" in found.question for name in ("conversation", "message"))
    assert "which are the input `instructions`" in found.question
    assert "sss" not in found.question


def test_the_clients_words_are_never_a_template():
    found = chat({"role": "system", "content": "{{ 7 * 7 }}{% include 'root.md' %}"}, "{{ question }}").asked
    assert found.question.startswith("{{ question }}\n")
    assert "{{ 7 * 7 }}{% include 'root.md' %}" in found.question


@given(st.text(alphabet="ab \n\t", max_size=300), st.integers(1, 60))
def test_the_last_paragraph_is_an_end_of_the_text(text, most):
    found = last_paragraph(text, most)
    assert len(found) <= most
    assert text.rstrip().endswith(found)
    assert bool(found) == bool(text.strip())


def test_of_a_paragraph_that_is_too_long_the_last_line_counts():
    assert last_paragraph("x" * 100 + "\nthe question", 20) == "the question"
    assert last_paragraph("x" * 100, 20) == "x" * 20
    assert last_paragraph("one\n\ntwo\n\n" + "x" * 10, 20) == "x" * 10


# --- documents


def test_documents_in_a_message():
    data = base64.b64encode(b"\x89PNG").decode()
    messages = read_messages(
        [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    {"type": "file", "file": {"file_data": data, "filename": "../../etc/a b.csv"}},
                    {"type": "file", "file": {"file_data": f"data:application/pdf;name=x;base64,{data}"}},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
                    {"type": "input_audio", "input_audio": {"data": data, "format": "mp3"}},
                ],
            }
        ],
        max_file=100,
    )
    assert messages[0].documents == (
        Inline("a b.csv", b"\x89PNG"),
        Inline("file.pdf", b"\x89PNG"),
        Inline("image-4.png", b"\x89PNG"),
        Inline("audio-5.mp3", b"\x89PNG"),
    )


@pytest.mark.parametrize(
    ("given_name", "kept"),
    [
        ("report.pdf", "report.pdf"),
        ("../../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\a.txt", "a.txt"),
        ("/", "file"),
        ("..", "file"),
        (".bashrc", "bashrc"),
        ("a\0b\n\x1b[31m.txt", "a_b__[31m.txt"),
        ("", "file"),
        ("x" * 5000 + ".csv", "x" * 196 + ".csv"),
        ("ü" * 300 + ".csv", "ü" * 98 + ".csv"),
        ("\ud800.txt", "?.txt"),
        ("\u202efdp.exe", "_fdp.exe"),
    ],
)
def test_a_file_name_is_one_harmless_part(given_name, kept):
    assert safe_name(given_name) == kept


@given(st.text())
def test_no_file_name_leads_anywhere(name):
    kept = safe_name(name)
    assert kept not in ("", ".", "..")
    assert "/" not in kept
    assert not kept.startswith(".")
    assert len(kept.encode()) <= 200
    assert kept.isprintable()


# --- what is refused

USER = {"role": "user", "content": "q"}
URL = {"type": "image_url", "image_url": {"url": "http://127.0.0.1/a.png"}}


def part(part: Any) -> Any:
    return {"model": "rlm", "messages": [{"role": "user", "content": [part]}]}


REFUSED: dict[str, tuple[Any, int, str | None, str | None]] = {
    "not json": (b"{", 400, None, None),
    "not utf-8": (b"\xff\xfe{}", 400, None, None),
    "a list": ([], 400, None, None),
    "deep": (b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, None, None),
    "digits": (b'{"n":' + b"9" * 10_000 + b"}", 400, None, None),
    "no model": ({"messages": [USER]}, 400, "model", None),
    "another model": ({"model": "gpt-5", "messages": [USER]}, 404, "model", "model_not_found"),
    "no messages": ({"model": "rlm"}, 400, "messages", None),
    "empty": ({"model": "rlm", "messages": []}, 400, "messages", None),
    "no object": ({"model": "rlm", "messages": ["hi"]}, 400, "messages[0]", None),
    "role": ({"model": "rlm", "messages": [{"role": "god", "content": "x"}]}, 400, "messages[0].role", None),
    "role of odd type": ({"model": "rlm", "messages": [{"role": {}, "content": "x"}]}, 400, "messages[0].role", None),
    "tool": ({"model": "rlm", "messages": [{"role": "tool"}, USER]}, 400, "messages[0]", "unsupported_value"),
    "content": ({"model": "rlm", "messages": [{"role": "user", "content": 7}]}, 400, "messages[0].content", None),
    "blank": ({"model": "rlm", "messages": [{"role": "user", "content": " \n"}]}, 400, "messages", None),
    "no user": ({"model": "rlm", "messages": [{"role": "system", "content": "x"}]}, 400, "messages", None),
    "prefill": ({"model": "rlm", "messages": [USER, {"role": "assistant", "content": "x"}]}, 400, "messages", None),
    "sound": (
        part({"type": "input_audio", "input_audio": {"data": "AA==", "format": "../x"}}),
        400,
        "messages[0].content[0].input_audio.format",
        "unsupported_value",
    ),
    "part": (part({"type": "video"}), 400, "messages[0].content[0]", "unsupported_value"),
    "part of no type": (part(5), 400, "messages[0].content[0]", "unsupported_value"),
    "url": (part(URL), 400, "messages[0].content[0].image_url.url", "unsupported_value"),
    "base64": (
        part({"type": "file", "file": {"file_data": "!!!"}}),
        400,
        "messages[0].content[0].file.file_data",
        None,
    ),
    "data url": (
        part({"type": "file", "file": {"file_data": "data:text/plain,hi"}}),
        400,
        "messages[0].content[0].file.file_data",
        None,
    ),
    "large": (
        part({"type": "file", "file": {"file_data": "A" * 10_000}}),
        413,
        "messages[0].content[0].file.file_data",
        "file_too_large",
    ),
    "file name": (
        part({"type": "file", "file": {"file_data": "AAAA", "filename": 5}}),
        400,
        "messages[0].content[0].file.filename",
        None,
    ),
    "no file": (part({"type": "file", "file": {}}), 400, "messages[0].content[0].file.file_data", None),
    "stream": ({"model": "rlm", "messages": [USER], "stream": "yes"}, 400, "stream", None),
    "own": ({"model": "rlm", "messages": [USER], "rlm": 5}, 400, "rlm", None),
}


@pytest.mark.parametrize(("body", "status", "param", "code"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(body, status, param, code):
    error = refusal(body)
    assert (error.status, error.param, error.code) == (status, param, code)
    told = error.body()["error"]
    assert set(told) == {"message", "type", "param", "code"}
    assert told["type"] == "invalid_request_error"


WORDS = st.sampled_from(["user", "system", "text", "file", "image_url", "data:a/b;base64,AA==", "AA==", "rlm", ""])
KEYS = st.sampled_from(
    ["role", "content", "type", "text", "file", "file_data", "file_id", "filename", "url", "image_url"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
OWN_KEYS = st.sampled_from([*NAMES, "progress", "sandbox"])


@given(st.lists(JSON, max_size=3), st.dictionaries(OWN_KEYS, JSON, max_size=3), JSON)
def test_whatever_is_sent_is_read_or_refused(messages, own, stream):
    body = {"model": "rlm", "messages": messages, "rlm": own, "stream": stream, "stream_options": own}
    found = read_or_refused(body)
    if isinstance(found, ApiError):
        assert found.status in (400, 413)
        assert json.dumps(found.body())
    else:
        assert found.asked.question
        assert found.settings.max_turns <= SETTINGS.max_turns


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("n", True),
        ("stop", ["END"]),
        ("tools", [{"type": "function"}]),
        ("tool_choice", "required"),
        ("response_format", {"type": "json_object"}),
        ("logprobs", True),
        ("modalities", ["text", "audio"]),
        ("audio", {}),
    ],
)
def test_what_cannot_be_ignored_is_refused(name, value):
    error = refusal({"model": "rlm", "messages": [USER], name: value})
    assert (error.status, error.param, error.code) == (400, name, "unsupported_parameter")


def test_what_can_be_ignored_is():
    harmless = {"temperature": 0, "max_tokens": 5, "max_completion_tokens": 5, "seed": 1, "user": "me", "n": 1}
    nothing: Any = {
        "stop": None,
        "tools": [],
        "tool_choice": "auto",
        "response_format": {"type": "text"},
        "unheard_of": {},
    }
    found = chat("q", **harmless, **nothing)
    assert found.settings == SETTINGS


# --- how runs end

EVERY_ERROR = [
    each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, errors.RunError) and each not in (errors.RunError, errors.ModelError)
]


@pytest.mark.parametrize("kind", EVERY_ERROR)
def test_every_way_in_which_a_run_fails_has_its_status(kind):
    failure = Failure(kind.__name__, "at http://inside with sk-key", 4)
    error = of_result(RunResult("a draft", False, "error", 1, RunUsage(), None, 1.0, "the-run", error=failure))
    assert error is not None
    assert error.status in (400, 500, 502, 503, 504)
    assert error.code != "run_failed"
    assert "(run the-run)" in str(error)
    assert "inside" not in str(error)


def test_a_run_that_was_cut_off_returns_its_draft_if_it_has_one():
    def ended(answer: str, reason: Any) -> int | None:
        error = of_result(RunResult(answer, False, reason, 1, RunUsage(), None, 1.0, "the-run"))
        return error.status if error else None

    reasons = ("max_turns", "max_cost", "max_tokens", "loop", "timeout", "interrupted")
    assert [ended("a draft", reason) for reason in reasons] == [None] * 6
    assert [ended("", reason) for reason in reasons] == [None, None, None, None, 504, 503]


# --- limits


def test_limits_may_be_lowered():
    found = chat("q", rlm={"max_turns": 3, "timeout": 0.5, "depth": 0, "max_tokens": 9, "max_sub_calls": None})
    lowered = {"max_turns": 3, "timeout": 0.5, "depth": 0, "max_tokens": 9}
    assert found.settings == SETTINGS.model_copy(update=lowered)


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"max_turns": 11}, "rlm.max_turns: at most 10 on this server"),
        ({"timeout": 1e9}, "rlm.timeout: at most 100 on this server"),
        ({"depth": 2}, "rlm.depth: at most 1"),
        ({"max_turns": 0}, "rlm.max_turns: a whole number"),
        ({"max_turns": 2.0}, "rlm.max_turns: a whole number"),
        ({"max_turns": True}, "rlm.max_turns: a whole number"),
        ({"timeout": "5"}, "rlm.timeout: a number"),
        ({"timeout": float("nan")}, "rlm.timeout: a number"),
        ({"timeout": float("-inf")}, "rlm.timeout: a number"),
        ({"max_cost": 1}, "price"),
        ({"sandbox": "process"}, "rlm.sandbox: not a limit"),
        ({"base_url": "http://evil"}, "rlm.base_url: not a limit"),
        ({"progress": "yes"}, "rlm.progress: true or false"),
    ],
)
def test_limits_are_never_raised_and_nothing_else_is_set(limits, told):
    error = refusal({"model": "rlm", "messages": [USER], "rlm": limits})
    assert error.status == 400
    assert told in str(error)
