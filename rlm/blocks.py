"""Finds the first complete piece of code in a streamed reply.

Understood are fenced blocks (```` ```repl ````, `python`, `py`, with backticks or tildes), and the
`<tool_call>` markup that some models write as text. Fences of other languages and a leading
`<think>` section are passed over. Work is done by whole lines, so the way in which a reply is cut
into pieces cannot change the outcome.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

_LANGUAGES = frozenset({"repl", "python", "py", "python3", "ipython"})
_TOOL_NAMES = frozenset({"python", "repl", "ipython", "execute", "code"})
_OPENING = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*\{?([\w+-]*)([^`\n]*)")
_TAG, _END_TAG = "<tool_call>", "</tool_call>"


class Block(NamedTuple):
    """A complete piece of code."""

    code: str
    end: int
    """Characters of the reply up to its end, the closing fence included."""


Broken = Literal["unclosed", "arguments", "unknown_tool", "length"]
"""Why a reply that tried to hold code holds none."""


class BlockParser:
    """Fed with a reply piece by piece, it tells the first complete block as soon as it is there."""

    def __init__(self) -> None:
        self.broken: Broken | None = None
        self._state: Callable[[str], Block | None] = self._start
        self._buffer = ""
        self._offset = 0
        self._fence = ""
        self._indent = ""
        self._lines: list[str] = []
        self._candidate: Block | None = None

    def feed(self, text: str) -> Block | None:
        """The first block, once; not to be fed any more after that."""
        self._buffer += text
        if "\n" not in text:
            return None
        *lines, self._buffer = self._buffer.split("\n")
        for line in lines:
            self._offset += len(line) + 1
            if block := self._state(line):
                return block
        return None

    def finish(self, *, truncated: bool = False) -> Block | None:
        """The reply is over: what its last line still gives, or a block left open unless the reply was cut short."""
        self._offset += len(self._buffer)
        if block := self._state(self._buffer):
            return block
        if self._state == self._in_code:
            return self._unclosed(truncated)
        if self._state == self._in_markup:
            self.broken = "unclosed"
        return None

    # --- states: each takes one line

    def _start(self, line: str) -> Block | None:
        if not line.strip():
            return None
        self._state = self._outside
        if line.lstrip().startswith("<think>"):
            self._state = self._in_thought
        return self._state(line)

    def _in_thought(self, line: str) -> Block | None:
        if "</think>" not in line:
            return None
        self._state = self._outside
        return self._outside(line.split("</think>", 1)[1])

    def _outside(self, line: str) -> Block | None:
        if _TAG in line:
            self._state, self._lines = self._in_markup, []
            return self._in_markup(line.split(_TAG, 1)[1])
        opening = _OPENING.fullmatch(line.rstrip())
        if opening:
            self._indent, self._fence, language = opening[1], opening[2], opening[3].lower()
            self._lines, self._candidate = [], None
            self._state = self._in_code if language in _LANGUAGES else self._in_other
        return None

    def _in_other(self, line: str) -> Block | None:
        if self._closes(line):
            self._state = self._outside
        return None

    def _in_code(self, line: str) -> Block | None:
        if self._closes(line):
            block = Block(self._code(), self._offset)
            if not _inside_string(block.code):
                return block
            # The fence may belong to a string; if the string never ends, it was the end after all.
            self._candidate = self._candidate or block
        self._lines.append(line.removeprefix(self._indent).removesuffix("\r"))
        return None

    def _in_markup(self, line: str) -> Block | None:
        if _END_TAG not in line:
            self._lines.append(line)
            return None
        self._lines.append(line.split(_END_TAG, 1)[0])
        self._state = self._outside
        found = tool_code("\n".join(self._lines))
        if isinstance(found, str):
            self.broken = "arguments" if found == "arguments" else "unknown_tool"
            return None
        return Block(found.code, self._offset)

    # --- helpers

    def _code(self) -> str:
        return "\n".join(self._lines)

    def _closes(self, line: str) -> bool:
        mark = line.strip()
        return len(mark) >= len(self._fence) and not mark.strip(self._fence[0])

    def _unclosed(self, truncated: bool) -> Block | None:
        """Whole code without its fence counts; so does a fence within a string that never ended."""
        code = self._code()
        if not truncated and code.strip() and _syntax_error(code) is None:
            return Block(code, self._offset)
        if self._candidate is None:
            self.broken = "unclosed"
        return self._candidate


class ToolCall(NamedTuple):
    """A native tool call whose arguments are complete."""

    id: str
    name: str
    arguments: str
    code: str | None
    broken: Broken | None


class ToolCallParser:
    """Puts the pieces of the first native tool call together; further calls are passed over."""

    def __init__(self) -> None:
        self._index: Any = None
        self._id = self._name = self._arguments = ""

    def feed(self, piece: Mapping[str, Any]) -> ToolCall | None:
        """The call, as soon as its arguments are a whole JSON object or another call begins."""
        index = piece.get("index", 0)
        if self._index is None:
            self._index = index
        elif index != self._index:
            return self.finish()
        self._id = self._id or piece.get("id") or ""
        self._name += piece.get("name") or ""
        self._arguments += piece.get("arguments") or ""
        return self.finish() if "}" in (piece.get("arguments") or "") and _is_json(self._arguments) else None

    def finish(self) -> ToolCall | None:
        """The call as it stands at the reply's end; None if there was none."""
        if self._index is None:
            return None
        found = tool_code(json.dumps({"name": self._name}), arguments=self._arguments)
        code, broken = (None, found) if isinstance(found, str) else (found.code, None)
        return ToolCall(self._id or "call_0", self._name or "python", self._arguments, code, broken)


class ToolCode(NamedTuple):
    """The code of a well-formed tool call."""

    code: str


def tool_code(call: str, *, arguments: str | None = None) -> ToolCode | Literal["arguments", "unknown_tool"]:
    """The code in `{"name": "python", "arguments": {"code": …}}`, or what is wrong with it."""
    try:
        body = json.loads(call)
        given = body.get("arguments") if arguments is None else arguments
        given = json.loads(given) if isinstance(given, str) else given
        name, code = body.get("name"), given.get("code")
    except (ValueError, AttributeError, RecursionError):
        return "arguments"
    if name not in _TOOL_NAMES:
        return "unknown_tool"
    return ToolCode(code) if isinstance(code, str) else "arguments"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _syntax_error(code: str) -> str | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse(code)
        except SyntaxError as error:
            return error.msg
        except (ValueError, RecursionError, MemoryError) as error:
            return str(error) or "too deep"
    return None


def _inside_string(code: str) -> bool:
    """Whether the code ends within a triple-quoted string."""
    return (_syntax_error(code) or "").startswith("unterminated triple-quoted")
