"""Reads one streamed reply of the root model, and stops at its first complete piece of code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import NamedTuple

from rlm.blocks import BlockParser, Broken, ToolCall, ToolCallParser
from rlm.errors import ModelError
from rlm.estimate import text_tokens
from rlm.protocols import Delta, Tokens

DRAIN_SECONDS = 2.0
"""How long the rest of a stream is read, after the code is there, for the sake of its usage figures."""


class Reply(NamedTuple):
    """What the root model said, up to the end of its first code."""

    text: str
    code: str | None
    tool_call: ToolCall | None
    broken: Broken | None
    """Why there is no code although the reply tried."""


class ReplyReader:
    """Reads one stream; what it has seen so far is there also when reading was cut off."""

    def __init__(self, on_text: Callable[[str], None]) -> None:
        self.attempts = 0
        self._on_text = on_text
        self._blocks = BlockParser()
        self._calls = ToolCallParser()
        self._text: list[str] = []
        self._arguments: list[str] = []
        self._tokens: Tokens | None = None
        self._finish_reason: str | None = None

    async def read(self, stream: AsyncIterator[Delta]) -> Reply:
        """Raises `ModelError` unless the code was complete before the error."""
        try:
            async for delta in stream:
                if reply := self._take(delta):
                    await self._drain(stream)
                    return reply
            return self._finish()
        finally:
            if close := getattr(stream, "aclose", None):
                await close()

    def tokens(self, input_estimate: int) -> Tokens:
        """The endpoint's figures, else estimates."""
        if self._tokens is not None:
            return self._tokens
        received = text_tokens("".join(self._text)) + text_tokens("".join(self._arguments))
        return Tokens(input_estimate, received, estimated=True)

    def _take(self, delta: Delta) -> Reply | None:
        self._note(delta)
        if delta.text:
            self._on_text(delta.text)
            if block := self._blocks.feed(delta.text):
                return Reply("".join(self._text)[: block.end], block.code, None, None)
        if delta.tool_call and (call := self._calls.feed(delta.tool_call)):
            return Reply("".join(self._text), call.code, call, call.broken)
        return None

    def _note(self, delta: Delta) -> None:
        self.attempts = self.attempts or delta.attempts
        self._tokens = delta.tokens or self._tokens
        self._finish_reason = delta.finish_reason or self._finish_reason
        if delta.text:
            self._text.append(delta.text)
        if delta.tool_call:
            self._arguments.append(delta.tool_call.get("arguments") or "")

    async def _drain(self, stream: AsyncIterator[Delta]) -> None:
        if self._tokens is not None:
            return
        # The reply is complete: an error or a silence from here on costs only the exact figures.
        with suppress(TimeoutError, ModelError):
            async with asyncio.timeout(DRAIN_SECONDS):
                async for delta in stream:
                    self._note(delta)

    def _finish(self) -> Reply:
        text = "".join(self._text)
        if call := self._calls.finish():
            return Reply(text, call.code, call, call.broken)
        truncated = self._finish_reason == "length"
        block = self._blocks.finish(truncated=truncated)
        if block:
            return Reply(text[: block.end], block.code, None, None)
        return Reply(text, None, None, self._blocks.broken or ("length" if truncated else None))
