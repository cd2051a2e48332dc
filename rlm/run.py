"""One run, put together: input -> sandbox -> kernel, ledger, scheduler, models -> loop -> result.

Nothing is decided here; the parts are made, connected, and taken down again in any case.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from rlm import parts, threads
from rlm.briefing import REPL_NAMES, guest_config, system_prompt
from rlm.budget import Ledger, Limits
from rlm.calls.cache import ReplyCache, SqliteCache
from rlm.calls.scheduler import Scheduler
from rlm.citations import Cited, Citer
from rlm.config import Settings
from rlm.context import Choice, PreparedInput, prepare
from rlm.errors import ConfigError, PromptTooLong, RunError, UserError
from rlm.events import SCHEMA_VERSION, EventLog, Sink
from rlm.gates import Gate, GateClosed
from rlm.installs import Confirm
from rlm.keeping import kept
from rlm.kernels.sandbox import SandboxSession
from rlm.kernels.scratch import scratch_dir
from rlm.loop import Outcome, Rollout
from rlm.metrics import Metrics
from rlm.parts import Shared
from rlm.plain import PlainChat
from rlm.prompts import render
from rlm.protocols import Emit
from rlm.record import Record
from rlm.result import Failure, RunResult
from rlm.route import plain_prompt
from rlm.sandboxes import check_packages, open_sandbox
from rlm.tools import Toolbox, check_tools, open_toolbox
from rlm.trace.records import redactor
from rlm.trace.secrets import secrets_of
from rlm.trace.settings import told
from rlm.trace.store import new_run_id, runs_dir
from rlm.trace.writer import TraceWriter
from rlm.tree import Tree


class Run:
    """One question on its way. Used once.

    `inputs` are paths, globs, `-`, or `rlm.context.Value`. `sinks` get every event. `confirm` is asked, in a
    thread, about packages that the model wants and `allow_install` does not name; without it they are refused.
    `shared` is what it has in common with other runs and does not close; `run_id` its name, by default a fresh one.
    Raises `ConfigError` for settings that cannot make a run.
    """

    def __init__(
        self,
        settings: Settings,
        question: str,
        inputs: Sequence[Any] = (),
        *,
        sinks: Iterable[Sink] = (),
        confirm: Confirm | None = None,
        record: Record | None = None,
        shared: Shared | None = None,
        run_id: str | None = None,
    ) -> None:
        if not question.strip():
            raise ConfigError("the question is empty")
        self._record = record
        self._past = record.past if record else None
        self._offline = record is not None and record.offline
        taken_up = None if self._offline else record
        self.id = taken_up.run_id if taken_up else run_id or new_run_id()
        self._settings = settings
        self._question = question
        self._inputs = inputs
        self._confirm = confirm
        self._metrics = taken_up.metrics if taken_up else Metrics()
        seq, known = (taken_up.past.last_seq, taken_up.past.known) if taken_up else (0, None)
        self._events = EventLog(self.id, self._metrics, *sinks, seq=seq, known=known)
        self._emit: Emit = self._events.emit
        given = shared.models if shared else None
        self._models = given or parts.models(settings)
        self._own_models = () if given else self._models.all()
        self._ledger = parts.ledger(settings, shared.purse if shared else None)
        if record is not None:
            self._take_up(record)
        self._trace: TraceWriter | None = None
        self._citer: Citer | None = None
        self._rollout: Rollout | PlainChat | None = None
        self._task: asyncio.Task[Any] | None = None
        self._interrupted = False
        self._gate: Gate = nullcontext
        self._begun = time.monotonic() - (taken_up.past.seconds if taken_up else 0.0)
        check_packages(settings)
        check_tools(settings.tools, settings.mcp, settings.functions, REPL_NAMES)
        self._system(Toolbox())(0, settings.max_turns)  # a template that cannot be rendered is found now

    async def play(self, gate: Gate | None = None) -> RunResult:
        """Run to the end. Failures of the run are in the result; raises `UserError` before anything is spent.

        With a `gate` all is made ready first, the sandbox with the input in it too; then the gate is waited for, and
        left when the run has its answer, before it cleans up. Until it opens nothing is told or spent and no clock
        runs; a run that is cancelled before, or whose gate is closed, leaves nothing.
        """
        self._task = asyncio.current_task()
        if gate is not None:
            self._gate = gate
            self._events.hold()
        async with self._folder() as folder:
            return await self._completed(folder)

    async def _completed(self, folder: Path) -> RunResult:
        """Whatever happens, the last event tells the result, but for a mistake of the caller: then there is none."""
        try:
            if self._interrupted:
                return self._completion(self._so_far("interrupted"))
            outcome = await self._answer(folder)
            return self._completion(outcome, await self._cited(outcome.answer))
        except asyncio.CancelledError:
            if self._events.holding and not self._interrupted:
                raise
            result = self._completion(self._so_far("interrupted"))
            if not self._interrupted:
                raise
            _uncancel(self._task)
            return result
        except RunError as error:
            return self._completion(self._so_far("error", error))
        except (UserError, GateClosed):
            raise
        except BaseException as error:
            self._completion(self._so_far("error", error))
            raise
        finally:
            self._task = None

    def interrupt(self) -> None:
        """End the run with the best draft. On the run's event loop, or before the run has begun.

        A second call cuts the clean-up short.
        """
        self._interrupted = True
        if self._task is not None:
            self._task.cancel()

    def abandon(self) -> RunResult:
        """The result as it stands, told as the last event: for a process that ends now, without cleaning up."""
        return self._completion(self._so_far("interrupted"))

    def _take_up(self, record: Record) -> None:
        """Have what the record says was spent count; what is to be executed from it alone needs no limits."""
        record.check_has_turns()
        if self._offline:
            self._models = record.models(self._models)
            self._ledger = Ledger(Limits(), parts.prices(self._settings))
        else:
            record.check(self._settings)
        self._ledger.count_cached(record.past.cached)
        for each in record.past.spendings:
            self._ledger.recall(
                each.kind, each.model, each.tokens, attempts=each.attempts, call=each.call, child=each.child
            )

    # --- the parts

    async def _prepared(self, folder: Path) -> PreparedInput:
        """The input, looked at and spooled: in a thread that may be left behind, as stdin may never end."""
        if self._record is not None:
            return await threads.watch(self._record.prepared, name="rlm-prepare")
        work = partial(
            prepare,
            self._inputs,
            spool_dir=folder,
            memory=self._settings.memory,
            foreign_uid=self._settings.sandbox != "process",
            choice=Choice.of(self._settings),
        )
        return await threads.watch(work, name="rlm-prepare")

    async def _answer(self, folder: Path) -> Outcome:
        settings = self._settings
        prepared = await self._prepared(folder)
        if settings.cite:
            if not prepared.items:
                raise ConfigError("cite: there is no input to quote from")
            self._citer = Citer(prepared.items)
        try:
            prompt = await self._plain_prompt(prepared)
        except PromptTooLong:
            self._started(prepared, plain=True)
            raise
        self._started(prepared, plain=prompt is not None)
        async with AsyncExitStack() as stack:
            if self._trace is not None and self._record is None:
                redact = redactor(secrets_of(self._settings), inner=True)
                await stack.enter_async_context(kept(prepared, folder, redact=redact, emit=self._emit))
            for model in self._own_models:
                stack.push_async_callback(model.aclose)
            toolbox = await stack.enter_async_context(self._open_toolbox())
            self._tell_of(toolbox)
            if prompt is not None:
                return await self._plain(prompt, toolbox)
            scheduler = self._scheduler(toolbox)
            stack.push_async_callback(scheduler.aclose)
            opening = open_sandbox(
                settings,
                prepared,
                self.id,
                guest=guest_config(settings, toolbox),
                emit=self._emit,
                confirm=self._confirm,
            )
            sandbox = await stack.enter_async_context(opening)
            session = SandboxSession(sandbox.launcher, sandbox.spec, emit=self._emit)
            stack.push_async_callback(session.aclose)
            tree = Tree(
                settings,
                models=self._models,
                ledger=self._ledger,
                scheduler=scheduler,
                sandbox=session,
                handlers=sandbox.handlers,
                system=self._system(toolbox),
                toolbox=toolbox,
                emit=self._emit,
                past=self._past,
            )
            wanted: dict[str, Any] = {}
            if self._citer:
                wanted = {"note": render("cite", plain=False), "complaint": self._citer.complaint}
            desk = await stack.enter_async_context(tree.kernel())
            if self._events.holding:
                await asyncio.shield(desk.started)
            async with self._within_gate():
                self._rollout = tree.root(desk, self._question, prepared.preview, **wanted)
                return await self._rollout.run()

    @asynccontextmanager
    async def _within_gate(self) -> AsyncIterator[None]:
        """The time of the run, from its beginning to its answer."""
        async with self._gate():
            used = self._past.seconds if self._past else 0.0
            if self._events.holding:
                self._begun = time.monotonic() - used
                self._events.release()
            self._ledger.start_clock(used=used)
            yield

    async def _plain_prompt(self, prepared: PreparedInput) -> str | None:
        """The prompt of a plain call, if that is what the run is to be. Raises `PromptTooLong`."""
        if self._record is not None or self._settings.route == "rlm":
            return None
        window, cap = self._models.by_depth[0].context_window, parts.sub_max_tokens(self._settings)
        work = partial(plain_prompt, self._settings, self._question, prepared, window=window, max_output=cap)
        return await threads.watch(work, name="rlm-route")

    async def _plain(self, prompt: str, toolbox: Toolbox) -> Outcome:
        model = self._models.by_depth[0]
        chat = PlainChat(
            prompt, model=model, ledger=self._ledger, settings=self._settings, toolbox=toolbox, emit=self._emit
        )
        async with self._within_gate():
            self._rollout = chat
            return await chat.run()

    @asynccontextmanager
    async def _open_toolbox(self) -> AsyncIterator[Toolbox]:
        settings = self._settings
        if self._record is not None and self._offline:
            yield self._record.toolbox()
            return
        async with open_toolbox(settings.tools, settings.mcp, settings.functions, reserved=REPL_NAMES) as toolbox:
            if self._record is not None:
                self._record.check_tools(toolbox)
            yield toolbox

    def _tell_of(self, toolbox: Toolbox) -> None:
        there_is = toolbox.told(everything=self._settings.depth == 0)
        if there_is["tools"] or there_is["functions"] or there_is["shipped"]:
            system = render("sub", tools=True, max_turns=self._settings.sub_max_turns)
            self._emit("tools.opened", **there_is, system=system)

    def _system(self, toolbox: Toolbox) -> Callable[[int, int], str]:
        """The system prompts by depth and turns."""
        asks = self._confirm is not None
        return partial(system_prompt, self._settings, self._models, toolbox, install_asks=asks)

    def _scheduler(self, toolbox: Toolbox) -> Scheduler:
        settings = self._settings
        return Scheduler(
            self._models.by_name,
            self._ledger,
            flush=self._trace.flush if self._trace else _nothing,
            window=settings.concurrency + settings.concurrency // 4 + 1,
            child_places=settings.child_places,
            tools=toolbox if toolbox.definitions else None,
            sub_max_turns=settings.sub_max_turns,
            cache=self._cache(),
            past=self._past,
        )

    def _cache(self) -> ReplyCache | None:
        if self._settings.cache is None or self._offline:
            return None
        salt = parts.reply_salt(self._settings)
        return SqliteCache(self._settings.cache, salt=salt, on_error=lambda text: self._emit("notice", text=text))

    # --- folder, events, result

    @asynccontextmanager
    async def _folder(self) -> AsyncIterator[Path]:
        """The run's folder, which holds the trace; without a trace, one that goes with the run."""
        if self._settings.no_trace or self._offline:
            with scratch_dir() as scratch:
                yield scratch
            return
        folder = self._record.folder if self._record else runs_dir(self._settings.trace_dir) / self.id
        secrets = secrets_of(self._settings)
        self._trace = TraceWriter(folder, secrets=secrets, on_error=lambda text: self._emit("notice", text=text))
        self._events.record_to(self._trace)
        try:
            yield folder
        except BaseException as error:
            if self._record is None and (isinstance(error, UserError) or self._events.holding):
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            raise
        finally:
            self._trace.close()

    def _started(self, prepared: PreparedInput, *, plain: bool) -> None:
        settings = self._settings
        if self._past is not None:
            of_run = {name: self._past.started[name] for name in ("question", "model", "sub_model", "sandbox", "depth")}
            limits = dict(settings.limits())
            made = {"turns": self._past.turns, "calls": self._past.calls, "seconds": self._past.seconds}
            spent = {"usage": self._ledger.usage().to_dict(), "cost": self._ledger.cost()}
            self._emit("run.resumed", **made, **spent, **of_run, limits=limits)
            return
        self._emit(
            "run.started",
            schema_version=SCHEMA_VERSION,
            question=self._question,
            model=settings.model_at(0),
            sub_model=settings.sub_model_name,
            models=settings.model_names,
            sandbox=settings.sandbox,
            depth=settings.depth,
            route="llm" if plain else "rlm",
            settings=told(settings),
            sub_system=render("sub", tools=False),
            limits=dict(settings.limits()),
            inputs=prepared.manifest,
        )
        for notice in prepared.notices:
            self._emit("notice", text=notice)

    def _so_far(self, reason: Any, error: BaseException | None = None) -> Outcome:
        return self._rollout.outcome(reason, error) if self._rollout else Outcome("", False, reason, 0, error)

    async def _cited(self, answer: str) -> Cited | None:
        """The answer with its quotations looked up, if that is wanted."""
        return await self._citer.cited(answer) if self._citer else None

    def _completion(self, outcome: Outcome, cited: Cited | None = None) -> RunResult:
        """The result, told as the last event."""
        self._events.release()
        result = RunResult(
            answer=cited.answer if cited else outcome.answer,
            ready=outcome.ready,
            stop_reason=outcome.stop_reason,
            turns=outcome.turns,
            usage=self._ledger.usage(),
            cost=self._ledger.cost(),
            seconds=time.monotonic() - self._begun,
            run_id=self.id,
            trace=self._trace.path if self._trace else None,
            error=Failure.of(outcome.error) if outcome.error else None,
            citations=cited.citations if cited else None,
            metrics=self._metrics.to_dict(),
        )
        self._emit("run.completed", result=result.to_dict())
        return result


def _uncancel(task: asyncio.Task[Any] | None) -> None:
    """Undo every cancellation, so that the task can go on to return its result."""
    while task is not None and task.uncancel():
        continue


def _nothing() -> None:
    """There is no trace to flush."""
