"""One `llm_batch` of the guest: prompts come in one by one, outcomes go back as they arrive."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rlm.calls.free import FreeEvents
from rlm.calls.outbox import Outbox
from rlm.calls.request import Defaults, Options, Request, TooLong, parse_prompt
from rlm.protocols import Deliver, Emit, Item


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One prompt of a batch, on its way."""

    batch: Batch
    index: int
    prompt: Any
    request: Request
    key: str
    started: float


class Batch:
    """Implements `rlm.protocols.OpenBatch`. It takes prompts apart and counts outcomes; the scheduler asks."""

    def __init__(
        self,
        id_: str,
        size: int,
        raw_options: Mapping[str, Any],
        options: Options,
        defaults: Defaults,
        *,
        submit: Callable[[Call], None],
        new_key: Callable[[Request], str],
        deliver: Deliver,
        emit: Emit,
        outbox: Outbox,
        on_end: Callable[[Batch], None],
        free: FreeEvents,
    ) -> None:
        self.id = id_
        self.size = size
        self.pending: deque[Call] = deque()
        self.running: dict[int, asyncio.Task[Any]] = {}
        self.closed = False
        self._raw_options = raw_options
        self._options = options
        self._defaults = defaults
        self._submit = submit
        self._new_key = new_key
        self._deliver = deliver
        self._emit = emit
        self._outbox = outbox
        self._on_end = on_end
        self._free = free
        self._told = False
        self._added = bytearray(size)
        self._done = bytearray(size)
        self._counts = {"ok": 0, "failed": 0, "cached": 0, "cancelled": 0}
        self._undone = self._undelivered = size
        self._started = time.monotonic()
        self._delivered = asyncio.Event()
        if free.take():
            self.tell()
        if not size:
            self._end()
            self._delivered.set()

    def tell(self) -> None:
        """Say that it has begun, once; a batch that only repeats free outcomes may never be worth it."""
        if not self._told:
            self._told = True
            self._emit("batch.started", batch=self.id, size=self.size, model=self._options.model)

    def add(self, index: int, prompt: Any) -> None:
        """See `OpenBatch.add`."""
        if self.closed:
            return
        if type(index) is not int or not 0 <= index < self.size or self._added[index]:
            self._emit("protocol.error", detail=f"batch {self.id}: index {str(index)[:40]} is not expected")
            return
        self._added[index] = 1
        try:
            request = parse_prompt(prompt, self._raw_options, self._options, self._defaults)
        except ValueError as error:
            self.fail(index, "too_long" if isinstance(error, TooLong) else "invalid", str(error))
            return
        self._submit(Call(self, index, prompt, request, self._new_key(request), time.monotonic()))

    def cancel(self) -> None:
        """See `OpenBatch.cancel`."""
        self.closed = True
        self.pending.clear()
        for task in self.running.values():
            task.cancel()
        for index in range(self.size):
            if not self._done[index]:
                self.fail(index, "cancelled", "the batch was cancelled")

    async def wait(self) -> None:
        """See `OpenBatch.wait`."""
        await self._delivered.wait()

    def succeed(self, call: Call, reply: Mapping[str, Any], *, cached: bool, attempts: int = 0) -> None:
        """A reply to one prompt. A cached one consumed no tokens."""
        if self._done[call.index]:
            return
        self._counts["ok"] += 1
        self._counts["cached"] += cached
        outcome = {**reply, "cached": cached}
        if cached:
            outcome["input_tokens"] = outcome["output_tokens"] = 0
        estimated = outcome.pop("estimated")
        self._record(call.index, call, attempts, **outcome, estimated=estimated)
        self._finish(call.index, outcome)

    def fail(self, index: int, kind: str, message: str, *, call: Call | None = None, attempts: int = 0) -> None:
        """The error of one prompt."""
        if self._done[index]:
            return
        self._counts["cancelled" if kind == "cancelled" else "failed"] += 1
        error = {"kind": kind, "message": message}
        model = call.request.options.model if call else self._options.model
        tokens = {"input_tokens": 0, "output_tokens": 0, "estimated": False}
        self._record(index, call, attempts, error=error, model=model, **tokens, cached=False)
        self._finish(index, {"error": error})

    def _record(self, index: int, call: Call | None, attempts: int, **fields: Any) -> None:
        """A request that was made is always recorded, with its prompt; what cost nothing only in measure."""
        if attempts:
            self.tell()
            fields["prompt"] = call.prompt if call else None
        elif not self._free.take():
            return
        elif "text" in fields:
            del fields["text"]  # it stands where it was asked, under the same key
        self._emit(
            "call.completed",
            batch=self.id,
            index=index,
            key=call.key if call else None,
            **fields,
            seconds=time.monotonic() - call.started if call else 0.0,
            attempts=attempts,
        )

    def _finish(self, index: int, outcome: dict[str, Any]) -> None:
        self._done[index] = 1
        self._undone -= 1
        if not self._undone:
            self._end()
        self._outbox.post(self._hand_over, (index, outcome))

    def _end(self) -> None:
        if self._told:
            self._emit("batch.completed", batch=self.id, **self._counts, seconds=time.monotonic() - self._started)
        self._on_end(self)

    def _hand_over(self, items: list[Item]) -> None:
        try:
            self._deliver(items)
        finally:
            self._undelivered -= len(items)
            if not self._undelivered:
                self._delivered.set()
