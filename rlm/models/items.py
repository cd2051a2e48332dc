"""Between the Chat Completions shape, which the rest of `rlm` speaks, and that of the Responses API. Pure.

    system          the first message: `instructions`; a later one: a message item
    user            a message item; `text` and `image_url` parts become `input_text` and `input_image`
    assistant       a message item for its text, and a `function_call` item for each tool call
    tool            a `function_call_output` item
    tools, tool_choice, response_format, reasoning_effort, verbosity, and the caps: their like in Responses

What is not known here is passed on as it is: the endpoint says what it thinks of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rlm.models.wire import CAPS, text_of, to_string
from rlm.protocols import Message

Item = dict[str, Any]

LEAST_OUTPUT = 16
"""Tokens: the API refuses a lower cap."""


class Input(NamedTuple):
    """A conversation, as the Responses API takes it."""

    instructions: str | None
    items: list[Item]


def to_input(messages: Sequence[Message], recalled: Callable[[str], Sequence[Item]] = lambda _: ()) -> Input:
    """`recalled` gives the reasoning items that led to the tool call of an id; they go right before it."""
    instructions, rest = None, messages
    # A request without any input is refused, so a system message that is alone stays an item.
    if len(messages) > 1 and messages[0].get("role") == "system":
        instructions, rest = text_of(messages[0]), messages[1:]
    items: list[Item] = []
    for message in rest:
        items += _items(message, recalled)
    return Input(instructions, items)


def _items(message: Message, recalled: Callable[[str], Sequence[Item]]) -> list[Item]:
    role, content = message.get("role"), message.get("content")
    if role == "tool":
        return [{"type": "function_call_output", "call_id": message.get("tool_call_id"), "output": text_of(message)}]
    if role != "assistant":
        return [{"role": role, "content": _content(content)}]
    said: list[Item] = [{"role": "assistant", "content": text_of(message)}] if text_of(message) else []
    calls = message.get("tool_calls") or []
    # The text comes after the reasoning that led to it, so it goes between that and the first call.
    items = list(recalled(calls[0]["id"])) + said if calls else said
    for number, call in enumerate(calls):
        if number:
            items += recalled(call["id"])
        function = call["function"]
        items.append(
            {
                "type": "function_call",
                "call_id": call["id"],
                "name": function["name"],
                "arguments": function["arguments"],
            }
        )
    return items or [{"role": "assistant", "content": ""}]


def _content(content: Any) -> Any:
    return [_part(part) for part in content] if isinstance(content, list) else content or ""


def _part(part: Any) -> Any:
    if not isinstance(part, Mapping):
        return part
    match part.get("type"):
        case "text":
            return {"type": "input_text", "text": part.get("text")}
        case "image_url":
            image = part.get("image_url")
            image = image if isinstance(image, Mapping) else {"url": image}
            return {"type": "input_image", "image_url": image.get("url"), "detail": image.get("detail") or "auto"}
        case "file" if isinstance(part.get("file"), Mapping):
            return {"type": "input_file", **part["file"]}
        case _:
            return part


def to_params(params: Mapping[str, Any], max_tokens: int | None) -> dict[str, Any]:
    """The parameters of a request; a cap among them wins over `max_tokens`."""
    given = dict(params)
    caps = [given.pop(name) for name in CAPS if name in given]
    cap = caps[0] if caps else max_tokens
    if cap is not None:
        given["max_output_tokens"] = max(cap, LEAST_OUTPUT) if isinstance(cap, int) else cap
    if isinstance(tools := given.get("tools"), list | tuple):
        given["tools"] = [_tool(tool) for tool in tools]
    if isinstance(choice := given.get("tool_choice"), Mapping) and isinstance(choice.get("function"), Mapping):
        given["tool_choice"] = {"type": "function", **choice["function"]}
    text = _text(given.pop("response_format", None))
    if "verbosity" in given:
        text["verbosity"] = given.pop("verbosity")
    effort = {"effort": given.pop("reasoning_effort")} if "reasoning_effort" in given else {}
    for name, said in (("text", text), ("reasoning", effort)):
        own = given.get(name)
        if said and (own is None or isinstance(own, Mapping)):
            given[name] = {**said, **(own or {})}
    return given


def _tool(tool: Any) -> Any:
    if not isinstance(tool, Mapping) or not isinstance(tool.get("function"), Mapping):
        return tool
    # Chat Completions are not strict unless asked to be; Responses are, and refuse schemas that are not of that kind.
    return {"type": "function", "strict": False, **tool["function"]}


def _text(response_format: Any) -> dict[str, Any]:
    if not isinstance(response_format, Mapping):
        return {}
    if isinstance(schema := response_format.get("json_schema"), Mapping):
        return {"format": {"type": "json_schema", **schema}}
    return {"format": dict(response_format)}


def to_call(item: Mapping[str, Any]) -> dict[str, Any]:
    """A `function_call` item as a tool call of a message."""
    function = {"name": to_string(item.get("name")), "arguments": to_string(item.get("arguments"))}
    return {"id": to_string(item.get("call_id")), "type": "function", "function": function}


def said_by(item: Mapping[str, Any]) -> tuple[str, str]:
    """What a `message` item says, and what it refuses."""
    parts = item.get("content")
    parts = [part for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []
    said = "".join(to_string(part.get("text")) for part in parts if part.get("type") == "output_text")
    return said, "".join(to_string(part.get("refusal")) for part in parts if part.get("type") == "refusal")
