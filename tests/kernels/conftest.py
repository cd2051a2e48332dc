"""Kernels for the conformance suite: one live session per sandbox, shared where a test leaves it healthy."""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from rlm.kernels import environment
from rlm.kernels.bwrap import BwrapLauncher
from rlm.kernels.docker import DockerLauncher
from rlm.kernels.process import ProcessLauncher
from rlm.kernels.sandbox import SandboxSession
from rlm.kernels.session import KernelSession
from rlm.protocols import Answer, Deliver, Launcher, SandboxSpec

SANDBOXES = [
    pytest.param("docker", marks=pytest.mark.docker),
    pytest.param("bwrap", marks=pytest.mark.bwrap),
    "process",
]
WALLED = SANDBOXES[:2]


class EchoBatch:
    """Answers each prompt with `re: …` after `delay` seconds."""

    def __init__(self, size: int, deliver: Deliver, delay: float) -> None:
        self._left = size
        self._deliver = deliver
        self._delay = delay
        self._done = asyncio.Event()
        self._waiting: dict[int, asyncio.TimerHandle] = {}
        self.cancelled = False

    def add(self, index: int, prompt: Any) -> None:
        if self.cancelled:
            self._finish(index, {"error": {"kind": "cancelled", "message": "stopped"}})
            return
        item = {"text": f"re: {prompt}", "model": "echo", "input_tokens": 1, "output_tokens": 2, "cached": False}
        call_later = asyncio.get_running_loop().call_later
        self._waiting[index] = call_later(self._delay, lambda: self._finish(index, item))

    def _finish(self, index: int, item: dict[str, Any]) -> None:
        self._waiting.pop(index, None)
        self._left -= 1
        self._deliver([(index, item)])
        if self._left == 0:
            self._done.set()

    def cancel(self) -> None:
        self.cancelled = True
        for index, timer in list(self._waiting.items()):
            timer.cancel()
            self._finish(index, {"error": {"kind": "cancelled", "message": "stopped"}})
        self._done.set()

    async def wait(self) -> None:
        await self._done.wait()


@dataclass
class Rig:
    """A kernel with an echo for a sub-LLM, and all that it told the host."""

    kernel: KernelSession
    sandbox: SandboxSession
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    batches: list[tuple[int, Mapping[str, Any]]] = field(default_factory=list)
    open: list[EchoBatch] = field(default_factory=list)
    delay: float = 0.0

    def new_kernel(self, **options: Any) -> KernelSession:
        return KernelSession(self.sandbox, subcalls=self, emit=self.emit, **options)

    def open_batch(self, size: int, options: Mapping[str, Any], deliver: Deliver) -> EchoBatch:
        if options.get("model") == "unknown":
            raise ValueError("there is no model `unknown`")
        self.batches.append((size, options))
        self.open.append(EchoBatch(size, deliver, self.delay))
        return self.open[-1]

    def emit(self, type_: str, /, **fields: Any) -> None:
        self.events.append((type_, fields))

    async def run(self, code: str, timeout: float | None = 60) -> Any:
        return await self.kernel.execute(code, timeout=timeout)

    async def text(self, code: str, timeout: float | None = 60) -> str:
        """The output of a cell that must succeed."""
        result = await self.run(code, timeout)
        assert result.status == "ok", result
        return str(result.output).rstrip("\n")

    def happened(self, type_: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.events if name == type_]


def make_launcher(name: str, request: pytest.FixtureRequest) -> Launcher:
    if name == "docker":
        return DockerLauncher(image=request.getfixturevalue("sandbox_image"))
    env = environment.ensure()
    return BwrapLauncher(root=env.root) if name == "bwrap" else ProcessLauncher(python=env.python, site=env.site)


MakeRig = Callable[..., Any]


@contextlib.asynccontextmanager
async def rigs(request: pytest.FixtureRequest) -> AsyncIterator[MakeRig]:
    """`await make(sandbox, **spec)` starts a kernel; all are ended at the end."""
    started: list[Rig] = []

    async def make(sandbox: str, **spec: Any) -> Rig:
        rig = Rig(kernel=None, sandbox=None)  # type: ignore[arg-type]
        spec = SandboxSpec(run_id="conformance", **spec)  # type: ignore[assignment]
        rig.sandbox = SandboxSession(make_launcher(sandbox, request), spec, emit=rig.emit)  # type: ignore[arg-type]
        rig.kernel = rig.new_kernel(on_answer=rig.answers.append)
        started.append(rig)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="the process sandbox has no wall")
            await rig.kernel.start()
        return rig

    try:
        yield make
    finally:
        for rig in started:
            await rig.kernel.aclose()
            await rig.sandbox.aclose()


@pytest_asyncio.fixture(loop_scope="module")
async def make_rig(request: pytest.FixtureRequest) -> AsyncIterator[MakeRig]:
    """Fresh kernels, ended after the test."""
    async with rigs(request) as make:
        yield make


@pytest.fixture(params=SANDBOXES, scope="module")
def sandbox(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_rig(request: pytest.FixtureRequest, sandbox: str) -> AsyncIterator[Rig]:
    async with rigs(request) as make:
        yield await make(sandbox)


@pytest.fixture
def rig(shared_rig: Rig) -> Rig:
    """One kernel for all tests of a module: what one leaves behind, the next must bear."""
    shared_rig.delay = 0.0
    for kept in (shared_rig.events, shared_rig.answers, shared_rig.batches, shared_rig.open):
        kept.clear()
    return shared_rig
