"""The rollouts of one run: the root, and the children that its code asks for, to any depth.

A child is made like the root: a kernel in the same sandbox, sub-calls, a conversation. What it may do
follows from where it stands, which is decided here, on the host.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import count
from typing import Any

from rlm import parts
from rlm.budget import Ledger
from rlm.calls.batch import Call
from rlm.calls.caller import Caller, Place
from rlm.calls.outcome import CallFailed, Reply
from rlm.calls.request import ChildRequest
from rlm.calls.scheduler import Scheduler
from rlm.calls.shape import Shape
from rlm.config import Settings
from rlm.errors import ModelError
from rlm.events import ROOT
from rlm.kernels.sandbox import SandboxSession
from rlm.kernels.session import KernelSession
from rlm.loop import Outcome, Rollout, Task
from rlm.parts import Models
from rlm.past import CUT_OFF, Past
from rlm.prompts import render
from rlm.protocols import Answer, Emit, Handler, Model
from rlm.result import StopReason
from rlm.root import Role
from rlm.tools import Toolbox, ToolFailure

_KINDS: Mapping[StopReason, str] = {
    "max_turns": "budget",
    "max_tokens": "budget",
    "max_cost": "budget",
    "timeout": "timeout",
    "interrupted": "cancelled",
}
"""What a child without an answer comes to, by why it ended."""


@dataclass(slots=True)
class Node:
    """One rollout and what the tree knows of it."""

    id: str
    depth: int
    emit: Emit
    rollout: Rollout | None = None
    input_tokens: int = 0
    """Taken by it and all below it."""
    output_tokens: int = 0
    children: Any = field(default_factory=lambda: count(1))
    """Numbers for them."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Where a rollout works: its kernel, and who serves the sub-calls of that."""

    node: Node
    caller: Caller
    kernel: KernelSession
    started: asyncio.Task[None]
    """The kernel's start."""


