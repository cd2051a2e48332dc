"""The host's end of one kernel's bridge: what the guest may ask, and how much of it at a time.

    batch    {id, n, opts}           opens a batch of n sub-calls
    prompts  {id, start, items}      its prompts, in as many frames as it takes
    cancel   {id}                    stops it
    answer   {content, ready, version}   the `answer` dict has changed
    output   {text}                  what the running cell has printed so far
    …        {id, …}                 any op with a handler; the reply is `{"op": "reply", "id", …}`

Back to the guest go `{"op": "results", "id", "items"}` and `{"op": "done", "id", "error"}`. The
connection is the identity: there is no field by which a guest could name another kernel, its depth
or its budget. A frame that breaks the rules closes the bridge, with a typed error, and nothing else.

Flow control: the agent may send as many bytes as it has credit for. The credit of a frame comes
back when it has been dealt with, that of a prompt when it has its outcome, so what a guest can make
the host hold is bounded by `WINDOW`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rlm.bridge.frames import BridgeDecoder, bridge_frame
from rlm.bridge.rate import RateGate
from rlm.errors import ProtocolError, RLMError
from rlm.protocols import Answer, Emit, Handler, Item, OpenBatch, SubCalls

WINDOW = 64 << 20
"""Bytes of unanswered requests that one kernel may have under way."""
MAX_BATCHES = 256
MAX_BATCH = 100_000
MAX_PROMPTS = 2 * MAX_BATCH
"""Prompts of all open batches together: the shortest ones weigh more in the host than in the window."""
MAX_REQUESTS = 16
MAX_ANSWER = 4 << 20
"""Characters of `answer["content"]`."""
RESULT_FRAME = 1 << 20
"""Characters of results that go into one frame."""


@dataclass(slots=True)
class _Batch:
    size: int
    open: OpenBatch
    seen: set[int] = field(default_factory=set)
    held: dict[int, int] = field(default_factory=dict)
    """Credit that comes back with each prompt's outcome."""


@dataclass(frozen=True, kw_only=True)
class BridgeEvents:
    """Whom the bridge tells what."""

    send: Callable[[bytes], None]
    """Bytes for the guest."""
    credit: Callable[[int], None]
    close: Callable[[], None]
    """Cut the connection."""
    busy: Callable[[bool], None]
    """Whether the host has prompts or other requests of this kernel to see to: its cell's clock stands still then."""
    answer: Callable[[Answer], None]
    output: Callable[[str], None]


