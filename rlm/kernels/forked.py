"""One kernel process as the host sees it: what it was asked, how it ends, and the ladder that ends it.

The ladder of an interrupt: SIGINT by the agent (the kernel's own control thread would need the GIL),
some grace, SIGKILL of the kernel and of everything it started. Should the agent not report that end,
the whole sandbox is ended. A kernel's end is reported by the agent at once; no heartbeat is involved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from rlm.bridge import frames
from rlm.bridge.server import GuestBridge
from rlm.errors import ProtocolError, SandboxError
from rlm.kernels.jupyter import KernelMessages
from rlm.kernels.link import AgentLink
from rlm.protocols import Death

GRACE = (0.3, 0.7, 1.0)
"""Seconds after each SIGINT; then comes SIGKILL."""
KILL_TIMEOUT = 5.0
"""Seconds for the agent to report a killed kernel before the whole sandbox goes."""
MAX_STRAYS = 100
"""Messages that nobody asked for, after which a kernel is killed."""


class ForkedKernel:
    """A kernel of the sandbox behind `link`. Lives on the event loop."""

    def __init__(self, number: int, link: AgentLink, *, root: bool, on_violation: Callable[[str], None]) -> None:
        loop = asyncio.get_running_loop()
        self.number = number
        self.root = root
        self.messages = KernelMessages()
        self.started: asyncio.Future[None] = loop.create_future()
        self.died: asyncio.Future[Death] = loop.create_future()
        self.reply: asyncio.Future[dict[str, Any]] = loop.create_future()
        """The content of the reply to the last cell."""
        self.killed = ""
        """Why the host has killed it, if it has."""
        self.bridge: GuestBridge | None = None
        self._link = link
        self._on_violation = on_violation
        self._asked = ""
        self._strays = 0

    @property
    def outcomes(self) -> set[asyncio.Future[Any]]:
        """What ends a cell: its reply, the end of its kernel, the end of the sandbox."""
        return {self.reply, self.died, self._link.ended}

    def ask(self, code: str, said: str = "") -> None:
        """Have it run a cell; `reply` is that cell's from now on."""
        self._asked, payload = self.messages.execute_request(code, said)
        self.reply = asyncio.get_running_loop().create_future()
        self._link.send(frames.agent_frame(frames.SHELL, self.number, payload))

    def take(self, channel: int, payload: bytes) -> None:
        """What comes from it. A killed one is not listened to."""
        if self.killed:
            return
        if channel == frames.BRIDGE:
            if self.bridge is not None:
                self.bridge.feed(payload)
            return
        try:
            asked, content = self.messages.read_reply(payload)
        except ProtocolError as error:
            self.stray(str(error))
            return
        if asked == self._asked and not self.reply.done():
            self.reply.set_result(content)
        else:
            self.stray()

    def stray(self, violation: str = "") -> None:
        """A message that is not the reply that is waited for: now and then a late one, in numbers an attack."""
        self._strays += 1
        if violation:
            self._on_violation(violation)
        if self._strays >= MAX_STRAYS:
            self._order_kill("it sent messages that nobody had asked for")

    def failed(self, detail: str) -> None:
        """The guest's word that it cannot become a kernel."""
        if not self.started.done():
            self.started.set_exception(SandboxError(detail))

    def exited(self, death: Death) -> None:
        """The agent's word of its end: nobody hears of its sub-calls any more."""
        self.failed(f"the kernel could not start: {death.detail}")
        if not self.died.done():
            self.died.set_result(death)
        if self.bridge is not None:
            self.bridge.cut()

    async def death(self, otherwise: str) -> Death:
        """Why it is gone, or the sandbox with it; `otherwise` if neither says so in time."""
        ended = self._link.ended
        await asyncio.wait({self.died, ended}, timeout=KILL_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        if self.died.done():
            return self.died.result()
        return ended.result() if ended.done() else Death("lost", otherwise)

    async def stop(self) -> None:
        """Interrupt the cell: as many steps of the ladder as it takes until there is an outcome."""
        if self.bridge is not None:
            self.bridge.cancel_all()
        outcomes = self.outcomes
        for pause in GRACE:
            # More than one, since an interrupt is lost that comes before the cell, or falls into a destructor.
            self._link.control("signal", kernel=self.number, signal=2)
            done, _ = await asyncio.wait(outcomes, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            if done:
                return
        await self.kill("it did not stop when interrupted")

    async def kill(self, why: str) -> None:
        self._order_kill(why)
        ends: set[asyncio.Future[Any]] = {self.died, self._link.ended}
        done, _ = await asyncio.wait(ends, timeout=KILL_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            await self._link.kill()

    def _order_kill(self, why: str) -> None:
        if not self.killed:
            self.killed = why
            self._link.control("kill", kernel=self.number)

    async def aclose(self) -> None:
        """Cancel its sub-calls and wait for them, and end its process; the root's end is not waited for."""
        if self.bridge is not None:
            await self.bridge.aclose()
        if not self.died.done():
            self._order_kill("it is not needed any more")
        if not self.root and not self.died.done():
            ends: set[asyncio.Future[Any]] = {self.died, self._link.ended}
            await asyncio.wait(ends, timeout=KILL_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
