"""One sandbox with one root kernel: start, execute, interrupt, revive, end.

A kernel that dies, of itself or at the end of the ladder (`rlm.kernels.root`), is followed by a
fresh fork of the zygote, which still holds the input; a sandbox that is lost, by a new one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from rlm.bridge.server import WINDOW, BridgeEvents, GuestBridge
from rlm.errors import ProtocolError, SandboxError
from rlm.kernels import jupyter
from rlm.kernels.clock import ActiveClock
from rlm.kernels.deaths import read_death
from rlm.kernels.link import AgentLink, Control
from rlm.kernels.report import read_report
from rlm.kernels.root import RootKernel
from rlm.protocols import (
    Answer,
    CellError,
    CellResult,
    CellStatus,
    Death,
    Emit,
    Handler,
    Launcher,
    SandboxSpec,
    SubCalls,
)

START_TIMEOUT = 120.0
"""Seconds for the sandbox to build `context`: 1 GB of text takes about one."""
LIVE_OUTPUT = 1 << 15
"""Characters of a running cell's output that are kept in case it dies."""
LIVE_ANSWERS = 16 << 20
"""Characters of `answer` that are passed on while a cell runs; beyond them, its last state when the cell has ended."""
MAX_CODE = 1 << 20
"""Characters of a cell: compiling more takes seconds, and data does not belong there."""
FILES_SHARE = 8
"""After an out-of-memory kill, a sandbox with more than one part in so many taken by files is given up."""
MAX_LAUNCHES = 10
"""Sandboxes that one session may use up."""


