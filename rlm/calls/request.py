"""From the guest's hostile JSON to a request that can be sent.

A prompt is a string, a list of messages, or an object with `prompt` or `messages` and options of its
own. Everything is rebuilt from checked values; nothing of the guest's objects is passed on as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from rlm.estimate import BYTES_PER_TOKEN, MESSAGE_OVERHEAD
from rlm.protocols import Message

MAX_MESSAGES = 1000
MAX_SYSTEM = 1 << 20

_PARAMS = {
    "temperature": (0.0, 2.0),
    "top_p": (0.0, 1.0),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
}
_OPTIONS = frozenset({"model", "system", "max_tokens", "params", "dedupe", "timeout", *_PARAMS, "seed", "stop"})
_ROLES = frozenset({"system", "user", "assistant"})


class Options(NamedTuple):
    """The checked options of a batch, or of one prompt of it."""

    model: str
    system: str
    max_tokens: int
    timeout: float | None
    dedupe: bool
    params: Mapping[str, Any]


class Request(NamedTuple):
    """One sub-call, ready to be sent."""

    messages: list[Message]
    options: Options
    input_tokens: int
    """Estimated."""
    content_key: str
    """A digest of all that determines the reply; equal requests have equal keys."""


class TooLong(ValueError):
    """The guest found a prompt too long to be sent at all."""


class Defaults(NamedTuple):
    """What applies where the guest says nothing, and the bounds of what it may say."""

    models: tuple[str, ...]
    """The models that sub-calls may name; the first is the default."""
    system: str
    max_tokens: int
    """Also the most that may be asked for."""
    timeout: float
    """Seconds; also the most that may be asked for."""


def parse_options(raw: Mapping[str, Any], defaults: Defaults) -> Options:
    """Raises `ValueError` with a message for the model."""
    raw = {key: value for key, value in raw.items() if value is not None}
    if unknown := sorted(str(key)[:40] for key in raw.keys() - _OPTIONS):
        raise ValueError(f"unknown option {unknown[0]!r}; there are: {', '.join(sorted(_OPTIONS))}")
    model = raw.get("model", defaults.models[0])
    if model not in defaults.models:
        raise ValueError(f"model: {str(model)[:80]!r} is not available; there are: {', '.join(defaults.models)}")
    dedupe = raw.get("dedupe", False)
    if not isinstance(dedupe, bool):
        raise ValueError("dedupe: True or False")
    return Options(
        model=model,
        system=_text("system", raw.get("system", defaults.system), MAX_SYSTEM),
        max_tokens=int(_number("max_tokens", raw.get("max_tokens", defaults.max_tokens), 1, defaults.max_tokens)),
        timeout=_number("timeout", raw["timeout"], 0.001, defaults.timeout) if "timeout" in raw else None,
        dedupe=dedupe,
        params=_params(raw),
    )


def parse_prompt(prompt: Any, base: Mapping[str, Any], options: Options, defaults: Defaults) -> Request:
    """`base` are the batch's raw options, `options` the same, checked. Raises `ValueError`."""
    body = prompt
    if isinstance(prompt, dict):
        _refused_by_guest(prompt)
        own = {key: value for key, value in prompt.items() if key not in ("prompt", "messages")}
        if own:
            options = parse_options({**base, **own}, defaults)
        if ("prompt" in prompt) == ("messages" in prompt):
            raise ValueError("a prompt object has either 'prompt' or 'messages'")
        body = prompt.get("prompt", prompt.get("messages"))
    messages = [{"role": "user", "content": body}] if isinstance(body, str) else _messages(body)
    if options.system and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": options.system})
    return _measure(messages, options)


def _refused_by_guest(prompt: Mapping[str, Any]) -> None:
    """What the guest sends in place of a prompt that it cannot send."""
    if "unusable" in prompt:
        raise ValueError(str(prompt["unusable"])[:500])
    if "too_long" in prompt:
        raise TooLong("the prompt is too long to be sent")


def _measure(messages: list[Message], options: Options) -> Request:
    """Encode each message once, for the key and for the size."""
    digest = hashlib.blake2b(digest_size=20)
    digest.update(json.dumps([options.model, options.max_tokens, options.params], sort_keys=True).encode())
    size = 0
    for message in messages:
        try:
            data = message["content"].encode()
        except UnicodeEncodeError:
            raise ValueError("the prompt holds lone surrogates, which no endpoint accepts") from None
        digest.update(f"{message['role']} {len(data)}\n".encode())
        digest.update(data)
        size += len(data)
    tokens = -(-size // BYTES_PER_TOKEN) + MESSAGE_OVERHEAD * len(messages)
    return Request(messages, options, tokens, digest.hexdigest())


def _messages(body: Any) -> list[Message]:
    if not isinstance(body, list) or not body:
        raise ValueError("a prompt is a string, a list of messages, or an object with 'prompt' or 'messages'")
    if len(body) > MAX_MESSAGES:
        raise ValueError(f"a prompt has at most {MAX_MESSAGES} messages")
    return [_message(message) for message in body]


def _message(message: Any) -> Message:
    if not isinstance(message, dict) or message.keys() != {"role", "content"}:
        raise ValueError("a message is {'role': …, 'content': …}")
    role, content = message["role"], message["content"]
    if not isinstance(role, str) or role not in _ROLES or not isinstance(content, str):
        raise ValueError("a message has a role of system, user or assistant, and a string as content")
    return {"role": role, "content": content}


def _params(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Sampling parameters, given by name or inside `params`."""
    given = raw.get("params", {})
    if not isinstance(given, dict):
        raise ValueError("params: an object")
    params: dict[str, Any] = {}
    for name, value in {**given, **{key: raw[key] for key in (*_PARAMS, "seed", "stop") if key in raw}}.items():
        if name in _PARAMS:
            params[name] = _number(name, value, *_PARAMS[name])
        elif name == "seed":
            params[name] = int(_number(name, value, -(2**63), 2**63 - 1))
        elif name == "stop":
            params[name] = _stop(value)
        else:
            raise ValueError(
                f"params: {str(name)[:40]!r} is not allowed; there are: {', '.join((*_PARAMS, 'seed', 'stop'))}"
            )
    return params


def _stop(value: Any) -> list[str]:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not 1 <= len(stops) <= 4:
        raise ValueError("stop: one to four strings")
    return [_text("stop", stop, 200) for stop in stops]


def _text(name: str, value: Any, most: int) -> str:
    if not isinstance(value, str) or len(value) > most:
        raise ValueError(f"{name}: a string of at most {most:,} characters")
    return value


def _number(name: str, value: Any, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name}: a number")
    if not least <= value <= most:
        raise ValueError(f"{name}: between {least:g} and {most:g}")
    return value
