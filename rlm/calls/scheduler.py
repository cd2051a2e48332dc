"""The scheduler of sub-calls: one per run tree, for all batches of all its kernels.

A prompt is asked as soon as it arrives and a place is free. Batches take turns, so that a short one
does not wait behind a long one. How many requests an endpoint bears is the model's limiter to find
out; `window` only bounds how many tasks exist.

Children have places of their own at each depth, apart from those of plain calls: a rollout that waits
for its children never takes a place that they, or their calls, need.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from rlm.budget import Ledger, Reservation, Shortage
from rlm.calls.batch import Batch, Call
from rlm.calls.cache import NoCache, ReplyCache
from rlm.calls.memo import Memo
from rlm.calls.outbox import Outbox
from rlm.calls.outcome import CallFailed, Reply, Spent
from rlm.calls.request import ChildRequest, Request
from rlm.calls.subagent import SubAgent, ask
from rlm.errors import ModelError
from rlm.events import Event
from rlm.past import Past
from rlm.protocols import Model, SubTools, Tokens


class Spawn(Protocol):
    """Has one question answered by a child."""

    def __call__(self, call: Call, request: ChildRequest, /) -> Coroutine[Any, Any, Reply]:
        """`request` is that of `call`. Raises `CallFailed`."""
        ...


class _Lane:
    """Places of one kind, and the batches that wait for one."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.turn: deque[Batch] = deque()
        self.tasks: set[asyncio.Task[Reply]] = set()


