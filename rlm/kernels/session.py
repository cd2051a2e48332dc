"""One sandbox with one root kernel: start, execute, interrupt, revive, end.

The ladder of an interrupt: SIGINT by the agent (the kernel's own control thread would need the GIL),
2 s of grace, SIGKILL of the kernel and of everything it started, a fresh fork of the zygote, which
still holds the input. Should the sandbox itself not answer, it is ended and a new one is launched.
A kernel's end is reported by the agent at once; no heartbeat is involved.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from rlm.bridge import frames
from rlm.bridge.server import WINDOW, BridgeEvents, GuestBridge
from rlm.errors import ProtocolError, SandboxError
from rlm.kernels.clock import ActiveClock
from rlm.kernels.deaths import read_death
from rlm.kernels.jupyter import KernelMessages
from rlm.kernels.link import AgentLink, Control
from rlm.kernels.report import read_report
from rlm.protocols import (
    Answer,
    CellResult,
    CellStatus,
    Death,
    Emit,
    Handler,
    Launcher,
    SandboxSpec,
    SubCalls,
)

GRACE = 2.0
"""Seconds between SIGINT and SIGKILL."""
START_TIMEOUT = 120.0
"""Seconds for the sandbox to build `context`: 1 GB of text takes about one."""
KILL_TIMEOUT = 5.0
"""Seconds for the agent to report a killed kernel before the whole sandbox goes."""
LIVE_OUTPUT = 1 << 15
"""Characters of a running cell's output that are kept in case it dies."""
MAX_LAUNCHES = 4
"""Sandboxes that one session may use up."""


