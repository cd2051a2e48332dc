"""Replies as bytes of the Chat Completions protocol: one JSON object, or server-sent events."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rlm.testing.replies import Fault, Reply
from rlm.testing.script import ScriptedRequest, message_text

DONE = b"data: [DONE]\n\n"
OPENING = 2
"""Events up to the first piece of a text, which is among them."""


def messages_of(body: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The conversation of a request; None if there is none."""
    messages = body.get("messages")
    return messages if isinstance(messages, list) else None


def usage_of(request: ScriptedRequest, reply: Reply) -> dict[str, Any] | None:
    """The `usage` object of a reply: as scripted, or one token per four characters, at least one."""
    if reply.usage is False:
        return None
    if reply.usage is not None:
        return dict(reply.usage)
    asked = sum(len(message_text(message)) for message in request.messages)
    answered = len(reply.text or "") + sum(len(call["function"]["arguments"]) for call in reply.calls())
    prompt_tokens, completion_tokens = max(1, asked // 4), max(1, answered // 4)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def completion(request: ScriptedRequest, reply: Reply) -> bytes:
    """The whole reply as one JSON object."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.tool_calls:
        message["tool_calls"] = reply.calls()
    body = {
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": 0,
        "model": request.model,
        "choices": [{"index": 0, "message": message, "finish_reason": reply.reason()}],
    }
    usage = usage_of(request, reply)
    if usage is not None:
        body["usage"] = usage
    return json.dumps(body).encode()


def empty_completion(request: ScriptedRequest) -> dict[str, Any]:
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion.chunk" if request.stream else "chat.completion",
        "created": 0,
        "model": request.model,
        "choices": [],
    }


def events(request: ScriptedRequest, reply: Reply, *, chunk_size: int) -> Iterator[bytes]:
    """The reply as server-sent events, with the usage event last where the request asks for it."""
    yield _event(request, {"role": "assistant", "content": ""})
    text = reply.text or ""
    for start in range(0, len(text), chunk_size):
        yield _event(request, {"content": text[start : start + chunk_size]})
    for index, call in enumerate(reply.calls()):
        yield from _call_events(request, index, call, chunk_size)
    yield _event(request, {}, finish_reason=reply.reason())
    usage = usage_of(request, reply)
    options = request.body.get("stream_options")
    if usage is not None and isinstance(options, Mapping) and options.get("include_usage"):
        yield sse({**empty_completion(request), "usage": usage})
    yield DONE


def error(status: int, message: str, *, code: str | None = None, param: str | None = None) -> bytes:
    """OpenAI's error object."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}}).encode()


def fault_error(fault: Fault) -> bytes:
    return error(fault.status, fault.message, code=fault.code, param=fault.param)


def sse(data: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def _call_events(request: ScriptedRequest, index: int, call: Mapping[str, Any], chunk_size: int) -> Iterator[bytes]:
    arguments = call["function"]["arguments"]
    head = {**call, "index": index, "function": {"name": call["function"]["name"], "arguments": ""}}
    yield _event(request, {"tool_calls": [head]})
    for start in range(0, len(arguments), chunk_size):
        piece = arguments[start : start + chunk_size]
        yield _event(request, {"tool_calls": [{"index": index, "function": {"arguments": piece}}]})


def _event(request: ScriptedRequest, delta: Mapping[str, Any], *, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return sse({**empty_completion(request), "choices": [choice]})
