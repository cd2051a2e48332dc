"""Tries what an endpoint can do, with about a dozen requests of a few words each."""

from __future__ import annotations

import asyncio
import json
import struct
import time
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from rlm.errors import BadReply, ModelError, RateLimited
from rlm.models.retry import RetryPolicy
from rlm.models.transport import HttpModel
from rlm.models.wire import Dialect
from rlm.prompts import render
from rlm.protocols import Completion, Message

CAP = 1024
"""Output tokens of one request; reasoning models think before they say a word."""
AT_ONCE = 4
"""Requests that are sent together, to see whether they are served so."""
NOISE = 0.3
"""Seconds that say nothing about how requests are served."""
ONCE = RetryPolicy(max_attempts=1, patience=0.0, unreachable_patience=0.0)

Make = Callable[[Dialect], HttpModel]
"""A new model at the endpoint, which knows this much of it."""

_NUMBERS = {"a": {"type": "integer"}, "b": {"type": "integer"}}
_ADD = {
    "name": "add",
    "description": "a + b",
    "parameters": {"type": "object", "properties": _NUMBERS, "required": ["a", "b"], "additionalProperties": False},
}
_TOOLS = [{"type": "function", "function": _ADD}]
_FORCED = {"type": "function", "function": {"name": "add"}}
_COLOUR = {"colour": {"type": "string"}, "letters": {"type": "integer"}}
_SCHEMA = {"type": "object", "properties": _COLOUR, "required": [*_COLOUR], "additionalProperties": False}
_FORMAT = {"type": "json_schema", "json_schema": {"name": "colour", "strict": True, "schema": _SCHEMA}}


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one capability."""

    name: str
    level: Literal["ok", "no", "unknown"]
    detail: str
    fix: str = ""
    """What to set, if anything."""


class Probe:
    """Tries one model. `params` go into each request."""

    def __init__(self, make: Make, dialect: Dialect, params: Mapping[str, Any] | None = None) -> None:
        self._make = make
        self._dialect = dialect
        self._params = dict(params or {})
        self._seconds = 0.0

    async def plain(self) -> tuple[Finding, ModelError | None]:
        """One call, without which nothing else can be tried: its error is the verdict on all."""
        try:
            reply, model = await self._ask("plain")
        except ModelError as error:
            return Finding("plain call", "no", str(error)), error
        tokens = reply.tokens
        counted = "no token counts" if tokens.estimated else f"{tokens.input} + {tokens.output} tokens"
        detail = f"answers in {self._seconds:.2f} s, {counted}"
        if model.dialect.cap != self._dialect.cap:
            self._dialect = model.dialect
            detail += f"; the cap is called {model.dialect.cap}, which rlm learns from its first refusal"
        if tokens.estimated:
            fix = "limits on tokens and cost go by estimates here"
            return Finding("plain call", "ok", detail, fix), None
        if not reply.text.strip():
            return Finding("plain call", "unknown", f"{detail}, but says nothing ({reply.finish_reason})"), None
        return Finding("plain call", "ok", detail), None

    async def rest(self) -> AsyncIterator[Finding]:
        """Everything else, one after the other."""
        for probe in (self._streaming, self._tools, self._schema, self._json, self._image, self._together):
            for finding in await probe():
                yield finding

    async def _streaming(self) -> list[Finding]:
        model = self._make(self._dialect)
        try:
            await model.warm()
            begun, first, pieces, last = time.monotonic(), 0.0, 0, None
            async for delta in model.stream(_asking("count"), max_tokens=CAP, params=self._params):
                if delta.text:
                    first = first or time.monotonic() - begun
                    pieces += 1
                last = delta
        except ModelError as error:
            return [Finding("streaming", _level(error), str(error), "the root's replies are streamed: it is needed")]
        finally:
            await model.aclose()
        if pieces > 1:
            found = Finding("streaming", "ok", f"{pieces} pieces, the first after {first:.2f} s")
        else:
            found = Finding(
                "streaming", "no", "the reply came in one piece", "replies at the root show only when whole"
            )
        if last is not None and last.tokens is not None and not last.tokens.estimated:
            return [found, Finding("usage of streams", "ok", "reported")]
        why = "stream_options is refused" if not model.dialect.stream_usage else "none was sent"
        return [found, Finding("usage of streams", "no", why, "the root's tokens are estimated")]

    async def _tools(self) -> list[Finding]:
        fix = "leave --native-tools off; sub-LLMs cannot be given tools"
        talk = _asking("tool")
        how = "called when told to"
        try:
            try:
                reply, _ = await self._ask("tool", tools=_TOOLS, tool_choice=_FORCED)
            except BadReply:
                how = "called, but not when forced by tool_choice"
                reply, _ = await self._ask("tool", tools=_TOOLS)
        except ModelError as error:
            return [Finding("tools", _level(error), str(error), fix)]
        if not reply.tool_calls:
            return [Finding("tools", "unknown", "taken, but the model called none", fix)]
        call = dict(reply.tool_calls[0])
        talk += [{"role": "assistant", "content": reply.text or None, "tool_calls": [call]}]
        talk += [{"role": "tool", "tool_call_id": call.get("id"), "content": str(17 + 25)}]
        try:
            answer, _ = await self._ask(talk, tools=_TOOLS)
        except ModelError as error:
            return [Finding("tools", _level(error), f"{how}; what it returned is refused: {error}", fix)]
        if "42" not in answer.text:
            return [Finding("tools", "unknown", f"{how}, but what it returned is not in the answer")]
        return [Finding("tools", "ok", f"{how}, and what it returned is understood")]

    async def _schema(self) -> list[Finding]:
        name, fix = "JSON Schema", "replies with schema= are checked, and asked for again if they do not fit"
        try:
            reply, model = await self._ask(
                "schema", dialect=replace(self._dialect, structured=True), response_format=_FORMAT
            )
        except ModelError as error:
            return [Finding(name, _level(error), str(error), fix)]
        if not model.dialect.structured:
            return [Finding(name, "no", f"refused: {model.refusal}", fix)]
        data = _object_in(reply.text)
        if data is None or data.keys() != _COLOUR.keys() or not isinstance(data["letters"], int):
            return [Finding(name, "no", "taken and ignored: the reply does not fit", fix)]
        return [Finding(name, "ok", "the reply fits the schema")]

    async def _json(self) -> list[Finding]:
        name, asked = "JSON mode", {"response_format": {"type": "json_object"}}
        try:
            reply, model = await self._ask("json", dialect=replace(self._dialect, structured=True), **asked)
        except ModelError as error:
            return [Finding(name, _level(error), str(error))]
        if not model.dialect.structured:
            return [Finding(name, "no", f"refused: {model.refusal}")]
        if _object_in(reply.text) is None:
            return [Finding(name, "no", "taken and ignored: the reply is not a JSON object")]
        return [Finding(name, "ok", "the reply is a JSON object")]

    async def _image(self) -> list[Finding]:
        url = f"data:image/png;base64,{b64encode(red_square()).decode()}"
        text = {"type": "text", "text": render("probe", kind="image")}
        parts = [text, {"type": "image_url", "image_url": {"url": url}}]
        try:
            reply, _ = await self._ask([{"role": "user", "content": parts}])
        except ModelError as error:
            return [Finding("images", _level(error), str(error), "llm_query(images=…) fails with this model")]
        if "red" in reply.text.lower():
            return [Finding("images", "ok", "a red square is seen as one")]
        return [Finding("images", "unknown", "taken, but the model does not say what is on it")]

    async def _together(self) -> list[Finding]:
        name, model = "concurrency", self._make(self._dialect)
        fix = f"set --concurrency below {AT_ONCE}; it also adapts by itself to 429s"
        begun = time.monotonic()
        try:
            calls = (model.complete(_asking("plain"), max_tokens=CAP, params=self._params) for _ in range(AT_ONCE))
            done = await asyncio.gather(*calls, return_exceptions=True)
        finally:
            await model.aclose()
        took = time.monotonic() - begun
        failed = [each for each in done if isinstance(each, BaseException)]
        if limited := [each for each in failed if isinstance(each, RateLimited)]:
            return [Finding(name, "no", f"{len(limited)} of {AT_ONCE} at once met a rate limit: {limited[0]}", fix)]
        if failed:
            return [Finding(name, "unknown", f"{len(failed)} of {AT_ONCE} at once failed: {failed[0]}")]
        detail = f"{AT_ONCE} at once took {took:.2f} s, one alone {self._seconds:.2f} s"
        if took > max(AT_ONCE * 0.8 * self._seconds, self._seconds + NOISE):
            return [Finding(name, "no", f"{detail}: they are served one after the other", "batches gain nothing here")]
        return [Finding(name, "ok", detail)]

    async def _ask(
        self, asked: str | list[Message], *, dialect: Dialect | None = None, **params: Any
    ) -> tuple[Completion, HttpModel]:
        """One request by a model of its own, so that what it learns is about this request."""
        messages = _asking(asked) if isinstance(asked, str) else asked
        model = self._make(dialect or self._dialect)
        begun = time.monotonic()
        try:
            reply = await model.complete(messages, max_tokens=CAP, params={**self._params, **params})
        finally:
            await model.aclose()
        if asked == "plain":
            self._seconds = time.monotonic() - begun
        return reply, model


def _asking(kind: str) -> list[Message]:
    return [{"role": "user", "content": render("probe", kind=kind)}]


def _level(error: ModelError) -> Literal["no", "unknown"]:
    """Whether an error says that something is not taken, or only that it was not found out."""
    return "no" if isinstance(error, BadReply) else "unknown"


def _object_in(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def red_square(side: int = 32) -> bytes:
    """A PNG; some models take no image that is smaller than their patches."""
    rows = (b"\0" + b"\xff\0\0" * side) * side
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
