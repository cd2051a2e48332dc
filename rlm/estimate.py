"""How many tokens a text is likely to be, where no endpoint has said so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

BYTES_PER_TOKEN = 4
MESSAGE_OVERHEAD = 4
"""Tokens that a chat template adds to each message, roughly."""


def text_tokens(text: str) -> int:
    """UTF-8 bytes, not characters, over four: closer for scripts that tokenizers split finely."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-size // BYTES_PER_TOKEN)


def message_tokens(messages: Iterable[Mapping[str, Any]]) -> int:
    """The input of a request with these messages."""
    total = 0
    for message in messages:
        total += MESSAGE_OVERHEAD + text_tokens(message.get("content") or "")
        for call in message.get("tool_calls") or ():
            total += text_tokens(call["function"]["arguments"])
    return total