class KernelSession:
    """Implements `rlm.protocols.Kernel` over any `Launcher`."""

    def __init__(
        self,
        launcher: Launcher,
        spec: SandboxSpec,
        *,
        subcalls: SubCalls,
        emit: Emit,
        on_answer: Callable[[Answer], None] | None = None,
        handlers: Mapping[str, Handler] | None = None,
    ) -> None:
        self._launcher = launcher
        self._spec = spec
        self._subcalls = subcalls
        self._emit = emit
        self._on_answer = on_answer
        self._handlers = handlers
        self._link: AgentLink | None = None
        self._root: RootKernel | None = None
        self._ready: asyncio.Future[None] | None = None
        self._clock: ActiveClock | None = None
        self._live = ""
        self._answer_room = LIVE_ANSWERS
        self._told = Answer()
        self._busy = False
        self._spoiled = False
        """The sandbox must not be used again, although it lives."""
        self._numbers = 0
        self._launches = 0
        self._oom_kills = 0
        self._closed = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self.answer = Answer()

    # --- start and end ----------------------------------------------------------------------

    async def start(self) -> None:
        began = time.monotonic()
        try:
            await self._launch()
            await self._fork()
        except BaseException:
            await asyncio.shield(asyncio.get_running_loop().create_task(self.aclose()))
            raise
        self._emit("kernel.started", sandbox=self._launcher.name, seconds=round(time.monotonic() - began, 3))

    async def aclose(self) -> None:
        self._closed = True
        await self._drop_root()
        if self._link is not None:
            link, self._link = self._link, None
            await link.aclose()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _launch(self) -> None:
        self._launches += 1
        if self._launches > MAX_LAUNCHES:
            raise SandboxError(f"the sandbox was lost {MAX_LAUNCHES} times; giving up")
        process = await self._launcher.launch(self._spec)
        if self._closed:
            await process.aclose()
            raise SandboxError("this kernel is closed")
        self._ready = asyncio.get_running_loop().create_future()
        self._link = AgentLink(process, on_control=self._control, on_frame=self._frame, on_violation=self._violation)
        self._oom_kills = 0
        self._spoiled = False
        self._link.control("boot", config=dict(self._spec.config))
        await asyncio.to_thread(jupyter.warm)
        await self._unless_ended(self._ready, "start")

    async def _fork(self) -> None:
        """A fresh kernel from the zygote; `answer` goes on where the last one left it."""
        assert self._link is not None
        self._numbers += 1
        root = self._root = RootKernel(self._numbers, self._link, on_violation=self._violation)
        root.bridge = self._make_bridge(root.number)
        last = {"content": self.answer.content, "version": self.answer.version}
        self._link.control("fork", kernel=root.number, key=root.messages.key, credit=WINDOW, answer=last)
        await self._unless_ended(root.started, "start its kernel")

    async def _unless_ended(self, future: asyncio.Future[None], what: str) -> None:
        """Wait for `future`, but not for a sandbox that has ended or hangs. Raises `SandboxError`."""
        link = self._link
        assert link is not None
        either: set[asyncio.Future[Any]] = {future, link.ended}
        await asyncio.wait(either, timeout=START_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        if future.done():
            return future.result()
        why = f"it ended: {link.ended.result().detail}" if link.ended.done() else f"no word in {START_TIMEOUT:.0f} s"
        tail = link.stderr_tail().strip()
        self._link = None
        await link.aclose()
        raise SandboxError(f"the {self._launcher.name} sandbox could not {what}: {why}" + (f"\n{tail}" if tail else ""))

    def _make_bridge(self, number: int) -> GuestBridge:
        link = self._link
        assert link is not None
        events = BridgeEvents(
            send=lambda data: link.send_bridge(number, data),
            credit=lambda amount: link.control("credit", kernel=number, bytes=amount),
            close=lambda: link.control("close_bridge", kernel=number),
            busy=lambda busy: self._clock.pause(busy) if self._clock is not None else None,
            answer=self._take_answer,
            output=self._take_output,
        )
        return GuestBridge(events=events, subcalls=self._subcalls, handlers=self._handlers, emit=self._emit)

    async def _drop_root(self) -> None:
        root, self._root = self._root, None
        if root is not None:
            await root.aclose()

    # --- what comes out of the sandbox --------------------------------------------------------

    def _control(self, message: Control) -> None:
        root = self._root
        mine = root if root is not None and message.get("kernel") == root.number else None
        match message["op"]:
            case "ready" if self._ready is not None and not self._ready.done():
                self._ready.set_result(None)
            case "failed" if self._ready is not None and not self._ready.done():
                self._ready.set_exception(SandboxError(f"the input could not be loaded: {message.get('detail')}"))
            case "started" if mine is not None and not mine.started.done():
                mine.started.set_result(None)
            case "exited" if mine is not None:
                self._exited(mine, message)
            case "violation" if mine is not None:
                mine.stray(str(message.get("detail"))[:500])

    def _exited(self, root: RootKernel, message: Control) -> None:
        kills = message.get("oom_kills")
        kills = kills if type(kills) is int else 0
        death = read_death(message.get("status"), killed=root.killed, out_of_memory=kills > self._oom_kills)
        files = message.get("files")
        if death.reason == "oom" and type(files) is int and files > self._spec.memory // FILES_SHARE:
            # They would take the memory of every fresh kernel in this sandbox.
            death = Death("oom", f"{death.detail}; the files in /tmp, which count as memory, are lost too")
            self._spoiled = True
        self._oom_kills = max(kills, self._oom_kills)
        if not root.started.done():
            root.started.set_exception(SandboxError(f"the kernel could not start: {death.detail}"))
        root.exited(death)

    def _frame(self, channel: int, number: int, payload: bytes) -> None:
        root = self._root
        if root is not None and root.number == number:
            root.take(channel, payload)

    def _violation(self, detail: str) -> None:
        self._emit("protocol.error", detail=detail)

    def _take_answer(self, answer: Answer) -> None:
        if answer.version <= self.answer.version:
            return
        self.answer = answer
        self._answer_room -= len(answer.content) + 100
        if self._answer_room > 0:
            self._tell_answer()

    def _tell_answer(self) -> None:
        if self._on_answer is not None and self._told is not self.answer:
            self._told = self.answer
            self._on_answer(self.answer)

    def _take_output(self, text: str) -> None:
        if len(self._live) < LIVE_OUTPUT:
            self._live += text[: LIVE_OUTPUT - len(self._live)]

    # --- cells ------------------------------------------------------------------------------

    async def execute(self, code: str, *, timeout: float | None = None) -> CellResult:
        if self._busy:
            raise SandboxError("this kernel is running a cell already")
        if len(code) > MAX_CODE:
            why = f"the cell has {len(code):,} characters, and the limit is {MAX_CODE:,}; nothing was executed"
            return CellResult(status="error", error=CellError("CodeTooLong", why, ""), answer=self.answer)
        self._busy = True
        try:
            return await self._execute(code, timeout)
        finally:
            self._busy = False
            self._tell_answer()

    async def _execute(self, code: str, timeout: float | None) -> CellResult:
        if self._tasks:
            # A cell whose caller did not wait until it was stopped.
            await asyncio.wait(self._tasks)
        root = await self._living_root()
        clock = self._clock = ActiveClock()
        self._live, self._answer_room = "", LIVE_ANSWERS
        root.ask(code)
        expiry = asyncio.get_running_loop().create_task(clock.expire(timeout))
        status: CellStatus | None = None
        try:
            await asyncio.wait({*root.outcomes, expiry}, return_when=asyncio.FIRST_COMPLETED)
            if not any(outcome.done() for outcome in root.outcomes):
                status = "timeout"
                await root.stop()
            return await self._result(root, clock, status)
        except asyncio.CancelledError:
            await self._shielded(root.stop())
            raise
        finally:
            expiry.cancel()
            self._clock = None

    async def _living_root(self) -> RootKernel:
        """The root kernel; a fresh one when the last has died. Raises `SandboxError`."""
        if self._closed:
            raise SandboxError("this kernel is closed")
        if self._link is None or self._link.ended.done() or self._spoiled:
            await self._revive(relaunch=True)
        elif self._root is None or self._root.died.done():
            await self._revive(relaunch=False)
        assert self._root is not None
        # Reviving it may have been cancelled halfway.
        await self._unless_ended(self._root.started, "start its kernel")
        return self._root

    async def _revive(self, *, relaunch: bool) -> None:
        began = time.monotonic()
        await self._drop_root()
        try:
            if not relaunch:
                await self._fork()
        except SandboxError as error:
            self._violation(f"no fresh kernel in the same sandbox: {error}")
            relaunch = True
        if relaunch:
            await self._relaunch()
        self._emit("kernel.restarted", sandbox_lost=relaunch, seconds=round(time.monotonic() - began, 3))

    async def _relaunch(self) -> None:
        await self._drop_root()
        if self._link is not None:
            link, self._link = self._link, None
            await link.aclose()
        await self._launch()
        await self._fork()

    async def _result(self, root: RootKernel, clock: ActiveClock, status: CellStatus | None) -> CellResult:
        seconds, active = round(clock.wall, 4), round(clock.active, 4)
        detail = "the kernel's reply was not one"
        if root.reply.done():
            try:
                result = read_report(root.reply.result(), status=status, seconds=seconds, active=active)
                self._take_answer(result.answer)
                return result
            except ProtocolError as error:
                self._violation(str(error))
                detail = str(error)
                await root.kill(detail)
        death = await root.death(detail)
        self._emit("kernel.died", reason=death.reason, detail=death.detail)
        return CellResult(
            status="died",
            output=self._live,
            answer=self.answer,
            seconds=seconds,
            active_seconds=active,
            death=death,
        )

    async def interrupt(self) -> None:
        if self._root is not None and self._clock is not None:
            await self._root.stop()

    async def _shielded(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run to the end although the caller is being cancelled."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(task)
