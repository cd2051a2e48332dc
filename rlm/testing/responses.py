"""The Responses API for scripts that know messages: requests as such, and replies as bytes of that API."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rlm.testing import render
from rlm.testing.replies import Reply
from rlm.testing.script import ScriptedRequest

DONE = b""
OPENING = 4
"""Events up to the first piece of a text, which is among them."""
_ENCRYPTED = "reasoning.encrypted_content"
_USAGE = {
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "prompt_tokens_details": "input_tokens_details",
    "completion_tokens_details": "output_tokens_details",
}
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def messages_of(body: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The conversation of a request as chat messages; None if there is none."""
    given = body.get("input")
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list) or not all(isinstance(item, Mapping) for item in given):
        return None
    messages: list[dict[str, Any]] = []
    if isinstance(body.get("instructions"), str):
        messages.append({"role": "system", "content": body["instructions"]})
    for item in given:
        _add(messages, item)
    return messages


def _add(messages: list[dict[str, Any]], item: Mapping[str, Any]) -> None:
    match item.get("type", "message"):
        case "message":
            messages.append({"role": item.get("role"), "content": _content(item.get("content"))})
        case "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments")}
            call = {"id": item.get("call_id"), "type": "function", "function": function}
            # A reply's text and its calls are items of their own here, and one message there.
            if messages and messages[-1]["role"] == "assistant":
                messages[-1].setdefault("tool_calls", []).append(call)
            else:
                messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        case "function_call_output":
            messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")})


def _content(content: Any) -> Any:
    return [_part(part) for part in content] if isinstance(content, list) else content


def _part(part: Any) -> Any:
    match part:
        case {"type": "input_text" | "output_text", "text": text}:
            return {"type": "text", "text": text}
        case {"type": "input_image", "image_url": url}:
            return {"type": "image_url", "image_url": {"url": url}}
        case _:
            return part


def completion(request: ScriptedRequest, reply: Reply) -> bytes:
    """The whole reply as one JSON object."""
    return json.dumps(_response(request, reply)).encode()


def empty_completion(request: ScriptedRequest) -> dict[str, Any]:
    """A reply, or the last event of one, without any output in it."""
    response = {key: value for key, value in _response(request, Reply()).items() if key != "output"}
    return {"type": "response.completed", "response": response} if request.stream else response


def events(request: ScriptedRequest, reply: Reply, *, chunk_size: int) -> Iterator[bytes]:
    """The reply as server-sent events; the usage is in the last one."""
    response = _response(request, reply)
    told = [
        {"type": "response.created", "response": {**response, "status": "in_progress", "output": [], "usage": None}}
    ]
    for place, item in enumerate(response["output"]):
        told += [event | {"output_index": place} for event in _item_events(item, chunk_size)]
    ending = "response.incomplete" if response["status"] == "incomplete" else "response.completed"
    told.append({"type": ending, "response": response})
    for number, event in enumerate(told):
        data = json.dumps(event | {"sequence_number": number})
        yield f"event: {event['type']}\ndata: {data}\n\n".encode()


def _response(request: ScriptedRequest, reply: Reply) -> dict[str, Any]:
    reason = _INCOMPLETE.get(reply.reason())
    response: dict[str, Any] = {
        "id": "resp_scripted",
        "object": "response",
        "created_at": 0,
        "model": request.model,
        "status": "incomplete" if reason else "completed",
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "output": list(_output(request, reply)),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }
    usage = render.usage_of(request, reply)
    if usage is not None:
        response["usage"] = {_USAGE.get(name, name): value for name, value in usage.items()}
    return response


def _output(request: ScriptedRequest, reply: Reply) -> Iterator[dict[str, Any]]:
    if reply.reasoning is not None and _ENCRYPTED in (request.body.get("include") or ()):
        yield {"id": "rs_scripted", "type": "reasoning", "summary": [], "encrypted_content": reply.reasoning}
    if reply.text or (reply.text is not None and not reply.tool_calls):
        part = {"type": "output_text", "text": reply.text, "annotations": []}
        yield {"id": "msg_scripted", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    for number, call in enumerate(reply.calls()):
        yield {
            "id": f"fc_{number}",
            "type": "function_call",
            "status": "completed",
            "call_id": call["id"],
            **call["function"],
        }


def _item_events(item: dict[str, Any], chunk_size: int) -> Iterator[dict[str, Any]]:
    match item["type"]:
        case "message":
            kind, whole, begun = "response.output_text", item["content"][0]["text"], {**item, "content": []}
        case "function_call":
            kind, whole, begun = "response.function_call_arguments", item["arguments"], {**item, "arguments": ""}
        case _:
            kind, whole, begun = "", "", item
    yield {"type": "response.output_item.added", "item": {**begun, "status": "in_progress"}}
    if item["type"] == "message":
        part = {"type": "output_text", "text": "", "annotations": []}
        yield {"type": "response.content_part.added", "item_id": item["id"], "content_index": 0, "part": part}
    for piece in _pieces(whole, chunk_size):
        yield {"type": f"{kind}.delta", "item_id": item["id"], "content_index": 0, "delta": piece}
    if item["type"] == "message":
        yield {"type": f"{kind}.done", "item_id": item["id"], "content_index": 0, "text": whole}
    elif kind:
        yield {"type": f"{kind}.done", "item_id": item["id"], "arguments": whole}
    yield {"type": "response.output_item.done", "item": item}


def _pieces(text: str, size: int) -> Sequence[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]
