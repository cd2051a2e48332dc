"""One rollout, the root's or a child's: prompt -> model -> cell -> observation -> … -> answer.

The conversation only ever grows, so that an endpoint's prefix cache stays warm. A reply without code gets a
reminder, which is not a turn. When a limit comes near, one last turn asks for the best answer, paid
from what was set aside for it; then the draft in `answer` is returned with the limit's name.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

from rlm.budget import Ledger
from rlm.compaction import Compactor
from rlm.config import Settings
from rlm.conversation import Conversation
from rlm.errors import PromptTooLong, RunError
from rlm.observation import Budget, observe, remaining_line
from rlm.past import Handover, PastRollout
from rlm.prompts import render
from rlm.protocols import Answer, CellResult, Emit, Kernel, Model
from rlm.repetition import Repetition
from rlm.reply import Reply
from rlm.result import StopReason
from rlm.root import Role, RootModel

MAX_REMINDERS = 2
"""In a row; the next reply without code ends the run."""
SAME = ("status", "output", "omitted", "error", "variables")
"""What a cell must come to again when it is executed again."""
LAST_SECONDS = 60.0
"""Most seconds set aside for the last turn; a tenth of `timeout` if that is less."""


class Outcome(NamedTuple):
    """How a rollout ended."""

    answer: str
    ready: bool
    stop_reason: StopReason
    turns: int
    error: BaseException | None = None


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a rollout is to do, and within which limits of its own."""

    system: str
    question: str
    preview: str
    max_turns: int
    deadline: float
    """When its time is over, as of `time.monotonic`."""
    note: str = ""
    """What else is asked of the answer."""
    returns: str = ""
    """The JSON Schema that the answer has to fit, if it has to."""
    complaint: Callable[[str], Awaitable[str]] | None = None
    """Gives what the model is told of an answer that will not do; an empty string for one that will."""


