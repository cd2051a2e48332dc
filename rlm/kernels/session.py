"""One kernel of a sandbox as the loop sees it: start, execute, interrupt, revive, end.

A kernel that dies, of itself or at the end of the ladder (`rlm.kernels.forked`), is followed by a
fresh fork of the zygote, which still holds the input; a sandbox that is lost, by a new one, if this
kernel is the root of the run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from rlm.bridge.server import BridgeEvents, GuestBridge
from rlm.errors import ProtocolError, SandboxError
from rlm.kernels.clock import ActiveClock
from rlm.kernels.forked import ForkedKernel
from rlm.kernels.link import AgentLink
from rlm.kernels.report import read_report
from rlm.kernels.sandbox import SandboxSession
from rlm.protocols import Answer, CellError, CellResult, CellStatus, Emit, Handler, SubCalls

LIVE_OUTPUT = 1 << 15
"""Characters of a running cell's output that are kept in case it dies."""
LIVE_ANSWERS = 16 << 20
"""Characters of `answer` that are passed on while a cell runs; beyond them, its last state when the cell has ended."""
READ_SECONDS = 0.5
"""How long the end waits for the kernel's word of what it has read."""
MAX_CODE = 1 << 20
"""Characters of a cell: compiling more takes seconds, and data does not belong there."""


