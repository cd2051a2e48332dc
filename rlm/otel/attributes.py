"""What spans say, in the words of the semantic conventions for generative AI."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.trace import Span, Status, StatusCode

from rlm.events import Event

Attributes = dict[str, Any]


def agent(name: str, event: Event) -> Attributes:
    # The provider is the API that is spoken, whoever serves it.
    return {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "openai",
        "gen_ai.agent.name": name,
        "gen_ai.conversation.id": event["run_id"],
    }


def tool(name: str) -> Attributes:
    return {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name, "gen_ai.tool.type": "function"}


def server(url: Any) -> Attributes:
    parts = urlsplit(str(url or ""))
    return {"server.address": parts.hostname, "server.port": parts.port} if parts.hostname else {}


def fail(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR, kind))


def known(attributes: Mapping[str, Any]) -> Attributes:
    return {name: value for name, value in attributes.items() if value is not None}


def asked(event: Event) -> list[Any]:
    """The messages of a sub-call, without its system prompt where that is the usual one."""
    if messages := event.get("messages"):
        return list(messages)
    prompt = event.get("prompt")
    return prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]


def as_messages(messages: Sequence[Any]) -> str:
    """Chat messages in the shape of the conventions, as JSON."""
    told = []
    for message in messages:
        parts: list[Any] = []
        if message.get("content"):
            kind = "tool_call_response" if message["role"] == "tool" else "text"
            parts.append({"type": kind, "response" if kind != "text" else "content": text(message["content"])})
        for call in message.get("tool_calls") or ():
            parts.append({"type": "tool_call", "id": call.get("id"), **(call.get("function") or {})})
        told.append({"role": message["role"], "parts": parts})
    return json.dumps(told, ensure_ascii=False, default=str)


def text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def ns(ts: float) -> int:
    return int(ts * 1e9)
