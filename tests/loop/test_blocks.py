"""Which code a reply holds, however it is cut into pieces."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm.blocks import Block, BlockParser, ToolCall, ToolCallParser

FENCE = "```"


def parse(pieces: list[str], *, truncated: bool = False) -> tuple[Block | None, str | None]:
    parser = BlockParser()
    for piece in pieces:
        if block := parser.feed(piece):
            return block, parser.broken
    return parser.finish(truncated=truncated), parser.broken


CASES = {
    "repl": ("Look:\n```repl\nprint(1)\n```\nIt prints 1.", "print(1)"),
    "python with a remark": ("```python title=x\nprint(1)\n```\n", "print(1)"),
    "py, upper case, longer fence": ("````PY\nprint('```')\n````\n", "print('```')"),
    "tildes": ("~~~python\nx = 1\n~~~\n", "x = 1"),
    "the first of two": ("```py\na\n```\n```py\nb\n```\n", "a"),
    "another language before": ("```json\n{}\n```\n```bash\nls\n```\n```repl\nx\n```", "x"),
    "code quoted in an unnamed fence": ("````\n```python\nno\n```\n````\n```python\nyes\n```\n", "yes"),
    "no fence at the end": ("```python\nx = 1", "x = 1"),
    "fence in a string": (
        '```python\np = """\n```json\n{}\n```\n"""\nq = 2\n```\n',
        'p = """\n```json\n{}\n```\n"""\nq = 2',
    ),
    "fences in an f-string": ('```python\np = f"""\n```\n{1}\n```\n"""\n```\n', 'p = f"""\n```\n{1}\n```\n"""'),
    "a string that never ends": ('```python\np = """oops\n```\nWe will see.', 'p = """oops'),
    "a syntax error is for the model to see": ("```python\nif x\n```\nprose", "if x"),
    "magics": ("```python\n!ls 'it\n```\n", "!ls 'it"),
    "indented in a list": ("1. So:\n   ```python\n   if x:\n       y\n   ```\n", "if x:\n    y"),
    "windows line ends": ("```python\r\nx = 1\r\ny = 2\r\n```\r\n", "x = 1\ny = 2"),
    "thoughts": ("<think>\n```python\nno\n```\n</think>\n```python\nyes\n```\n", "yes"),
    "leaked tool call": ('<tool_call>\n{"name": "python", "arguments": {"code": "x\\ny"}}\n</tool_call>', "x\ny"),
    "leaked tool call, one line": ('So: <tool_call>{"name":"python","arguments":{"code":"x"}}</tool_call>\nmore', "x"),
    "arguments as a string": ('<tool_call>{"name":"python","arguments":"{\\"code\\":\\"x\\"}"}</tool_call>\n', "x"),
    "inline code is not a block": ("Use ```python x``` here.\n```py\ny\n```\n", "y"),
    "an empty block": ("```python\n```\n", ""),
}


@pytest.mark.parametrize(("reply", "code"), CASES.values(), ids=CASES)
def test_the_first_code(reply: str, code: str) -> None:
    block, _ = parse([reply])
    assert block is not None
    assert block.code == code


@pytest.mark.parametrize(
    ("reply", "broken"),
    [
        ("The answer is 42.", None),
        ("", None),
        ("```json\n{}\n```\n", None),
        ("```python\nprint(", "unclosed"),
        ("```python\n", "unclosed"),
        ("<tool_call>{'name': python}</tool_call>\n", "arguments"),
        ('<tool_call>{"name": "search", "arguments": {"code": "x"}}</tool_call>\n', "unknown_tool"),
        ('<tool_call>{"name": "python", "arg', "unclosed"),
        ("<tool_call>" + "[" * 100_000 + "</tool_call>\n", "arguments"),
    ],
)
def test_no_code(reply: str, broken: str | None) -> None:
    assert parse([reply]) == (None, broken)


def test_a_reply_that_was_cut_short_is_not_run() -> None:
    assert parse(["```python\nx = 1\n"], truncated=True) == (None, "unclosed")


def test_the_end_is_behind_the_closing_fence() -> None:
    reply = "Look:\n```repl\nprint(1)\n```\nIt prints 1."
    block, _ = parse([reply])
    assert block is not None
    assert reply[: block.end] == "Look:\n```repl\nprint(1)\n```\n"


LINES = st.sampled_from(
    [
        *("```python", "```", "~~~", "~~~py", "```json", '"""', "x = '''", "print(1)", "", "prose"),
        *("<think>", "</think>", "<tool_call>", "</tool_call>", '{"name":"python","arguments":{"code":"1"}}'),
        *("  ```py", "  x", "é\u2028\r"),
    ]
)


@given(st.lists(LINES, max_size=14), st.randoms(use_true_random=False), st.booleans())
def test_the_cut_into_pieces_changes_nothing(lines: list[str], random, newline: bool) -> None:
    reply = "\n".join(lines) + "\n" * newline
    cuts = sorted(random.sample(range(len(reply) + 1), min(len(reply), random.randint(0, 12))))
    pieces = [reply[a:b] for a, b in zip([0, *cuts], [*cuts, len(reply)], strict=True)]
    whole = parse([reply])
    assert parse(pieces) == whole
    assert parse(list(reply)) == whole


@given(st.text(max_size=400))
def test_any_text_is_survived(text: str) -> None:
    parse([text])
    parse(list(text))


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), max_size=80))
def test_any_string_literal_survives_the_fence(text: str) -> None:
    code = f"x = {text!r}\ny = '''\n{FENCE}\n'''"
    block, _ = parse([f"{FENCE}python\n{code}\n{FENCE}\n"])
    assert block is not None
    assert block.code == code


def feed(pieces: list[str], name: str = "python") -> ToolCall | None:
    parser = ToolCallParser()
    for number, piece in enumerate(pieces):
        head = {"id": "c1", "name": name} if not number else {"id": None, "name": None}
        if call := parser.feed({"index": 0, "arguments": piece, **head}):
            return call
    return parser.finish()


@given(st.text(max_size=60), st.integers(1, 9))
def test_a_native_call_is_complete_with_its_arguments(code: str, step: int) -> None:
    arguments = json.dumps({"code": code + "}"})
    call = feed([arguments[i : i + step] for i in range(0, len(arguments), step)])
    assert call is not None
    assert (call.id, call.code, call.arguments) == ("c1", code + "}", arguments)


@pytest.mark.parametrize("arguments", ['{"code": "x', "print(1)", "[]", '{"code": 1}', "{}", ""])
def test_broken_arguments_say_so(arguments: str) -> None:
    call = feed([arguments])
    assert call is not None
    assert (call.code, call.broken) == (None, "arguments")


def test_another_tool_says_so() -> None:
    call = feed(['{"code": "x"}'], name="search")
    assert call is not None
    assert (call.code, call.broken, call.name) == (None, "unknown_tool", "search")


def test_only_the_first_of_several_calls_counts() -> None:
    parser = ToolCallParser()
    parser.feed({"index": 0, "id": "a", "name": "python", "arguments": '{"code": "1"'})
    call = parser.feed({"index": 1, "id": "b", "name": "python", "arguments": '{"code": "2"}'})
    assert call is not None
    assert (call.id, call.broken) == ("a", "arguments")


def test_no_call() -> None:
    assert ToolCallParser().finish() is None