class KernelSession:
    """Implements `rlm.protocols.Kernel` in a sandbox that others may share.

    `options` go to the guest with each fork (see `guest.kernel`). A `root` kernel launches the sandbox
    anew if it is lost; another one gives up.
    """

    def __init__(
        self,
        sandbox: SandboxSession,
        *,
        subcalls: SubCalls,
        emit: Emit,
        on_answer: Callable[[Answer], None] | None = None,
        handlers: Mapping[str, Handler] | None = None,
        options: Mapping[str, Any] | None = None,
        root: bool = True,
    ) -> None:
        self._sandbox = sandbox
        self._subcalls = subcalls
        self._emit = emit
        self._on_answer = on_answer
        self._handlers = {**(handlers or {}), "read": self._take_read}
        self._cells = self._due = self._heard = 0
        """Of this kernel's cells: their number, and after which of them it will say, and has said, what it read."""
        self._news = asyncio.Event()
        self._options = dict(options or {})
        self._is_root = root
        self._kernel: ForkedKernel | None = None
        self._clock: ActiveClock | None = None
        self._live = ""
        self._answer_room = LIVE_ANSWERS
        self._told = Answer()
        self._busy = False
        self._closed = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self.answer = Answer()

    # --- start and end ----------------------------------------------------------------------

    async def start(self) -> None:
        began = time.monotonic()
        try:
            await self._sandbox.open()
            await self._fork()
        except BaseException:
            await asyncio.shield(asyncio.get_running_loop().create_task(self.aclose()))
            raise
        self._emit("kernel.started", sandbox=self._sandbox.name, seconds=round(time.monotonic() - began, 3))

    async def aclose(self) -> None:
        if self._kernel is not None and not self._kernel.died.done():
            await self._hear_out()
        self._closed = True
        await self._drop_kernel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _fork(self) -> None:
        """A fresh kernel from the zygote; `answer` goes on where the last one left it."""
        if self._closed:
            raise SandboxError("this kernel is closed")
        self._cells = self._due = self._heard = 0
        self._kernel = await self._sandbox.fork(
            make_bridge=self._make_bridge, answer=self.answer, root=self._is_root, options=self._options
        )

    def _make_bridge(self, kernel: ForkedKernel, link: AgentLink) -> GuestBridge:
        self._kernel = kernel
        number = kernel.number
        events = BridgeEvents(
            send=lambda data: link.send_bridge(number, data),
            credit=lambda amount: link.control("credit", kernel=number, bytes=amount),
            close=lambda: link.control("close_bridge", kernel=number),
            busy=lambda busy: self._clock.pause(busy) if self._clock is not None else None,
            answer=self._take_answer,
            output=self._take_output,
        )
        return GuestBridge(events=events, subcalls=self._subcalls, handlers=self._handlers, emit=self._emit)

    async def _drop_kernel(self) -> None:
        kernel, self._kernel = self._kernel, None
        if kernel is not None:
            await kernel.aclose()

    # --- what the guest says while a cell runs ------------------------------------------------

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

    async def _take_read(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """What the kernel has read after one of its cells: one such word for each, since more would fill the trace."""
        cell, read = message.get("cell"), message.get("bytes")
        if type(cell) is int and type(read) is int and self._heard < cell <= self._cells and read >= 0:
            self._heard = cell
            self._emit("context.read", bytes=read)
            self._news.set()
        return {}

    async def _hear_out(self) -> None:
        """Wait for the word that follows the last cell."""
        with suppress(TimeoutError):
            async with asyncio.timeout(READ_SECONDS):
                while self._heard < self._due:
                    self._news.clear()
                    await self._news.wait()

    def _take_output(self, text: str) -> None:
        if len(self._live) < LIVE_OUTPUT:
            self._live += text[: LIVE_OUTPUT - len(self._live)]

    # --- cells ------------------------------------------------------------------------------

    async def execute(self, code: str, *, timeout: float | None = None, said: str = "") -> CellResult:
        if self._busy:
            raise SandboxError("this kernel is running a cell already")
        if len(code) > MAX_CODE:
            why = f"the cell has {len(code):,} characters, and the limit is {MAX_CODE:,}; nothing was executed"
            return CellResult(status="error", error=CellError("CodeTooLong", why, ""), answer=self.answer)
        self._busy = True
        try:
            return await self._execute(code, timeout, said[:MAX_CODE])
        finally:
            self._busy = False
            self._tell_answer()

    async def _execute(self, code: str, timeout: float | None, said: str) -> CellResult:
        if self._tasks:
            # A cell whose caller did not wait until it was stopped.
            await asyncio.wait(self._tasks)
        kernel = await self._living_kernel()
        clock = self._clock = ActiveClock()
        self._live, self._answer_room = "", LIVE_ANSWERS
        self._cells += 1
        kernel.ask(code, said)
        expiry = asyncio.get_running_loop().create_task(clock.expire(timeout))
        status: CellStatus | None = None
        try:
            await asyncio.wait({*kernel.outcomes, expiry}, return_when=asyncio.FIRST_COMPLETED)
            if not any(outcome.done() for outcome in kernel.outcomes):
                status = "timeout"
                await kernel.stop()
            return await self._result(kernel, clock, status)
        except asyncio.CancelledError:
            await self._shielded(kernel.stop())
            raise
        finally:
            expiry.cancel()
            self._clock = None

    async def _living_kernel(self) -> ForkedKernel:
        """The kernel; a fresh one when the last has died. Raises `SandboxError`."""
        if self._closed:
            raise SandboxError("this kernel is closed")
        if self._sandbox.lost:
            await self._revive(reopen=True)
        elif self._kernel is None or self._kernel.died.done():
            await self._revive(reopen=False)
        assert self._kernel is not None
        # Reviving it may have been cancelled halfway.
        await self._sandbox.unless_ended(self._kernel.started, "start its kernel")
        return self._kernel

    async def _revive(self, *, reopen: bool) -> None:
        began = time.monotonic()
        await self._drop_kernel()
        try:
            if not reopen:
                await self._fork()
        except SandboxError as error:
            if not self._is_root:
                raise
            self._emit("protocol.error", detail=f"no fresh kernel in the same sandbox: {error}")
            reopen = True
        if reopen:
            await self._reopen()
        self._emit("kernel.restarted", sandbox_lost=reopen, seconds=round(time.monotonic() - began, 3))

    async def _reopen(self) -> None:
        if not self._is_root:
            raise SandboxError("the sandbox was lost")
        await self._drop_kernel()
        await self._sandbox.reopen()
        await self._fork()

    async def _result(self, kernel: ForkedKernel, clock: ActiveClock, status: CellStatus | None) -> CellResult:
        seconds, active = round(clock.wall, 4), round(clock.active, 4)
        detail = "the kernel's reply was not one"
        if kernel.reply.done():
            try:
                result = read_report(kernel.reply.result(), status=status, seconds=seconds, active=active)
                self._take_answer(result.answer)
                self._due = min(result.cell, self._cells)
                return result
            except ProtocolError as error:
                self._emit("protocol.error", detail=str(error))
                detail = str(error)
                await kernel.kill(detail)
        death = await kernel.death(detail)
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
        if self._kernel is not None and self._clock is not None:
            await self._kernel.stop()

    async def _shielded(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run to the end although the caller is being cancelled."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(task)
