"""A kernel in this process, for tests of the loop: it keeps the protocol and has no wall."""

from __future__ import annotations

import asyncio
import contextlib
import io
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from rlm.protocols import Answer, CellError, CellResult, Death, Variable


class LocalKernel:
    """Runs cells by `exec`. Some names do what a real kernel can suffer: `SLEEP(s)`, `DIE()`."""

    def __init__(self, on_answer: Callable[[Answer], None] | None = None) -> None:
        self.started = self.closed = False
        self.cells: list[str] = []
        self.said: list[str] = []
        self.timeouts: list[float | None] = []
        self.cancelled = self.interrupted = 0
        self._interrupt = asyncio.Event()
        self.on_answer = on_answer
        self._version = 0
        self._fresh({"content": "", "ready": False})

    def _fresh(self, answer: dict[str, Any]) -> None:
        self.names: dict[str, Any] = {"answer": answer, "SLEEP": self._sleep, "DIE": self._die, "context": "text"}
        self._base = set(self.names)
        self._wait = 0.0
        self._dead = False

    def _sleep(self, seconds: float) -> None:
        self._wait = seconds

    def _die(self) -> None:
        self._dead = True

    async def start(self) -> None:
        await asyncio.sleep(0.01)
        self.started = True

    async def execute(self, code: str, *, timeout: float | None = None, said: str = "") -> CellResult:
        assert self.started
        if self._dead:
            self._fresh({"content": self.names["answer"]["content"], "ready": False})
        self.cells.append(code)
        self.said.append(said)
        self.timeouts.append(timeout)
        before, out, error = dict(self.names), io.StringIO(), None
        with contextlib.redirect_stdout(out):
            try:
                exec(code, self.names)
            except Exception as failure:
                error = CellError(type(failure).__name__, str(failure), traceback.format_exc())
        self.names.pop("__builtins__", None)
        answer = self._answer()
        self._interrupt.clear()
        try:
            async with asyncio.timeout(self._wait):
                await self._interrupt.wait()
            error = CellError("KeyboardInterrupt", "", "KeyboardInterrupt")
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self._wait = 0.0
        if self._dead:
            return CellResult("died", answer=answer, death=Death("oom", "test"))
        new = [name for name in self.names if name not in self._base and self.names[name] is not before.get(name)]
        variables = tuple(Variable(name, type(self.names[name]).__name__, "") for name in new)
        status = "error" if error else "ok"
        return CellResult(status, output=out.getvalue(), error=error, variables=variables, answer=answer)  # type: ignore[arg-type]

    def _answer(self) -> Answer:
        self._version += 1
        answer = Answer(str(self.names["answer"]["content"]), bool(self.names["answer"]["ready"]), self._version)
        if self.on_answer:
            self.on_answer(answer)
        return answer

    async def interrupt(self) -> None:
        self.interrupted += 1
        self._interrupt.set()

    async def aclose(self) -> None:
        self.closed = True


@pytest.fixture
def local_kernel() -> LocalKernel:
    return LocalKernel()
