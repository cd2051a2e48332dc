"""The scheduler of sub-calls: one per run tree, for all batches of its sandbox.

A prompt is asked as soon as it arrives and a place is free. Batches take turns, so that a short one
does not wait behind a long one. How many requests an endpoint bears is the model's limiter to find
out; `window` only bounds how many tasks exist.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from typing import Any

from rlm.budget import Ledger, Reservation, Shortage
from rlm.calls.batch import Batch, Call
from rlm.calls.free import FreeEvents
from rlm.calls.memo import Memo
from rlm.calls.outbox import Outbox
from rlm.calls.request import Defaults, Request, parse_options
from rlm.errors import ModelError, attempts_of
from rlm.protocols import Completion, Deliver, Emit, Model

MAX_BATCH = 100_000


class Scheduler:
    """Implements `rlm.protocols.SubCalls`. Belongs to one event loop.

    `models` are the models that sub-calls may name; the first is the default. `flush` writes the trace
    to disk: it runs before outcomes are delivered. Over-long prompts, an exhausted budget and failures
    of the endpoint become `CallError` items, never exceptions.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        ledger: Ledger,
        *,
        emit: Emit,
        flush: Callable[[], None],
        system: str = "",
        max_tokens: int = 4096,
        timeout: float = 600.0,
        window: int = 320,
    ) -> None:
        self._models = dict(models)
        self._ledger = ledger
        self._emit = emit
        self._defaults = Defaults(tuple(models), system, max_tokens, timeout)
        self._window = window
        self._memo: Memo[Call] = Memo()
        self._free = FreeEvents()
        self._outbox = Outbox(flush)
        self._turn: deque[Batch] = deque()
        self._open: set[Batch] = set()
        self._tasks: set[asyncio.Task[Completion]] = set()
        self._ids = count(1)

    def begin_cell(self) -> None:
        """A new cell: equal prompts are counted from the start, so that a repeated cell finds its replies."""
        self._memo.begin_cell()
        self._free.begin_cell()

    def open_batch(self, size: int, options: Mapping[str, Any], deliver: Deliver) -> Batch:
        """See `SubCalls.open_batch`. Raises `ValueError`."""
        if type(size) is not int or not 0 <= size <= MAX_BATCH:
            raise ValueError(f"a batch has 0 to {MAX_BATCH:,} prompts")
        if not isinstance(options, Mapping):
            raise ValueError("options: an object")
        checked = parse_options(options, self._defaults)
        batch = Batch(
            f"b{next(self._ids)}",
            size,
            options,
            checked,
            self._defaults,
            submit=self._submit,
            new_key=lambda request: self._memo.key(request.content_key, dedupe=request.options.dedupe),
            deliver=deliver,
            emit=self._emit,
            outbox=self._outbox,
            on_end=self._open.discard,
            free=self._free,
        )
        if size:
            self._open.add(batch)
        return batch

    async def aclose(self) -> None:
        """Cancel what runs. Idempotent."""
        for batch in list(self._open):
            batch.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _submit(self, call: Call) -> None:
        if self._from_memo(call):
            return
        batch = call.batch
        batch.pending.append(call)
        if len(batch.pending) == 1:
            self._turn.append(batch)
        self._pump()

    def _from_memo(self, call: Call) -> bool:
        reply = self._memo.get(call.key)
        if reply is not None:
            self._ledger.count_cached()
            call.batch.succeed(call, reply, cached=True)
        return reply is not None

    def _pump(self) -> None:
        """Start calls, one of each batch in turn, while there are places and budget."""
        while self._turn and len(self._tasks) < self._window:
            batch = self._turn.popleft()
            if not batch.pending:  # cancelled meanwhile
                continue
            if not self._start(batch.pending[0]):
                self._turn.appendleft(batch)
                return
            batch.pending.popleft()
            if batch.pending:
                self._turn.append(batch)

    def _start(self, call: Call) -> bool:
        """Ask, or settle the call otherwise; False if it has to wait for budget that open calls hold."""
        request = call.request
        model = self._models[request.options.model]
        if self._from_memo(call) or self._memo.join(call.key, call):
            return True
        needed = request.input_tokens + request.options.max_tokens
        if model.context_window is not None and needed > model.context_window:
            room = f"{model.context_window:,} tokens less {request.options.max_tokens:,} for the reply"
            message = f"about {request.input_tokens:,} tokens do not fit the model's {room}"
            call.batch.fail(call.index, "too_long", message, call=call)
            return True
        place = self._ledger.reserve("sub", model.name, request.input_tokens, request.options.max_tokens)
        if isinstance(place, Shortage):
            if place.temporary and self._tasks:
                return False
            call.batch.fail(call.index, "budget", place.message, call=call)
            return True
        self._ask(call, model, place)
        return True

    def _ask(self, call: Call, model: Model, place: Reservation) -> None:
        self._memo.begin(call.key)
        task = asyncio.ensure_future(_complete(model, call.request))
        self._tasks.add(task)
        call.batch.running[call.index] = task
        # Settled in the callback and not in a coroutine: a task that is cancelled before its first
        # step runs no code of its own, and would leave its reservation open.
        task.add_done_callback(partial(self._settle, call, place))

    def _settle(self, call: Call, place: Reservation, task: asyncio.Task[Completion]) -> None:
        self._tasks.discard(task)
        del call.batch.running[call.index]
        if task.cancelled():
            self._cancelled(call, place, 0)
        elif isinstance(error := task.exception(), _Cancelled):
            self._cancelled(call, place, error.attempts)
        elif error is not None:
            self._failed(call, place, error)
        else:
            self._succeeded(call, place, task.result())
        self._pump()

    def _succeeded(self, call: Call, place: Reservation, completion: Completion) -> None:
        tokens = completion.tokens
        place.settle(tokens, attempts=completion.attempts)
        reply = {
            "text": completion.text,
            "model": completion.model,
            "input_tokens": tokens.input,
            "output_tokens": tokens.output,
            "estimated": tokens.estimated,
        }
        call.batch.succeed(call, reply, cached=False, attempts=completion.attempts)
        for waiter in self._memo.end(call.key, reply):
            if not waiter.batch.closed:
                self._from_memo(waiter)

    def _failed(self, call: Call, place: Reservation, error: BaseException) -> None:
        if isinstance(error, ModelError):
            kind, message, attempts = error.kind, str(error), error.attempts
        else:
            kind, message, attempts = "endpoint", f"internal error: {type(error).__name__}", 1
            context = {"message": "a model raised what is not a ModelError", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
        place.fail(attempts=attempts)
        call.batch.fail(call.index, kind, message, call=call, attempts=attempts)
        for waiter in self._memo.end(call.key, None):
            waiter.batch.fail(waiter.index, kind, message, call=waiter)

    def _cancelled(self, call: Call, place: Reservation, attempts: int) -> None:
        if attempts:
            place.fail(attempts=attempts)
        else:
            place.release()
        call.batch.fail(call.index, "cancelled", "the call was cancelled", call=call, attempts=attempts)
        for waiter in self._memo.end(call.key, None):
            if not waiter.batch.closed:  # another batch still wants the reply
                self._submit(waiter)


class _Cancelled(Exception):
    """A call was cancelled after `attempts` requests."""

    def __init__(self, attempts: int) -> None:
        self.attempts = attempts


async def _complete(model: Model, request: Request) -> Completion:
    """A cancelled task does not say how much it had done; one that failed does."""
    options = request.options
    try:
        return await model.complete(
            request.messages, max_tokens=options.max_tokens, timeout=options.timeout, params=options.params
        )
    except asyncio.CancelledError as error:
        raise _Cancelled(attempts_of(error)) from None
