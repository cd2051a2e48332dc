"""Completions, chunks and models in the shape of OpenAI's API, with what is ours in an object `rlm`."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

from rlm.result import RunResult
from rlm.service.about import about

PIECE = 4096
"""Characters of an answer in one chunk: some clients read line by line into a buffer of 64 KiB."""
DONE = b"data: [DONE]\n\n"
ALIVE = b": working\n\n"
"""A comment: clients skip it, and proxies see that the connection lives."""


def model(name: str, created: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": "rlm"}


def event(data: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return f"data: {json.dumps(data)}\n\n".encode()


def usage(result: RunResult) -> dict[str, int]:
    """Tokens of the root and of all sub-calls together."""
    kinds = (result.usage.root, result.usage.sub)
    prompt = sum(kind.input_tokens for kind in kinds)
    completion = sum(kind.output_tokens for kind in kinds)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def finish_reason(result: RunResult) -> str:
    """`stop` for an answer, `length` for a draft that a limit cut off."""
    return "stop" if result.stop_reason == "answered" else "length"


class Completion:
    """One answer, whole or in chunks that belong together."""

    def __init__(self, model: str) -> None:
        self.id = f"chatcmpl-{secrets.token_hex(12)}"
        self._head = {"id": self.id, "created": int(time.time()), "model": model}

    def whole(self, result: RunResult) -> dict[str, Any]:
        message = {"role": "assistant", "content": result.answer, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(result)}
        told = {"choices": [choice], "usage": usage(result), "rlm": about(result)}
        return {**self._head, "object": "chat.completion", **told}

    def beginning(self) -> bytes:
        return self._chunk({"role": "assistant", "content": ""})

    def progress(self, line: str) -> bytes:
        """Where reasoning models stream their reasoning: clients that do not know the field skip it."""
        return self._chunk({"reasoning_content": f"{line}\n"})

    def end(self, result: RunResult, *, include_usage: bool) -> Iterator[bytes]:
        """The answer and all that follows it."""
        for at in range(0, len(result.answer), PIECE):
            yield self._chunk({"content": result.answer[at : at + PIECE]})
        yield self._chunk({}, finish_reason(result), rlm=about(result))
        if include_usage:
            yield event({**self._head, "object": "chat.completion.chunk", "choices": [], "usage": usage(result)})
        yield DONE

    def _chunk(self, delta: dict[str, str], finish_reason: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return event({**self._head, "object": "chat.completion.chunk", "choices": [choice], **more})
