"""`llm_batch` and `llm_query`: sub-calls from the REPL, as the model's code sees them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from typing import Any

from guest import wire
from guest.bridge import Bridge, BridgeClosed, Message

FRAME_TARGET = 1 << 19
"""Characters of prompts that go into one frame."""
MAX_PROMPT = wire.MAX_FRAME - (1 << 20)
"""Bytes of one prompt as JSON: more than any model's window."""


class CallResult(str):
    """A reply: a `str` that also knows `.model`, `.usage` (`input_tokens`, `output_tokens`) and `.cached`."""

    model: str
    usage: dict[str, int]
    cached: bool

    @classmethod
    def make(cls, item: Message) -> CallResult:
        result = cls(item.get("text", ""))
        result.model = item.get("model", "")
        result.usage = {"input_tokens": item.get("input_tokens", 0), "output_tokens": item.get("output_tokens", 0)}
        result.cached = bool(item.get("cached"))
        return result

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)


class CallError:
    """A sub-call without a reply. Falsy, and not a `str`: it cannot be taken for an answer.

    `.kind` is one of budget, too_long, timeout, endpoint, auth, cancelled, invalid; `.message` says
    what to do.
    """

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        self.message = message

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return f"CallError(kind={self.kind!r}, message={self.message!r})"


class SubCallError(Exception):
    """Raised by `strict=True` after the whole batch has settled; `.results` holds every outcome."""

    def __init__(self, results: list[CallResult | CallError]) -> None:
        errors = [r for r in results if isinstance(r, CallError)]
        super().__init__(f"{len(errors)} of {len(results)} sub-calls failed, the first with {errors[0]!r}")
        self.results = results


class OpenBatch:
    """A batch under way: sent when it is made, filled by the bridge's reader thread."""

    def __init__(self, bridge: Bridge, items: list[Any], options: dict[str, Any]) -> None:
        self._bridge = bridge
        self._results: list[Any] = [None] * len(items)
        self._refused: str | None = None
        self._over = False
        self._news = threading.Condition()
        self._number = 0  # should the bridge be lost before there is one
        self._number = bridge.open(self._receive)
        try:
            bridge.send({"op": "batch", "id": self._number, "n": len(items), "opts": options})
            self._send_prompts(items)
        except BridgeClosed as error:
            self._receive({"op": "closed", "message": str(error)})
        except BaseException:
            self.cancel()
            raise

    def wait(self) -> list[Any]:
        """All outcomes, in order. Raises `ValueError` if the host refused the batch; an interrupt cancels it."""
        try:
            with self._news:
                self._news.wait_for(lambda: self._over)
        except BaseException:
            self.cancel()
            raise
        if self._refused is not None:
            raise ValueError(self._refused)
        return self._results

    def result(self, index: int) -> Any:
        """One outcome, as soon as it is there; None if the batch was dropped before.

        Raises like `wait`, but an interrupt leaves the batch alone.
        """
        with self._news:
            self._news.wait_for(lambda: self._over or self._results[index] is not None)
        return self.wait()[index] if self._over else self._results[index]

    def arrived(self, index: int) -> Any:
        """One outcome, or None: without waiting."""
        return self._results[index]

    def cancel(self) -> None:
        """Have the host stop it; nobody waits for it any more."""
        try:
            self.drop()
        except (BridgeClosed, wire.WireError) as error:
            raise KeyboardInterrupt(f"interrupted, and the bridge is closed: {error}") from error

    def drop(self) -> None:
        """As `cancel`, from wherever it is known that nobody wants it. Raises `BridgeClosed`."""
        self._bridge.close(self._number)
        with self._news:
            over, self._over = self._over, True
            self._news.notify_all()
        if not over:
            self._bridge.send({"op": "cancel", "id": self._number})

    def _send_prompts(self, items: list[Any]) -> None:
        batch: list[Any] = []
        start = size = 0
        for index, item in enumerate(items):
            prompt, weight = _plain(item)
            if batch and size + weight > FRAME_TARGET:
                self._bridge.send({"op": "prompts", "id": self._number, "start": start, "items": batch})
                start, batch, size = index, [], 0
            batch.append(prompt)
            size += weight
        self._bridge.send({"op": "prompts", "id": self._number, "start": start, "items": batch})

    def _receive(self, message: Message) -> None:
        with self._news:
            if message["op"] == "results":
                for index, item in message["items"]:
                    error = item.get("error")
                    self._results[index] = (
                        CallError(error["kind"], error["message"]) if error else CallResult.make(item)
                    )
            else:
                if message["op"] == "closed":
                    lost = CallError("cancelled", message["message"])
                    self._results = [lost if result is None else result for result in self._results]
                self._refused = message.get("error")
                self._over = True
                self._bridge.close(self._number)
            self._news.notify_all()


class SubCalls:
    """The functions that the namespace offers, over one bridge."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def llm_batch(
        self,
        prompts: Iterable[Any],
        *,
        model: str | None = None,
        system: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        timeout: float | None = None,
        dedupe: bool = False,
        strict: bool = False,
    ) -> list[CallResult | CallError]:
        """Ask a sub-LLM each of `prompts`, all in parallel; returns the replies in the same order.

        A prompt is a str, a list of messages, or a dict with "prompt" or "messages" (and "system").
        Each result is a str, or a falsy CallError with .kind and .message. Waiting here does not
        count against the cell's time limit. `dedupe=True` asks equal prompts only once;
        `strict=True` raises when any failed, after all have settled, keeping `.results`.
        """
        if isinstance(prompts, (str, bytes, dict)):
            raise TypeError("llm_batch takes a list of prompts; for one prompt use llm_query(prompt)")
        items = list(prompts)
        if not items:
            return []
        results = self.open(
            items,
            model=model,
            system=system,
            max_tokens=max_tokens,
            temperature=temperature,
            timeout=timeout,
            dedupe=dedupe,
        ).wait()
        if strict and any(isinstance(result, CallError) for result in results):
            raise SubCallError(results)
        return results

    def open(
        self,
        items: list[Any],
        *,
        model: str | None = None,
        system: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        timeout: float | None = None,
        dedupe: bool = False,
        loop: int | None = None,
    ) -> OpenBatch:
        """Send a batch, and do not wait. `loop` is the line of the loop ahead of which it is asked, for the trace."""
        options = {"model": model, "system": system, "max_tokens": max_tokens, "temperature": temperature}
        options |= {"timeout": timeout, "dedupe": dedupe or None, "loop": loop}
        return OpenBatch(self._bridge, items, {name: value for name, value in options.items() if value is not None})

    def llm_query(self, prompt: Any, **options: Any) -> CallResult | CallError:
        """Ask a sub-LLM one thing; the options are those of llm_batch."""
        return self.llm_batch([prompt], **options)[0]


def _plain(prompt: Any) -> tuple[Any, int]:
    """The prompt as plain JSON, and its length in bytes (estimated when it is short).

    What cannot be sent goes as an object that the host turns into a `CallError`.
    """
    if isinstance(prompt, str) and len(prompt) <= FRAME_TARGET:
        return str(prompt), len(prompt)
    try:
        size = len(json.dumps(prompt, ensure_ascii=False).encode("utf-8", "replace"))
    except (TypeError, ValueError, RecursionError) as error:
        return {"unusable": f"{type(prompt).__name__} is not a prompt: {error}"[:500]}, 500
    if size > MAX_PROMPT:
        return {"too_long": size}, 100
    return (str(prompt) if isinstance(prompt, str) else prompt), size
