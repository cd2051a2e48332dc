"""From the guest's hostile JSON to a request that can be sent.

A prompt is a string, a list of messages, or an object with `prompt` or `messages`, `images`, `audio`, and options of
its own; that of an `rlm_batch` is an object with a `query`. Everything is rebuilt from checked values;
nothing of the guest's objects is passed on as it is, but for the descriptor of a child's context.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from rlm.calls.media import Media, parse_media
from rlm.calls.options import Defaults, Options, parse_options
from rlm.estimate import BYTES_PER_TOKEN, MESSAGE_OVERHEAD
from rlm.prompts import render
from rlm.protocols import Message

MAX_MESSAGES = 1000
MAX_QUERY = 1 << 20
MAX_DESCRIPTOR = 1 << 16
"""Bytes of a context's descriptor as JSON."""
MAX_LOOK = 4000

_ROLES = frozenset({"system", "user", "assistant"})
_OF_A_PROMPT = ("prompt", "messages", "images", "audio")


class Request(NamedTuple):
    """One sub-call, ready to be sent."""

    messages: list[Message]
    options: Options
    input_tokens: int
    """Estimated."""
    content_key: str
    """A digest of all that determines the reply; equal requests have equal keys."""
    depth_limited: bool = False
    """Whether it stands for a child, which there can be none of at this depth."""


class ChildRequest(NamedTuple):
    """One question to a child."""

    query: str
    context: Mapping[str, Any]
    """The guest's descriptor: opaque, bounded."""
    context_key: str
    look: str
    """What the guest says of the context."""
    options: Options
    content_key: str
    input_tokens: int = 0


class Refused(ValueError):
    """The guest itself found that a prompt cannot be sent."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def parse_prompt(
    prompt: Any, base: Mapping[str, Any], options: Options, defaults: Defaults, *, salt: str = ""
) -> Request:
    """`base` are the batch's raw options, `options` the same, checked; `salt` is what else determines the reply.

    Raises `ValueError`.
    """
    body, media = prompt, Media()
    if isinstance(prompt, dict):
        _refused_by_guest(prompt)
        own = {key: value for key, value in prompt.items() if key not in _OF_A_PROMPT}
        if own:
            options = parse_options({**base, **own}, defaults)
        if ("prompt" in prompt) == ("messages" in prompt):
            raise ValueError("a prompt object has either 'prompt' or 'messages'")
        body = prompt.get("prompt", prompt.get("messages"))
        media = parse_media(prompt)
    messages = [{"role": "user", "content": body}] if isinstance(body, str) else _messages(body)
    if options.system and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": options.system})
    return _measure(messages, media, options, salt)


def parse_limited(prompt: Any, options: Options, defaults: Defaults, *, salt: str = "") -> Request:
    """A question to a child as a plain prompt, since the depth limit is reached. Raises `ValueError`."""
    query = _query(prompt)
    pasted = prompt.get("pasted")
    if pasted is not None and not isinstance(pasted, str):
        raise ValueError("pasted: a string")
    if "context" in prompt:
        raise ValueError("the depth limit is reached: there are no children here")
    text = render("limited", query=query, context=pasted)
    return parse_prompt(text, {}, options, defaults, salt=salt)._replace(depth_limited=True)


def parse_child(prompt: Any, options: Options, *, depth: int) -> ChildRequest:
    """`depth` is the child's: one that asks its own child the very same thing must not wait for itself.

    Raises `ValueError`.
    """
    query = _query(prompt)
    context, key, look = prompt.get("context"), prompt.get("key"), prompt.get("look")
    if not isinstance(context, dict) or not isinstance(key, str) or not isinstance(look, str):
        raise ValueError("a question to a child comes with a context, its key and a look at it")
    if not all(isinstance(value, str | int) for value in context.values()):
        raise ValueError("the descriptor of a context holds strings and numbers")
    if len(json.dumps(context)) > MAX_DESCRIPTOR or len(key) > MAX_DESCRIPTOR:
        raise ValueError("the descriptor of a context is too long")
    shape = options.shape.key if options.shape else ""
    limits = [depth, options.model, options.max_turns, options.timeout, shape]
    digest = hashlib.blake2b(json.dumps(["child", query, key, *limits]).encode(), digest_size=20)
    return ChildRequest(query, context, key, look[:MAX_LOOK], options, digest.hexdigest())


def _query(prompt: Any) -> str:
    if not isinstance(prompt, dict):
        raise ValueError("a question to a child is an object")
    _refused_by_guest(prompt)
    query = prompt.get("query")
    if not isinstance(query, str) or not query.strip() or len(query) > MAX_QUERY:
        raise ValueError(
            f"a query is a string of 1 to {MAX_QUERY:,} characters; what it is about goes into the context"
        )
    return query.encode("utf-8", "replace").decode()


def _refused_by_guest(prompt: Mapping[str, Any]) -> None:
    """What the guest sends in place of a prompt that it cannot send."""
    if "unusable" in prompt:
        raise ValueError(str(prompt["unusable"])[:500])
    if "too_long" in prompt:
        raise Refused("too_long", "the prompt is too long to be sent")
    refused = prompt.get("refused")
    if isinstance(refused, dict):
        kind = "too_long" if refused.get("kind") == "too_long" else "invalid"
        raise Refused(kind, str(refused.get("message"))[:500])


def _measure(messages: list[Message], media: Media, options: Options, salt: str) -> Request:
    """Encode each message once, for the key and for the size."""
    digest = hashlib.blake2b(digest_size=20)
    shape = options.shape.key if options.shape else None
    what = [options.model, options.max_tokens, options.params, shape, options.tools, salt if options.tools else ""]
    digest.update(json.dumps(what, sort_keys=True).encode())
    size = 0
    for message in messages:
        try:
            data = message["content"].encode()
        except UnicodeEncodeError:
            raise ValueError("the prompt holds lone surrogates, which no endpoint accepts") from None
        digest.update(f"{message['role']} {len(data)}\n".encode())
        digest.update(data)
        size += len(data)
    tokens = -(-size // BYTES_PER_TOKEN) + MESSAGE_OVERHEAD * len(messages) + media.tokens
    if media.parts:
        digest.update(media.digest)
        media.attach(messages)
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