class Scheduler:
    """Belongs to one event loop. The batches are made by `rlm.calls.caller.Caller`, one for each kernel.

    `models` are the models that sub-calls may name. `flush` writes the trace to disk: it runs before
    outcomes are delivered. `child_places[i]` children may be alive at depth i + 1. Over-long prompts, an
    exhausted budget and failures of the endpoint become `CallError` items, never exceptions.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        ledger: Ledger,
        *,
        flush: Callable[[], None],
        window: int = 320,
        child_places: Sequence[int] = (),
        tools: SubTools | None = None,
        sub_max_turns: int = 8,
        cache: ReplyCache | None = None,
        past: Past | None = None,
    ) -> None:
        self._models = dict(models)
        self._ledger = ledger
        self._tools = tools
        self._sub_max_turns = sub_max_turns
        self._cache = cache or NoCache()
        self._lanes: dict[int | None, _Lane] = {None: _Lane(window)}
        self._lanes |= {level: _Lane(places) for level, places in enumerate(child_places, 1)}
        self._budget: asyncio.Task[None] | None = None
        """Waits for room in the budget, for the lanes that do."""
        self._memo: Memo[Call] = Memo()
        self._past = past
        for event in past.replies() if past else ():
            self._memo.put(event["key"], past_reply(event))
        self._flush_trace = flush
        self.outbox = Outbox(self._flush)
        self._open: set[Batch] = set()
        self._spawns: dict[Batch, Spawn] = {}

    @property
    def salt(self) -> str:
        """What determines replies beside the requests themselves: the tools that sub-LLMs have."""
        return self._tools.version if self._tools else ""

    @property
    def models(self) -> Mapping[str, Model]:
        return self._models

    def opened(self, batch: Batch, spawn: Spawn | None) -> None:
        """Know of a batch until `ended`; `spawn` answers those for children."""
        self._open.add(batch)
        if spawn is not None:
            self._spawns[batch] = spawn

    def ended(self, batch: Batch) -> None:
        self._open.discard(batch)
        self._spawns.pop(batch, None)

    def _flush(self) -> None:
        self._flush_trace()
        self._cache.flush()

    async def aclose(self) -> None:
        """Cancel what runs. Idempotent."""
        for batch in list(self._open):
            batch.cancel()
        if self._budget is not None:
            self._budget.cancel()
        if tasks := [task for lane in self._lanes.values() for task in lane.tasks]:
            await asyncio.wait(tasks)
        self._cache.close()

    def submit(self, call: Call) -> None:
        """Ask it when its turn comes."""
        if self._from_past(call) or self._from_memo(call):
            return
        batch = call.batch
        batch.pending.append(call)
        lane = self._lanes[batch.level]
        if len(batch.pending) == 1:
            lane.turn.append(batch)
        self._pump(lane)

    def _from_past(self, call: Call) -> bool:
        """Settle it as the record says, if this run was taken up again and it had been settled then."""
        child = isinstance(call.request, ChildRequest)
        event = self._past.outcome(call.batch.rollout, call.key, child=child) if self._past else None
        if event is None:
            return False
        spent = call.spent
        spent.attempts, spent.child = event["attempts"], event.get("child", "")
        # Of a child: with all below it, since its own turns are not told again.
        spent.input, spent.output = event.get("took") or (event["input_tokens"], event["output_tokens"])
        spent.estimated = event["estimated"]
        if error := event.get("error"):
            text = error.get("text", "")
            call.batch.fail(call.index, error["kind"], error["message"], text=text, call=call, past=True)
        else:
            call.batch.succeed(call, past_reply(event), cached=event["cached"], past=True)
        return True

    def _from_memo(self, call: Call) -> bool:
        if not call.request.options.cache:
            return False
        reply, kept = self._memo.get(call.key), False
        if reply is None and isinstance(call.request, Request):
            reply, kept = self._cache.get(call.key), True
        if reply is None:
            return False
        if kept:
            self._memo.put(call.key, reply)
        if self._past is None or ("call.completed", call.batch.id, call.index) not in self._past.known:
            self._ledger.count_cached()
        call.batch.succeed(call, reply, cached=True, kept=kept)
        return True

    def _pump(self, lane: _Lane) -> None:
        """Start calls, one of each batch in turn, while there are places and budget."""
        while lane.turn and len(lane.tasks) < lane.places:
            batch = lane.turn.popleft()
            if not batch.pending:  # cancelled meanwhile
                continue
            if not self._start(batch.pending[0], lane):
                lane.turn.appendleft(batch)
                self._wait_for_budget()
                return
            batch.pending.popleft()
            if batch.pending:
                lane.turn.append(batch)

    def _wait_for_budget(self) -> None:
        if self._budget is None:
            self._budget = asyncio.ensure_future(self._ledger.given_back())
            self._budget.add_done_callback(self._go_on)

    def _go_on(self, waiting: asyncio.Task[None]) -> None:
        self._budget = None
        if not waiting.cancelled():
            self._pump_all()

    def _pump_all(self) -> None:
        for lane in self._lanes.values():
            self._pump(lane)

    def _start(self, call: Call, lane: _Lane) -> bool:
        """Ask, or settle the call otherwise; False if it has to wait for budget that open calls hold."""
        request = call.request
        if self._from_memo(call) or (request.options.cache and self._memo.join(call.key, call)):
            return True
        if isinstance(request, ChildRequest):
            place = self._ledger.reserve_child()
        elif message := self._too_long(request):
            call.batch.fail(call.index, "too_long", message, call=call)
            return True
        else:
            model = request.options.model
            place = self._ledger.reserve("sub", model, request.input_tokens, request.options.max_tokens)
        if isinstance(place, Shortage):
            if place.temporary:
                return False
            call.batch.fail(call.index, "budget", place.message, call=call)
            return True
        self._ask(call, place, lane)
        return True

    def _too_long(self, request: Request) -> str:
        """Why it cannot fit the model's window; empty if it can, or the window is not known."""
        window, reply = self._models[request.options.model].context_window, request.options.max_tokens
        if window is None or request.input_tokens + reply <= window:
            return ""
        room = f"{window:,} tokens less {reply:,} for the reply"
        return f"about {request.input_tokens:,} tokens do not fit the model's {room}"

    def _ask(self, call: Call, place: Reservation, lane: _Lane) -> None:
        if call.request.options.cache:
            self._memo.begin(call.key)
        call.spent.begun = time.monotonic()
        task = asyncio.ensure_future(self._work(call, place))
        lane.tasks.add(task)
        call.batch.running[call.index] = task
        # Settled in the callback and not in a coroutine: a task that is cancelled before its first
        # step runs no code of its own, and would leave its reservation open.
        task.add_done_callback(partial(self._settle, call, place, lane))

    def _work(self, call: Call, place: Reservation) -> Coroutine[Any, Any, Reply]:
        request = call.request
        if isinstance(request, ChildRequest):
            return self._spawns[call.batch](call, request)
        model = self._models[request.options.model]
        if request.options.tools or request.options.shape:
            return SubAgent(
                request,
                model,
                place,
                ledger=self._ledger,
                spent=call.spent,
                tools=self._tools,
                max_turns=self._sub_max_turns,
                emit=partial(_tell, call),
                past=self._past.partial(call.batch.rollout, call.key) if self._past else None,
            ).answer()
        return _plain(request, model, place, call.spent)

    def _settle(self, call: Call, place: Reservation, lane: _Lane, task: asyncio.Task[Reply]) -> None:
        lane.tasks.discard(task)
        del call.batch.running[call.index]
        if place.open:
            # A child took nothing itself; anything else was never asked.
            if call.spent.child:
                place.settle(Tokens(), attempts=0)
            else:
                place.release()
        if task.cancelled():
            self._cancelled(call)
        elif (error := task.exception()) is not None:
            self._failed(call, error)
        else:
            self._succeeded(call, task.result())
        self._pump_all()

    def _succeeded(self, call: Call, reply: Reply) -> None:
        cache = call.request.options.cache
        if cache and isinstance(call.request, Request):
            self._cache.put(call.key, reply)
        call.batch.succeed(call, reply, cached=False)
        for waiter in self._memo.end(call.key, reply) if cache else ():
            if not waiter.batch.closed:
                self._from_memo(waiter)

    def _failed(self, call: Call, error: BaseException) -> None:
        text = ""
        if isinstance(error, ModelError | CallFailed):
            kind, message = error.kind, str(error)
            text = error.text if isinstance(error, CallFailed) else ""
        else:
            kind, message = "endpoint", f"internal error: {type(error).__name__}"
            context = {"message": "a model raised what is not a ModelError", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
        call.batch.fail(call.index, kind, message, text=text, call=call)
        for waiter in self._memo.end(call.key, None) if call.request.options.cache else ():
            waiter.batch.fail(waiter.index, kind, message, call=waiter)

    def _cancelled(self, call: Call) -> None:
        call.batch.fail(call.index, "cancelled", "the call was cancelled", call=call)
        for waiter in self._memo.end(call.key, None) if call.request.options.cache else ():
            if not waiter.batch.closed:  # another batch still wants the reply
                self.submit(waiter)


async def _plain(request: Request, model: Model, place: Reservation, spent: Spent) -> Reply:
    """The hot path: one prompt, one request."""
    options = request.options
    completion = await ask(
        model,
        request.messages,
        place,
        spent,
        max_tokens=options.max_tokens,
        timeout=options.timeout,
        params=options.params,
    )
    return Reply(completion.text, completion.model)


def _tell(call: Call, type_: str, /, **fields: Any) -> None:
    """Emit an event of one call."""
    call.batch.emit(type_, batch=call.batch.id, index=call.index, key=call.key, **fields)


def past_reply(event: Event) -> Reply:
    """The reply that a `call.completed` tells of."""
    extra: dict[str, Any] = {
        name: event[name] for name in ("data", "turns", "tool_calls", "ready", "stop_reason") if name in event
    }
    return Reply(event["text"], event["model"], extra, took=event.get("took"))
