"""The tool calls of a sub-LLM's reply: native ones, or written into the text, as some models and servers do."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from rlm.protocols import Completion, Message, ToolOutput

_MARKUP = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_FENCE = re.compile(r"\A\s*```(?:json)?[ \t]*\n(.*)\n```\s*\Z", re.DOTALL)


class ToolCall(NamedTuple):
    """A tool call of a model: untrusted strings."""

    id: str
    name: str
    arguments: str

    def message(self) -> dict[str, Any]:
        """For the conversation: endpoints parse the arguments of earlier calls, and refuse what they cannot."""
        try:
            arguments = self.arguments if isinstance(json.loads(self.arguments), dict) else "{}"
        except (ValueError, RecursionError):
            arguments = "{}"
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": arguments}}


def calling(calls: Sequence[ToolCall], completion: Completion) -> Message:
    """The reply that made these calls, for the conversation; a text that was calls itself is not said twice."""
    said = completion.text if completion.tool_calls else ""
    return {"role": "assistant", "content": said or None, "tool_calls": [call.message() for call in calls]}


def returned(call: ToolCall, output: ToolOutput) -> Message:
    """What a call came to, for the conversation."""
    return {"role": "tool", "tool_call_id": call.id, "content": output.text}


def tool_calls(completion: Completion, turn: int, known: Collection[str]) -> list[ToolCall]:
    """The calls of a reply; `turn` makes their ids where there are none.

    A text counts as calls if it is nothing else: markup, or JSON with the name of a `known` tool and arguments.
    """
    given = [*completion.tool_calls] or _written(completion.text, known)
    return [_call(call, f"{turn}_{number}") for number, call in enumerate(given)]


def _call(call: Mapping[str, Any], otherwise: str) -> ToolCall:
    function = call.get("function")
    function = function if isinstance(function, Mapping) else {}
    name, arguments, id_ = function.get("name"), function.get("arguments"), call.get("id")
    return ToolCall(
        id_ if isinstance(id_, str) and id_ else f"call_{otherwise}",
        name if isinstance(name, str) and name else "unknown",
        arguments if isinstance(arguments, str) else json.dumps(arguments),
    )


def _written(text: str, known: Collection[str]) -> list[Mapping[str, Any]]:
    pieces = _MARKUP.findall(text)
    if not pieces:
        fenced = _FENCE.match(text)
        pieces = [fenced[1] if fenced else text]
    calls: list[Mapping[str, Any]] = []
    for piece in pieces:
        try:
            found = json.loads(piece)
        except (ValueError, RecursionError):
            continue
        for each in found if isinstance(found, list) else [found]:
            if isinstance(each, dict) and each.get("name") in known and isinstance(each.get("arguments"), dict):
                calls.append({"function": {"name": each["name"], "arguments": json.dumps(each["arguments"])}})
    return calls