class _Root:
    """The state of one kernel process."""

    def __init__(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        self.number = number
        self.messages = KernelMessages()
        self.started: asyncio.Future[None] = loop.create_future()
        self.died: asyncio.Future[Death] = loop.create_future()
        self.killed = False
        self.bridge: GuestBridge | None = None
        self.waiting_for: str | None = None
        self.reply: asyncio.Future[dict[str, Any]] = loop.create_future()


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
        self._root: _Root | None = None
        self._ready: asyncio.Future[None] | None = None
        self._clock: ActiveClock | None = None
        self._live: list[str] = []
        self._numbers = 0
        self._launches = 0
        self._oom_kills = 0
        self._closed = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self.answer = Answer()

    # --- start and end ----------------------------------------------------------------------

    async def start(self) -> None:
        began = time.monotonic()
        await self._launch()
        await self._fork()
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
        self._ready = asyncio.get_running_loop().create_future()
        self._link = AgentLink(process, on_control=self._control, on_frame=self._frame, on_violation=self._violation)
        self._oom_kills = 0
        self._link.control("boot", config=dict(self._spec.config))
        await self._unless_ended(self._ready, "start")

    async def _fork(self) -> None:
        """A fresh kernel from the zygote; `answer` goes on where the last one left it."""
        assert self._link is not None
        self._numbers += 1
        root = self._root = _Root(self._numbers)
        root.bridge = self._make_bridge(root)
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

    def _make_bridge(self, root: _Root) -> GuestBridge:
        link = self._link
        assert link is not None
        number = root.number
        events = BridgeEvents(
            send=lambda data: link.send(frames.agent_frame(frames.BRIDGE, number, data)),
            credit=lambda amount: link.control("credit", kernel=number, bytes=amount),
            close=lambda: link.control("close_bridge", kernel=number),
            busy=lambda busy: self._clock.pause(busy) if self._clock is not None else None,
            answer=self._take_answer,
            output=self._take_output,
        )
        return GuestBridge(events=events, subcalls=self._subcalls, handlers=self._handlers, emit=self._emit)

    async def _drop_root(self) -> None:
        root, self._root = self._root, None
        if root is not None and root.bridge is not None:
            await root.bridge.aclose()

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
            case "violation":
                self._violation(str(message.get("detail"))[:500])

    def _exited(self, root: _Root, message: Control) -> None:
        kills = message.get("oom_kills")
        kills = kills if type(kills) is int else 0
        death = read_death(message.get("status"), killed=root.killed, out_of_memory=kills > self._oom_kills)
        self._oom_kills = max(kills, self._oom_kills)
        if not root.started.done():
            root.started.set_exception(SandboxError(f"the kernel could not start: {death.detail}"))
        if not root.died.done():
            root.died.set_result(death)

    def _frame(self, channel: int, number: int, payload: bytes) -> None:
        root = self._root
        if root is None or root.number != number:
            return
        if channel == frames.BRIDGE:
            if root.bridge is not None:
                root.bridge.feed(payload)
            return
        try:
            parent, content = root.messages.read_reply(payload)
        except ProtocolError as error:
            self._violation(str(error))
            return
        if parent == root.waiting_for and not root.reply.done():
            root.reply.set_result(content)

    def _violation(self, detail: str) -> None:
        self._emit("protocol.error", detail=detail)

    def _take_answer(self, answer: Answer) -> None:
        if answer.version <= self.answer.version:
            return
        self.answer = answer
        if self._on_answer is not None:
            self._on_answer(answer)

    def _take_output(self, text: str) -> None:
        room = LIVE_OUTPUT - sum(map(len, self._live))
        if room > 0:
            self._live.append(text[:room])

    # --- cells ------------------------------------------------------------------------------

    async def execute(self, code: str, *, timeout: float | None = None) -> CellResult:
        root = await self._living_root()
        link = self._link
        assert link is not None
        clock = self._clock = ActiveClock()
        self._live = []
        root.waiting_for, payload = root.messages.execute_request(code)
        root.reply = asyncio.get_running_loop().create_future()
        link.send(frames.agent_frame(frames.SHELL, root.number, payload))
        expiry = asyncio.get_running_loop().create_task(clock.expire(timeout))
        status: CellStatus | None = None
        try:
            await asyncio.wait(self._outcomes(root) | {expiry}, return_when=asyncio.FIRST_COMPLETED)
            if expiry.done() and not root.reply.done() and not root.died.done():
                status = "timeout"
                await self._stop(root)
            return await self._result(root, clock, status)
        except asyncio.CancelledError:
            await self._shielded(self._stop(root))
            raise
        finally:
            expiry.cancel()
            self._clock = None

    def _outcomes(self, root: _Root) -> set[asyncio.Future[Any]]:
        assert self._link is not None
        return {root.reply, root.died, self._link.ended}

    async def _living_root(self) -> _Root:
        """The root kernel; a fresh one when the last has died. Raises `SandboxError`."""
        if self._closed:
            raise SandboxError("this kernel is closed")
        if self._link is None or self._link.ended.done():
            await self._revive(relaunch=True)
        elif self._root is None or self._root.died.done():
            await self._revive(relaunch=False)
        assert self._root is not None
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

    async def _result(self, root: _Root, clock: ActiveClock, status: CellStatus | None) -> CellResult:
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
                root.killed = True
                await self._kill(root)
        death = await self._death(root, detail)
        self._emit("kernel.died", reason=death.reason, detail=death.detail)
        return CellResult(
            status="died",
            output="".join(self._live),
            answer=self.answer,
            seconds=seconds,
            active_seconds=active,
            death=death,
        )

    async def _death(self, root: _Root, detail: str) -> Death:
        link = self._link
        assert link is not None
        if not root.died.done():
            # The reply may have been forged by a kernel that lives on, or the sandbox is gone as a whole.
            await asyncio.wait({root.died, link.ended}, timeout=KILL_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        if root.died.done():
            return root.died.result()
        return link.ended.result() if link.ended.done() else Death("lost", detail)

    # --- the ladder -------------------------------------------------------------------------

    async def interrupt(self) -> None:
        if self._root is not None and self._clock is not None:
            await self._stop(self._root)

    async def _stop(self, root: _Root) -> None:
        """SIGINT, grace, SIGKILL, the end of the sandbox: as far as it takes."""
        assert self._link is not None
        if root.bridge is not None:
            root.bridge.cancel_all()
        for _ in range(2):
            # A second one, since an interrupt that falls into a fork handler or a destructor is lost.
            self._link.control("signal", kernel=root.number, signal=2)
            await asyncio.wait(self._outcomes(root), timeout=GRACE / 2, return_when=asyncio.FIRST_COMPLETED)
            if any(outcome.done() for outcome in self._outcomes(root)):
                return
        await self._kill(root)

    async def _kill(self, root: _Root) -> None:
        assert self._link is not None
        root.killed = True
        self._link.control("kill", kernel=root.number)
        ends = {root.died, self._link.ended}
        await asyncio.wait(ends, timeout=KILL_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        if not any(end.done() for end in ends):
            await self._link.kill()

    async def _shielded(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run to the end although the caller is being cancelled."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(task)
