"""One sandbox and the kernels in it: launched with the first kernel, launched anew when it is lost.

Every kernel is a fork of the sandbox's zygote, which holds the input. What comes out of the sandbox is
handed to the kernel that it names; the numbers are the host's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from rlm.bridge.server import WINDOW, GuestBridge
from rlm.errors import SandboxError, SandboxUnavailable
from rlm.kernels import jupyter
from rlm.kernels.deaths import read_death
from rlm.kernels.forked import ForkedKernel
from rlm.kernels.link import AgentLink, Control
from rlm.protocols import Answer, Death, Emit, Launcher, Process, SandboxSpec

START_TIMEOUT = 120.0
"""Seconds for the sandbox to build `context`: 1 GB of text takes about one."""
FILES_SHARE = 8
"""After an out-of-memory kill, a sandbox with more than one part in so many taken by files is given up."""
MAX_LAUNCHES = 10
"""Sandboxes that one run may use up."""
ENGINE_SECONDS = 30.0
"""How long a run whose sandbox was lost waits for the engine to come back, which may be about to restart."""
MAX_NUMBER = 0xFFFF
"""Kernel numbers are two bytes of a frame's header."""

MakeBridge = Callable[[ForkedKernel, AgentLink], GuestBridge]


class SandboxSession:
    """A started sandbox, by any `Launcher`. Belongs to one event loop."""

    def __init__(self, launcher: Launcher, spec: SandboxSpec, *, emit: Emit) -> None:
        self._launcher = launcher
        self._spec = spec
        self._emit = emit
        self._link: AgentLink | None = None
        self._ready: asyncio.Future[None] | None = None
        self._launching = asyncio.Lock()
        self._kernels: dict[int, ForkedKernel] = {}
        self._last_number = 0
        self._launches = 0
        self._oom_kills = 0
        self._spoiled = False
        self._closed = False

    @property
    def name(self) -> str:
        return self._launcher.name

    @property
    def lost(self) -> bool:
        """Whether no kernel can be had in it any more: it has ended, or must not be used again."""
        return self._link is None or self._link.ended.done() or self._spoiled

    async def open(self) -> None:
        """Launch it, unless that was done. Raises `SandboxUnavailable` and `SandboxError`."""
        async with self._launching:
            if not self._launches:
                await self._launch()

    async def reopen(self) -> None:
        """End what is left of a lost sandbox and launch another one. Raises `SandboxError`."""
        async with self._launching:
            await self._drop_link()
            await self._launch(patience=ENGINE_SECONDS)

    async def fork(
        self,
        *,
        make_bridge: MakeBridge,
        answer: Answer,
        root: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> ForkedKernel:
        """A fresh kernel; `answer` is what its dict goes on from, `options` what the guest adds to its configuration.

        Should memory run out, a kernel that is not `root` goes first. Raises `SandboxError`.
        """
        link = self._link
        if link is None:
            raise SandboxError("the sandbox was lost")
        kernel = ForkedKernel(self._next_number(), link, root=root, on_violation=self._violation)
        kernel.bridge = make_bridge(kernel, link)
        self._kernels[kernel.number] = kernel
        last = {"content": answer.content, "version": answer.version}
        request = {"kernel": kernel.number, "key": kernel.messages.key, "credit": WINDOW, "answer": last, "root": root}
        link.control("fork", **request, **(options or {}))
        await self.unless_ended(kernel.started, "start its kernel")
        return kernel

    async def unless_ended(self, future: asyncio.Future[None], what: str) -> None:
        """Wait for `future`, but not for a sandbox that has ended or hangs. Raises `SandboxError`."""
        link = self._link
        if link is None:
            raise SandboxError("the sandbox was lost")
        either: set[asyncio.Future[Any]] = {future, link.ended}
        await asyncio.wait(either, timeout=START_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        if future.done():
            return future.result()
        why = f"it ended: {link.ended.result().detail}" if link.ended.done() else f"no word in {START_TIMEOUT:.0f} s"
        tail = link.stderr_tail().strip()
        await self._drop_link()
        raise SandboxError(f"the {self.name} sandbox could not {what}: {why}" + (f"\n{tail}" if tail else ""))

    async def aclose(self) -> None:
        self._closed = True
        await self._drop_link()

    async def _launch(self, *, patience: float = 0.0) -> None:
        self._launches += 1
        if self._launches > MAX_LAUNCHES:
            raise SandboxError(f"the sandbox was lost {MAX_LAUNCHES} times; giving up")
        process = await self._process(time.monotonic() + patience)
        if self._closed:
            await process.aclose()
            raise SandboxError("this sandbox is closed")
        self._ready = asyncio.get_running_loop().create_future()
        self._link = AgentLink(process, on_control=self._control, on_frame=self._frame, on_violation=self._violation)
        self._oom_kills = 0
        self._spoiled = False
        self._link.control("boot", config=dict(self._spec.config))
        await asyncio.to_thread(jupyter.warm)
        await self.unless_ended(self._ready, "start")

    async def _process(self, until: float) -> Process:
        """A new agent; what cannot be had yet is waited for. Raises `SandboxUnavailable`."""
        while True:
            try:
                return await self._launcher.launch(self._spec)
            except SandboxUnavailable:
                if time.monotonic() >= until or self._closed:
                    raise
            await asyncio.sleep(1.0)

    async def _drop_link(self) -> None:
        link, self._link = self._link, None
        self._kernels.clear()
        if link is not None:
            await link.aclose()

    def _next_number(self) -> int:
        if len(self._kernels) >= MAX_NUMBER:
            raise SandboxError("too many kernels in one sandbox")
        number = self._last_number
        while True:
            number = number % MAX_NUMBER + 1
            if number not in self._kernels:
                self._last_number = number
                return number

    # --- what comes out of it -----------------------------------------------------------------

    def _control(self, message: Control) -> None:
        number = message.get("kernel")
        kernel = self._kernels.get(number) if type(number) is int else None
        match message["op"]:
            case "ready" if self._ready is not None and not self._ready.done():
                self._ready.set_result(None)
            case "failed" if kernel is not None:
                kernel.failed(str(message.get("detail"))[:2000])
            case "failed" if self._ready is not None and not self._ready.done():
                self._ready.set_exception(SandboxError(f"the input could not be loaded: {message.get('detail')}"))
            case "started" if kernel is not None and not kernel.started.done():
                kernel.started.set_result(None)
            case "exited" if kernel is not None:
                del self._kernels[kernel.number]
                kernel.exited(self._death(kernel, message))
            case "violation" if kernel is not None:
                kernel.stray(str(message.get("detail"))[:500])

    def _death(self, kernel: ForkedKernel, message: Control) -> Death:
        kills = message.get("oom_kills")
        kills = kills if type(kills) is int else 0
        death = read_death(message.get("status"), killed=kernel.killed, out_of_memory=kills > self._oom_kills)
        files = message.get("files")
        if death.reason == "oom" and kernel.root and type(files) is int and files > self._spec.memory // FILES_SHARE:
            # They would take the memory of every fresh kernel in this sandbox.
            death = Death("oom", f"{death.detail}; the files in /tmp, which count as memory, are lost too")
            self._spoiled = True
        self._oom_kills = max(kills, self._oom_kills)
        return death

    def _frame(self, channel: int, number: int, payload: bytes) -> None:
        kernel = self._kernels.get(number)
        if kernel is not None:
            kernel.take(channel, payload)

    def _violation(self, detail: str) -> None:
        self._emit("protocol.error", detail=detail)