class Rollout:
    """A root model's way through one question. Used once.

    `started` is awaited before the first cell: the kernel may start while the model already writes.
    `begin_cell` is called before each cell. `past` is what the record holds of it, if the run was taken up again.
    """

    def __init__(
        self,
        task: Task,
        *,
        model: Model,
        role: Role,
        kernel: Kernel,
        started: Awaitable[None],
        ledger: Ledger,
        settings: Settings,
        emit: Emit,
        begin_cell: Callable[[], None],
        past: PastRollout | None = None,
    ) -> None:
        self._task = task
        self._root = RootModel(model, ledger, role=role, settings=settings, emit=emit)
        self._compactor = Compactor(
            model,
            ledger,
            role=role,
            compact_at=settings.compact_at,
            native_tools=settings.native_tools,
            emit=emit,
        )
        self._kernel = kernel
        self._started = started
        self._ledger = ledger
        self._settings = settings
        self._emit = emit
        self._begin_cell = begin_cell
        self._past = past or PastRollout()
        self._diverged: list[int] = []
        """Turns whose cells did something else when they were executed again."""
        self._seconds = task.deadline - time.monotonic()
        self._talk = Conversation(task.system)
        self._draft = Answer()
        self._refused = -1
        """The version of an answer that was not what had been asked for."""
        self._prose = ""
        self._said: list[str] = []
        """Replies since the last cell, for the REPL's `history`."""
        self._turns = self._announced = 0
        self._reminders = 0
        self._variables: dict[str, None] = {}
        self._repetition = Repetition()
        self._talk.say(
            render(
                "question",
                question=task.question,
                preview=task.preview,
                note=task.note,
                returns=task.returns,
                # A child's limits are not those that the system prompt tells, which is the same for all children.
                left=remaining_line(self._budget()._replace(half_used=role.kind == "sub")),
                native_tools=settings.native_tools,
            )
        )

    # --- from outside

    async def run(self) -> Outcome:
        """Play until there is an answer or a limit. A failure of the run is part of the outcome.

        If it is cancelled, `outcome("interrupted")` still tells the best draft.
        """
        try:
            return self.outcome(await self._play())
        except RunError as error:
            return self.outcome("error", error)
        finally:
            self._root.close()

    def outcome(self, reason: StopReason, error: BaseException | None = None) -> Outcome:
        """The outcome if the run ended now; an answer that is ready counts however the run ended."""
        if self._final:
            return Outcome(self._draft.content, True, "answered", self._turns)
        return Outcome(self._draft.content or self._prose, False, reason, self._turns, error)

    def on_answer(self, answer: Answer) -> None:
        """The guest's `answer` as it stands; versions only grow, also across kernels."""
        if answer.version > self._draft.version:
            self._draft = answer
            self._emit("answer.changed", version=answer.version, content=answer.content, ready=answer.ready)

    def seconds_for_children(self) -> float:
        """What is left of its time, less what its own last turn will need."""
        return self._seconds_left(last=False)

    def budget(self) -> dict[str, Any]:
        """What is left, as data for the REPL; None where there is no limit."""
        left = self._budget()
        turns = self._task.max_turns - self._turns
        return {
            "turns": turns,
            "sub_calls": left.sub_calls,
            "tokens": left.tokens,
            "cost": left.cost,
            "seconds": round(left.seconds, 1),
        }

    # --- the turns

    async def _play(self) -> StopReason:
        stop = await self._catch_up()
        if stop or self._past.offline:
            return stop or self._past.stop_reason or "interrupted"
        while True:
            await self._compactor.keep_within(self._talk)
            last = await self._why_last()
            stop = await self._step(last)
            if stop or last:
                return stop or last or "error"

    async def _catch_up(self) -> StopReason | None:
        """Go through what the record holds: nothing is asked, and the cells are executed, for the kernel's state.

        The model is told afterwards of cells that did something else than it had been told.
        """
        for step in self._past.steps:
            if isinstance(step, Handover):
                self._compactor.recall(self._talk, step.event)
                continue
            reply = self._root.recall(self._talk, step)
            if self._past.offline and reply.code is not None and self._turns + 1 not in self._past.cells:
                return None  # it was running at the end: what it asked is not on record
            stop = await self._take(reply, self._turns + 1, step.last)
            if stop or step.last:
                return stop or cast("StopReason", step.last)
        # Of the last cell it is told what came out now.
        if turns := [turn for turn in self._diverged if turn < self._turns]:
            self._talk.say(render("diverged", turns=turns))
        return None

    async def _step(self, last: StopReason | None) -> StopReason | None:
        """One request and, if it has code, one cell; returns why the run is over, if it is."""
        turn = self._turns + 1
        if last:
            self._talk.say(render("last_turn", reason=last, draft=len(self._draft.content)))
        if turn > self._announced:
            self._announced = turn
            self._emit("turn.started", turn=turn, max_turns=self._task.max_turns)
        try:
            async with asyncio.timeout(self._seconds_left(last=last is not None)) as deadline:
                reply = await self._root.reply(self._talk, turn, last=last)
        except TimeoutError:
            if not deadline.expired():
                raise
            return "timeout" if last else None
        except PromptTooLong:
            if not await self._compactor.after_refusal(self._talk):
                raise
            return None if last is None else await self._step(last)
        return last if reply is None else await self._take(reply, turn, last)

    async def _take(self, reply: Reply, turn: int, last: StopReason | None) -> StopReason | None:
        """Do what a reply says."""
        self._said.append(reply.text)
        if reply.code is None:
            return self._without_code(reply, last)
        self._turns, self._reminders, self._prose = turn, 0, ""
        return await self._execute(turn, reply.code, last=last is not None)

    def _without_code(self, reply: Reply, last: StopReason | None) -> StopReason | None:
        self._prose = reply.text.strip() if reply.broken in (None, "length") else self._prose
        if last:
            self._turns += 1
            return last
        if self._reminders == MAX_REMINDERS:
            return "loop"
        self._reminders += 1
        self._talk.say(render("reminder", kind=reply.broken or "prose", native_tools=self._settings.native_tools))
        return None

    async def _execute(self, turn: int, code: str, *, last: bool) -> StopReason | None:
        started = asyncio.ensure_future(self._started)
        if not (await asyncio.wait({started}, timeout=self._seconds_left(last=last)))[0]:
            self._talk.say(render("not_run"))
            return None
        await started
        self._begin_cell()
        self._emit("cell.started", turn=turn, code=code)
        cell = await self._run(code, self._seconds_left(last=last))
        fields = _cell_fields(cell)
        self._emit("cell.completed", turn=turn, **fields)
        self._compare(turn, fields)
        self.on_answer(cell.answer)
        complaint = "" if last else await self._complaint()
        if self._final and not complaint:
            return "answered"
        stop = self._observe(code, cell)
        if complaint:
            self._refused = self._draft.version
            self._talk.say(complaint)
        return stop

    def _compare(self, turn: int, fields: Mapping[str, Any]) -> None:
        """Whether a cell of the record has done the same again."""
        if (before := self._past.cells.get(turn)) is None:
            return
        for name in SAME:
            if before[name] != fields[name]:
                self._diverged.append(turn)
                self._emit("cell.diverged", turn=turn, field=name, expected=before[name], got=fields[name])
                return

    async def _complaint(self) -> str:
        """What is wrong with an answer that is ready; it is looked at once."""
        if not self._final or self._task.complaint is None or self._refused >= 0:
            return ""
        return await self._task.complaint(self._draft.content)

    async def _run(self, code: str, seconds: float) -> CellResult:
        """One cell, interrupted when the run's time is over: what it did until then is still observed."""
        said, self._said = "\n\n".join(self._said), []
        running = asyncio.ensure_future(self._kernel.execute(code, timeout=self._settings.cell_timeout, said=said))
        try:
            if (await asyncio.wait({running}, timeout=seconds))[0]:
                return await running
            await self._kernel.interrupt()
            cell = await running
            return replace(cell, status="interrupted") if cell.status == "error" else cell
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    def _observe(self, code: str, cell: CellResult) -> StopReason | None:
        limit, cell_timeout = self._settings.output_limit, self._settings.cell_timeout
        lost = list(self._variables) if cell.status == "died" else []
        if cell.status == "died":
            self._variables.clear()
        self._variables.update(dict.fromkeys(variable.name for variable in cell.variables))
        self._talk.say(observe(cell, self._budget(), limit=limit, cell_timeout=cell_timeout, lost=lost))
        # Not the traceback: it numbers the cells, so no two would be equal.
        error = f"{cell.error.name}: {cell.error.value}" if cell.error else ""
        verdict = self._repetition.see(code, f"{cell.status}\n{cell.output}\n{cell.output_tail}\n{error}")
        if verdict == "warn":
            self._talk.say(render("repeated"))
        return "loop" if verdict == "stop" else None

    # --- limits

    @property
    def _final(self) -> bool:
        return self._draft.ready and bool(self._draft.content) and self._draft.version > self._refused

    async def _why_last(self) -> StopReason | None:
        """The limit that makes the next turn the last one."""
        if self._turns + 1 >= self._task.max_turns:
            return "max_turns"
        if (seconds := self._seconds_left(last=False)) <= 0:
            return "timeout"
        try:
            async with asyncio.timeout(seconds):
                return await self._root.out_of_room(self._talk)
        except TimeoutError:
            return "timeout"

    def _seconds_left(self, *, last: bool) -> float:
        reserve = 0.0 if last else min(LAST_SECONDS, self._seconds / 10)
        return max(0.0, self._task.deadline - reserve - time.monotonic())

    def _budget(self) -> Budget:
        left, limits = self._ledger.remaining(), self._ledger.limits
        return Budget(
            turn=min(self._turns + 1, self._task.max_turns),
            max_turns=self._task.max_turns,
            seconds=self._seconds_left(last=False),
            sub_calls=left.sub_calls if self._settings.depth else None,
            tokens=left.tokens,
            cost=left.cost,
            half_used=self._turns >= self._task.max_turns / 2
            or self._seconds_left(last=True) <= self._seconds / 2
            or left.half_used(limits),
        )


def _cell_fields(cell: CellResult) -> dict[str, Any]:
    return {
        "status": cell.status,
        "output": cell.output + (f"\n…\n{cell.output_tail}" if cell.omitted else cell.output_tail),
        "omitted": cell.omitted,
        "error": {"name": cell.error.name, "value": cell.error.value, "traceback": cell.error.traceback}
        if cell.error
        else None,
        "seconds": cell.seconds,
        "active_seconds": cell.active_seconds,
        "variables": [variable.name for variable in cell.variables],
        "notices": list(cell.notices),
    }
