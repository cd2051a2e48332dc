"""One batch of sub-calls on its way: prompts out in frames, outcomes back as they come."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

from guest import wire
from guest.bridge import Bridge, BridgeClosed, Message
from guest.results import CallError, outcome

FRAME_TARGET = 1 << 19
"""Characters of prompts that go into one frame."""
MAX_PROMPT = wire.MAX_FRAME - (1 << 20)
"""Bytes of one prompt as JSON: more than any model's window."""


class OpenBatch:
    """A batch under way: sent when it is made, filled by the bridge's reader thread."""

    def __init__(
        self,
        bridge: Bridge,
        items: list[Any],
        options: dict[str, Any],
        *,
        build: Callable[[Any], Any] | None = None,
    ) -> None:
        """`build` makes of each outcome what the caller gets."""
        self._bridge = bridge
        self._build = build or _as_it_is
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
        return [self._build(result) for result in self._results]

    def result(self, index: int) -> Any:
        """One outcome, as soon as it is there; None if the batch was dropped before.

        Raises like `wait`, but an interrupt leaves the batch alone.
        """
        with self._news:
            self._news.wait_for(lambda: self._over or self._results[index] is not None)
        if self._refused is not None:
            raise ValueError(self._refused)
        return self._build(self._results[index])

    def arrived(self, index: int) -> Any:
        """One outcome as it came, or None: without waiting."""
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
                    self._results[index] = outcome(item)
            else:
                if message["op"] == "closed":
                    lost = CallError("cancelled", message["message"])
                    self._results = [lost if result is None else result for result in self._results]
                self._refused = message.get("error")
                self._over = True
                self._bridge.close(self._number)
            self._news.notify_all()


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


def _as_it_is(outcome: Any) -> Any:
    return outcome