class GuestBridge:
    """Serves one kernel. Lives on the event loop; `feed` never blocks and never raises."""

    def __init__(
        self, *, events: BridgeEvents, subcalls: SubCalls, handlers: Mapping[str, Handler] | None = None, emit: Emit
    ) -> None:
        self._events = events
        self._subcalls = subcalls
        self._handlers = dict(handlers or {})
        self._emit = emit
        self._decoder = BridgeDecoder()
        self._batches: dict[int, _Batch] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._requests: set[int] = set()
        self._waiting = 0
        """Prompts that came and have no outcome yet, and requests without a reply."""
        self._gate = RateGate(events.credit)
        self.closed = False

    def feed(self, data: bytes) -> None:
        """Bytes of the guest, cut anywhere."""
        if self.closed:
            return
        try:
            for message, size in self._decoder.feed(data):
                if not self._gate.admit():
                    raise ProtocolError("a flood of frames")
                self._gate.give_back(size - self._serve(message, size))
        except ProtocolError as error:
            self._break(str(error))

    def cancel_all(self) -> None:
        """Stop every sub-call of this kernel; what has arrived has been delivered."""
        for batch in list(self._batches.values()):
            batch.open.cancel()

    def cut(self) -> None:
        """The guest is gone: nothing more is heard from it or sent to it, and its sub-calls are cancelled."""
        self.closed = True
        self.cancel_all()
        self._gate.close()

    async def aclose(self) -> None:
        """Cancel what runs and wait for it to end."""
        self.cut()
        while self._tasks:
            for task in self._tasks:
                if task.get_name() == "request":
                    task.cancel()
            await asyncio.wait(self._tasks)

    # --- dispatch ---------------------------------------------------------------------------

    def _serve(self, message: dict[str, Any], size: int) -> int:
        """Serve one message; returns how much of its credit is held back."""
        match message["op"]:
            case "batch":
                self._open_batch(message)
            case "prompts":
                return self._add_prompts(message, size)
            case "cancel":
                if (batch := self._batches.get(message["id"])) is not None:
                    batch.open.cancel()
            case "answer":
                self._events.answer(read_answer(message))
            case "output":
                text = message.get("text")
                if not isinstance(text, str):
                    raise ProtocolError("output without text")
                self._events.output(text)
            case op if op in self._handlers:
                self._request(op, message)
            case op:
                raise ProtocolError(f"unknown op {op[:40]!r}")
        return 0

    def _break(self, detail: str) -> None:
        self._emit("protocol.error", detail=detail)
        self.cut()
        self._events.close()

    def _spawn(self, coroutine: Any, name: str) -> None:
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _send(self, message: dict[str, Any]) -> None:
        if not self.closed:
            self._events.send(bridge_frame(message))

    # --- batches ----------------------------------------------------------------------------

    def _open_batch(self, message: dict[str, Any]) -> None:
        number, size, options = message["id"], message.get("n"), message.get("opts", {})
        if number in self._batches:
            raise ProtocolError(f"batch {number} is open already")
        if len(self._batches) >= MAX_BATCHES:
            raise ProtocolError(f"more than {MAX_BATCHES} batches at once")
        if type(size) is not int or not 1 <= size <= MAX_BATCH:
            self._send({"op": "done", "id": number, "error": f"a batch holds 1 to {MAX_BATCH:,} prompts"})
            return
        if sum(batch.size for batch in self._batches.values()) + size > MAX_PROMPTS or not self._gate.admit(size):
            self._send({"op": "done", "id": number, "error": "too many prompts at the same time: send fewer, or wait"})
            return
        if not isinstance(options, dict):
            raise ProtocolError("opts must be an object")
        try:
            opened = self._subcalls.open_batch(size, options, lambda items: self._deliver(number, items))
        except ValueError as error:
            self._send({"op": "done", "id": number, "error": str(error)})
            return
        self._batches[number] = _Batch(size, opened)
        self._spawn(self._finish(number), "batch")

    def _add_prompts(self, message: dict[str, Any], size: int) -> int:
        batch = self._batches.get(message["id"])
        if batch is None:
            return 0  # refused or done already; the guest may not know yet
        start, items = message.get("start"), message.get("items")
        if type(start) is not int or not isinstance(items, list) or not items:
            raise ProtocolError("prompts need a start and items")
        indexes = range(start, start + len(items))
        if start < 0 or indexes[-1] >= batch.size or not batch.seen.isdisjoint(indexes):
            raise ProtocolError("prompts outside of their batch, or sent twice")
        batch.seen.update(indexes)
        share = size // len(items)
        batch.held.update(dict.fromkeys(indexes, share))
        self._wait_for(len(items))
        for index, prompt in zip(indexes, items, strict=True):
            batch.open.add(index, prompt)
        return share * len(items)

    def _wait_for(self, change: int) -> None:
        before, self._waiting = self._waiting, self._waiting + change
        if bool(before) != bool(self._waiting):
            self._events.busy(bool(self._waiting))

    def _deliver(self, number: int, items: list[Item]) -> None:
        batch = self._batches.get(number)
        if batch is None:
            return
        frame: list[Item] = []
        weight = credit = 0
        before = len(batch.held)
        for index, item in items:
            credit += batch.held.pop(index, 0)
            frame.append((index, item))
            weight += len(item.get("text", ""))
            if weight > RESULT_FRAME:
                self._send({"op": "results", "id": number, "items": frame})
                frame, weight = [], 0
        if frame:
            self._send({"op": "results", "id": number, "items": frame})
        self._wait_for(len(batch.held) - before)
        self._gate.give_back(credit)

    async def _finish(self, number: int) -> None:
        batch = self._batches[number]
        try:
            await batch.open.wait()
        finally:
            del self._batches[number]
            self._wait_for(-len(batch.held))
            self._gate.give_back(sum(batch.held.values()))
        self._send({"op": "done", "id": number, "error": None})

    # --- other requests ---------------------------------------------------------------------

    def _request(self, op: str, message: dict[str, Any]) -> None:
        number = message["id"]
        if number in self._requests or number in self._batches:
            raise ProtocolError(f"request {number} is open already")
        if len(self._requests) >= MAX_REQUESTS:
            raise ProtocolError(f"more than {MAX_REQUESTS} requests at once")
        self._requests.add(number)
        self._wait_for(1)
        self._spawn(self._answer_request(op, message), "request")

    async def _answer_request(self, op: str, message: dict[str, Any]) -> None:
        number = message["id"]
        try:
            reply = await self._handlers[op](message)
        except (ValueError, RLMError) as error:
            reply = {"error": str(error), "message": str(error)}
        except Exception as error:
            # A mistake of ours. The guest must not wait for ever.
            reply = {"error": f"internal error: {type(error).__name__}"}
            context = {"message": f"serving {op!r} of a guest failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
        finally:
            self._requests.discard(number)
            self._wait_for(-1)
        self._send({**reply, "op": "reply", "id": number})


def read_answer(message: Mapping[str, Any]) -> Answer:
    """The `answer` of a message or a report. Raises `ProtocolError`."""
    content, ready, version = message.get("content"), message.get("ready"), message.get("version")
    if not isinstance(content, str) or not isinstance(ready, bool) or type(version) is not int:
        raise ProtocolError("a broken answer")
    if len(content) > MAX_ANSWER:
        raise ProtocolError(f"an answer of {len(content):,} characters; the limit is {MAX_ANSWER:,}")
    return Answer(content, ready, version)
