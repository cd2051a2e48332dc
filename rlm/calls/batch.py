"""One batch of the guest: prompts come in one by one, outcomes go back as they arrive."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rlm.calls.free import FreeEvents
from rlm.calls.media import messages_without_data, without_data
from rlm.calls.options import Options
from rlm.calls.outbox import Outbox
from rlm.calls.outcome import Reply, Spent, cached_input
from rlm.calls.request import ChildRequest, Refused, Request
from rlm.protocols import Deliver, Emit, Item, Message

AnyRequest = Request | ChildRequest


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One prompt of a batch, on its way."""

    batch: Batch
    index: int
    prompt: Any
    request: AnyRequest
    key: str
    started: float
    spent: Spent = field(default_factory=Spent)


class Batch:
    """Implements `rlm.protocols.OpenBatch`. It takes prompts apart and counts outcomes; the scheduler asks.

    `parse` makes a request of a prompt, or raises `ValueError`. `level` is that of the children which the
    batch asks; None if it asks plain sub-LLMs.
    """

    def __init__(
        self,
        id_: str,
        size: int,
        options: Options,
        *,
        default_system: str,
        level: int | None,
        parse: Callable[[Any], AnyRequest],
        submit: Callable[[Call], None],
        new_key: Callable[[AnyRequest], str],
        deliver: Deliver,
        emit: Emit,
        outbox: Outbox,
        on_end: Callable[[Batch], None],
        free: FreeEvents,
    ) -> None:
        self.id = id_
        self.size = size
        self.level = level
        self.emit = emit
        self.pending: deque[Call] = deque()
        self.running: dict[int, asyncio.Task[Any]] = {}
        self.closed = False
        self._options = options
        self._default_system = default_system
        self._parse = parse
        self._submit = submit
        self._new_key = new_key
        self._deliver = deliver
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
            kind = "plain" if self.level is None else "recursive"
            said = self._options.told(self._default_system)
            self.emit("batch.started", batch=self.id, size=self.size, model=self._options.model, kind=kind, **said)

    def add(self, index: int, prompt: Any) -> None:
        """See `OpenBatch.add`."""
        if self.closed:
            return
        if type(index) is not int or not 0 <= index < self.size or self._added[index]:
            self.emit("protocol.error", detail=f"batch {self.id}: index {str(index)[:40]} is not expected")
            return
        self._added[index] = 1
        try:
            request = self._parse(prompt)
        except ValueError as error:
            self.fail(index, error.kind if isinstance(error, Refused) else "invalid", str(error))
            return
        except RecursionError:
            self.fail(index, "invalid", "the prompt is nested too deep")
            return
        self._submit(Call(self, index, prompt, request, self._new_key(request), time.monotonic()))

    def cancel(self) -> None:
        """See `OpenBatch.cancel`."""
        self.closed = True
        self.pending.clear()
        for task in self.running.values():
            task.cancel()
        for index in range(self.size):
            # What is under way has an outcome when it has stopped, and says then what it took.
            if not self._done[index] and index not in self.running:
                self.fail(index, "cancelled", "the batch was cancelled")

    async def wait(self) -> None:
        """See `OpenBatch.wait`."""
        await self._delivered.wait()

    @property
    def rollout(self) -> str:
        """The name of the rollout whose code asks."""
        return self.id.rpartition(".")[0]

    def succeed(self, call: Call, reply: Reply, *, cached: bool, kept: bool = False, past: bool = False) -> None:
        """A reply to one prompt. A cached one consumed no tokens; one that was `kept` stands in no event so far,
        and one that is `past` was told when it came.
        """
        if self._done[call.index]:
            return
        self._counts["ok"] += 1
        self._counts["cached"] += cached
        limited = {"depth_limited": True} if isinstance(call.request, Request) and call.request.depth_limited else {}
        said = {"text": reply.text, "model": reply.model, **reply.extra, **limited}
        self._record(call.index, call, cached=cached, kept=kept, past=past, **said)
        took = (0, 0) if cached else reply.took or (call.spent.input, call.spent.output)
        self._finish(call.index, {**said, "input_tokens": took[0], "output_tokens": took[1], "cached": cached})

    def fail(
        self,
        index: int,
        kind: str,
        message: str,
        *,
        text: str = "",
        call: Call | None = None,
        past: bool = False,
    ) -> None:
        """The error of one prompt; `text` is a reply that was of no use."""
        if self._done[index]:
            return
        self._counts["cancelled" if kind == "cancelled" else "failed"] += 1
        error = {"kind": kind, "message": message}
        if text:
            error["text"] = text
        model = call.request.options.model if call else self._options.model
        self._record(index, call, cached=False, past=past, error=error, model=model)
        self._finish(index, {"error": error})

    def _record(
        self,
        index: int,
        call: Call | None,
        *,
        cached: bool,
        kept: bool = False,
        past: bool = False,
        **fields: Any,
    ) -> None:
        """A request that was made is always recorded, with its prompt; what cost nothing only in measure."""
        spent = call.spent if call and not cached else Spent()
        if spent.attempts or spent.child or kept or past:
            self.tell()
            fields["prompt"] = without_data(call.prompt) if call else None
            if messages := spent.messages or _rewritten(call):
                fields["messages"] = messages_without_data(messages)
            if spent.child:
                fields["child"] = spent.child
        elif not self._free.take():
            return
        else:
            # A reply that was remembered stands where it was asked, under the same key.
            fields = {name: value for name, value in fields.items() if name not in ("text", "data")}
        if call and not call.request.options.cache:
            fields["cache"] = False
        if past:
            fields["past"] = True
        self.emit(
            "call.completed",
            batch=self.id,
            index=index,
            key=call.key if call else None,
            **fields,
            cached=cached,
            input_tokens=spent.input,
            output_tokens=spent.output,
            estimated=spent.estimated,
            **cached_input(spent.cached_input),
            seconds=time.monotonic() - call.started if call else 0.0,
            waited=spent.begun - call.started if call and spent.begun else 0.0,
            attempts=spent.attempts,
        )

    def _finish(self, index: int, outcome: dict[str, Any]) -> None:
        self._done[index] = 1
        self._undone -= 1
        if not self._undone:
            self._end()
        self._outbox.post(self._hand_over, (index, outcome))

    def _end(self) -> None:
        if self._told:
            self.emit("batch.completed", batch=self.id, **self._counts, seconds=time.monotonic() - self._started)
        self._on_end(self)

    def _hand_over(self, items: list[Item]) -> None:
        try:
            self._deliver(items)
        finally:
            self._undelivered -= len(items)
            if not self._undelivered:
                self._delivered.set()


def _rewritten(call: Call | None) -> list[Message] | None:
    """What is sent in the place of a child, which there can be none of: it does not follow from the prompt alone."""
    request = call.request if call else None
    return request.messages if isinstance(request, Request) and request.depth_limited else None
