"""Events without the texts of documents: for runs that are shown to others.

What stays: the question, the code, names (of models, files, variables, tools, errors), the settings, and all that is a
size, a count of tokens, a time, a reason or a hash. What goes: prompts, replies, outputs, answers, arguments and
results of tools and functions, data, messages of errors, notices. Each becomes `[redacted: 1,234 characters]`, which
depends on its length alone. What is not known to be harmless goes.

Of a reply with code the code stays. It may quote a document: for what must not get out in any case, there are patterns.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rlm.errors import ConfigError
from rlm.events import Event

MATCH = "[redacted]"
"""Stands where a pattern matched."""

Redact = Callable[[Event], Event]

_STAYS = frozenset(
    {
        *(
            "type",
            "seq",
            "ts",
            "run_id",
            "rollout",
            "past",
            "schema_version",
            "question",
            "model",
            "sub_model",
            "models",
        ),
        *(
            "sandbox",
            "depth",
            "settings",
            "limits",
            "inputs",
            "turns",
            "calls",
            "seconds",
            "tools",
            "functions",
            "shipped",
        ),
        *(
            "read_only",
            "parent",
            "batch",
            "index",
            "key",
            "max_turns",
            "ready",
            "stop_reason",
            "reason",
            "sandbox_lost",
        ),
        *("turn", "last", "max_tokens", "kept", "code", "broken", "estimated", "attempts", "first_turn", "last_turn"),
        *("done", "tokens_before", "tokens_after", "input_tokens", "output_tokens", "cached_input_tokens", "status"),
        *("omitted", "active_seconds", "bytes", "field", "size", "kind", "params", "schema", "loop", "ok", "cached"),
        *("cancelled", "waited", "cache", "depth_limited", "child", "version", "usage", "cost", "trace", "metrics"),
    }
)
_NAME = re.compile(r"[\w.:/-]{1,80}")
"""What a sandbox or a model calls a name, and looks like one."""


def redactor(*, content: bool = True, patterns: Iterable[str] = ()) -> Redact:
    """A function from whole events, in the order of their trace, to what may be shown of them.

    `content`: without the texts of documents, as above. `patterns` are regular expressions: every match, in every text
    of an event, becomes `[redacted]`; without `content` nothing else goes. Raises `ConfigError` for one that is none.
    """
    compiled = [_compile(pattern) for pattern in patterns]
    content_of = _Content() if content else None

    def redact(event: Event) -> Event:
        if compiled:
            event = {name: value if name in _FRAME else _blot(value, compiled) for name, value in event.items()}
        return content_of(event) if content_of else event

    return redact


_FRAME = frozenset({"type", "seq", "ts", "run_id", "rollout", "batch", "parent", "child", "key"})
"""What holds the events together."""


def placeholder(value: Any) -> Any:
    """What stands in the place of a text, or of data; nothing, and what is empty, stays."""
    if value is None or value == "":
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return f"[redacted: {len(text):,} characters]"


class _Content:
    """Redacts the events of one trace. Remembers replies, since they come again among the messages of requests."""

    def __init__(self) -> None:
        self._replies: dict[str, str] = {}

    def __call__(self, event: Event) -> Event:
        return {name: self._field(event, name, value) for name, value in event.items() if name != "blobs"}

    def _field(self, event: Event, name: str, value: Any) -> Any:
        match name:
            case "text" if event.get("code"):
                return self._reply(str(value), str(event["code"]))
            case "tool_calls":
                return [self._tool_call(call) for call in value] if isinstance(value, list) else value
            case "tool_call" if isinstance(value, Mapping):
                return {**value, "name": _named(value["name"]), "arguments": placeholder(value["arguments"])}
            case "messages":
                return [self._message(message) for message in value]
            case "error" if isinstance(value, Mapping):
                return _error(value)
            case "result" if event["type"] == "run.completed":
                return {name: self._field(event, name, inner) for name, inner in value.items() if name != "result"}
            case "variables" | "notices" | "args" | "kwargs":
                return _each(value, _named if name == "variables" else placeholder)
            case "name" | "finish_reason":
                return _named(value)
            case "failed":
                return value if isinstance(value, bool | int) else placeholder(value)
        return value if name in _STAYS else placeholder(value)

    def _reply(self, text: str, code: str) -> str:
        """A reply of which the code is left, in its fence."""
        prose = text.rpartition(code)[0].rpartition("```")[0] or ("" if code in text else text)
        told = "\n".join(filter(None, [placeholder(prose.strip()), f"```repl\n{code}\n```"]))
        self._replies[text] = told
        return told

    def _message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        told = {"role": message.get("role")}
        if "tool_call_id" in message:
            told["tool_call_id"] = _named(message["tool_call_id"])
        content = message.get("content")
        told["content"] = self._replies.get(content) if isinstance(content, str) else None
        told["content"] = told["content"] or placeholder(content)
        if calls := message.get("tool_calls"):
            told["tool_calls"] = [self._tool_call(call) for call in calls]
        return told

    def _tool_call(self, call: Any) -> dict[str, Any]:
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping):
            return {"function": placeholder(call)}
        name, arguments = _named(function.get("name")), placeholder(function.get("arguments"))
        return {"id": _named(call.get("id")), "type": "function", "function": {"name": name, "arguments": arguments}}


def _error(error: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _named(value) if name in ("kind", "name", "type") else placeholder(value) for name, value in error.items()
    }


def _each(value: Any, told: Callable[[Any], Any]) -> Any:
    """A list or an object whose values are `told` one by one."""
    if isinstance(value, Mapping):
        return {_named(name): told(inner) for name, inner in value.items()}
    return [told(inner) for inner in value] if isinstance(value, list | tuple) else placeholder(value)


def _named(value: Any) -> Any:
    return value if isinstance(value, str) and _NAME.fullmatch(value) else placeholder(value)


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"{pattern!r} is not a regular expression: {error}") from error


def _blot(value: Any, patterns: list[re.Pattern[str]]) -> Any:
    """`value` without what matches, in texts and names at any depth."""
    if isinstance(value, str):
        for pattern in patterns:
            value = pattern.sub(MATCH, value)
        return value
    if isinstance(value, Mapping):
        return {_blot(name, patterns): _blot(inner, patterns) for name, inner in value.items()}
    return [_blot(inner, patterns) for inner in value] if isinstance(value, list | tuple) else value