class Tree:
    """Makes rollouts. Belongs to one run and one event loop.

    `system` gives the system prompt at a depth, `handlers` serve what every kernel may ask for.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        models: Models,
        ledger: Ledger,
        scheduler: Scheduler,
        sandbox: SandboxSession,
        handlers: Mapping[str, Handler],
        system: Callable[[int, int], str],
        toolbox: Toolbox,
        emit: Emit,
        past: Past | None = None,
    ) -> None:
        self._settings = settings
        self._models = models
        self._ledger = ledger
        self._scheduler = scheduler
        self._sandbox = sandbox
        self._handlers = handlers
        # Children are many, and their prompts few.
        self._system = cache(system)
        self._toolbox = toolbox
        self._emit = emit
        self._past = past

    @asynccontextmanager
    async def kernel(self) -> AsyncIterator[Desk]:
        """The root's kernel, starting; it is ended at the end, with all that it started."""
        async with self._desk(self._new_node(ROOT, 0), {}) as desk:
            yield desk

    def root(
        self,
        desk: Desk,
        question: str,
        preview: str,
        *,
        note: str = "",
        complaint: Callable[[str], Awaitable[str]] | None = None,
    ) -> Rollout:
        """The root's rollout, whose time has begun."""
        settings = self._settings
        task = Task(
            system=self._system(0, settings.max_turns),
            question=question,
            preview=preview,
            max_turns=settings.max_turns,
            deadline=self._ledger.deadline,
            note=note,
            complaint=complaint,
        )
        return self._rollout(desk, task, self._models.by_depth[0], Role(params=settings.root_params))

    async def _child(self, parent: Node, call: Call, request: ChildRequest) -> Reply:
        """Have a child of `parent` answer. Raises `CallFailed`."""
        assert parent.rollout is not None
        options = request.options
        name = self._past.child(parent.id, call.key) if self._past else None
        node = self._new_node(name or f"{parent.id}.{next(parent.children)}", parent.depth + 1)
        call.spent.child = node.id
        seconds = min(parent.rollout.seconds_for_children(), options.timeout or float("inf"))
        task = Task(
            system=self._system(node.depth, options.max_turns),
            question=request.query,
            preview=request.look,
            max_turns=options.max_turns,
            deadline=time.monotonic() + seconds,
            returns=options.shape.key if options.shape else "",
            complaint=partial(_misfit, options.shape) if options.shape else None,
        )
        role = Role(kind="sub", max_output=parts.sub_max_tokens(self._settings))
        kernel = {"context": request.context, "context_key": request.context_key, "typed": options.shape is not None}
        begun, outcome = time.monotonic(), Outcome("", False, "interrupted", 0)
        node.emit(
            "child.started",
            parent=parent.id,
            depth=node.depth,
            batch=call.batch.id,
            index=call.index,
            key=call.key,
            query=request.query,
            model=options.model,
            max_turns=options.max_turns,
        )
        try:
            async with self._desk(node, kernel) as desk:
                rollout = self._rollout(desk, task, self._scheduler.models[options.model], role)
                try:
                    outcome = await rollout.run()
                except asyncio.CancelledError:
                    outcome = rollout.outcome("interrupted")
                    raise
        finally:
            parent.input_tokens += node.input_tokens
            parent.output_tokens += node.output_tokens
            node.emit(
                "child.completed",
                answer=outcome.answer,
                ready=outcome.ready,
                stop_reason=outcome.stop_reason,
                error=str(outcome.error) if outcome.error else None,
                turns=outcome.turns,
                input_tokens=node.input_tokens,
                output_tokens=node.output_tokens,
                seconds=time.monotonic() - begun,
            )
        return _reply(outcome, request, node)

    def _new_node(self, id_: str, depth: int) -> Node:
        node = Node(id_, depth, emit=self._emit)
        if self._past:
            node.children = count(self._past.children(id_) + 1)
        node.emit = partial(self._tally, node)
        return node

    def _tally(self, node: Node, type_: str, /, **fields: Any) -> None:
        """Emit an event of a rollout, and count what it took."""
        if type_ in ("root.completed", "call.completed", "compaction.completed"):
            node.input_tokens += fields["input_tokens"]
            node.output_tokens += fields["output_tokens"]
        self._emit(type_, rollout=node.id, **fields)

    @asynccontextmanager
    async def _desk(self, node: Node, kernel_options: Mapping[str, Any]) -> AsyncIterator[Desk]:
        settings = self._settings
        deeper = node.depth + 1 < settings.depth
        spawn = partial(self._child, node) if deeper else None
        place = Place(depth=node.depth, rollout=node.id, calls=settings.depth > 0, spawn=spawn)
        defaults = parts.call_defaults(settings, self._models, node.depth, tools=bool(self._toolbox.definitions))
        caller = Caller(self._scheduler, place, defaults, emit=node.emit)
        kernel = KernelSession(
            self._sandbox,
            subcalls=caller,
            emit=node.emit,
            on_answer=partial(_on_answer, node),
            handlers=self._handlers_of(node),
            options={**kernel_options, "llm": place.calls, "deeper": deeper},
            root=node.depth == 0,
        )
        started = asyncio.create_task(kernel.start())
        try:
            yield Desk(node, caller, kernel, started)
        finally:
            await _end(started)
            await kernel.aclose()

    def _rollout(self, desk: Desk, task: Task, model: Model, role: Role) -> Rollout:
        node = desk.node
        node.rollout = Rollout(
            task,
            model=model,
            role=role,
            kernel=desk.kernel,
            started=desk.started,
            ledger=self._ledger,
            settings=self._settings,
            emit=node.emit,
            begin_cell=desk.caller.begin_cell,
            past=self._past.rollout(node.id) if self._past else None,
        )
        return node.rollout

    def _handlers_of(self, node: Node) -> dict[str, Handler]:
        """What this node's kernel may ask for. Without functions there is no such request at all."""
        handlers: dict[str, Handler] = {**self._handlers, "budget": partial(_budget, node)}
        if self._toolbox.repl_functions(self._settings.depth == 0):
            handlers["function"] = partial(self._function, node)
        return handlers

    async def _function(self, node: Node, message: Mapping[str, Any]) -> dict[str, Any]:
        """Serves a function of the REPL; tools of sub-LLMs are among them where there are no sub-LLMs."""
        name, args, kwargs = (message.get(key) for key in ("name", "args", "kwargs"))
        if self._past and (done := self._past.function(node.id, str(name)[:80], args, kwargs)):
            return {"failed": done["failed"]} if done["failed"] else {"result": done["result"]}
        begun, reply = time.monotonic(), {"failed": CUT_OFF}
        try:
            everything = self._settings.depth == 0
            reply = {"result": await self._toolbox.call_function(name, args, kwargs, everything=everything)}
        except ToolFailure as failure:
            reply = {"failed": str(failure)}
        finally:
            node.emit(
                "function.completed",
                name=str(name)[:80],
                args=args,
                kwargs=kwargs,
                result=reply.get("result"),
                failed=reply.get("failed"),
                seconds=time.monotonic() - begun,
            )
        return reply


def _on_answer(node: Node, answer: Answer) -> None:
    if node.rollout is not None:
        node.rollout.on_answer(answer)


async def _budget(node: Node, message: Mapping[str, Any]) -> dict[str, Any]:
    """Serves `budget()` of the REPL."""
    return node.rollout.budget() if node.rollout is not None else {}


async def _misfit(shape: Shape, answer: str) -> str:
    complaint = shape.read(answer).complaint
    return render("misfit", complaint=complaint) if complaint else ""


def _reply(outcome: Outcome, request: ChildRequest, node: Node) -> Reply:
    """What a child's end is to its parent. Raises `CallFailed`."""
    error, text = outcome.error, outcome.answer
    if error is not None:
        raise CallFailed(error.kind if isinstance(error, ModelError) else "invalid", str(error), text)
    if not text:
        kind = _KINDS.get(outcome.stop_reason, "invalid")
        raise CallFailed(kind, f"the child ended without an answer after {outcome.turns} turns: {outcome.stop_reason}")
    extra: dict[str, Any] = {"turns": outcome.turns, "ready": outcome.ready, "stop_reason": outcome.stop_reason}
    if request.options.shape:
        fit = request.options.shape.read(text)
        if fit.complaint:
            raise CallFailed("invalid", f"the child's answer does not fit the schema: {fit.complaint}", text)
        extra["data"] = fit.data
    return Reply(text, request.options.model, extra, took=(node.input_tokens, node.output_tokens))


async def _end(task: asyncio.Task[None]) -> None:
    """Stop a start that nobody waits for any more."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # it was raised where the start was awaited, or nobody needed the kernel
