"""The duplex stream to an agent that runs as a child of this process, and what its end means."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod

from rlm.errors import SandboxError
from rlm.kernels.deaths import death_from_status
from rlm.protocols import Death

CHUNK = 1 << 18
"""Bytes that one `read` returns at most."""
BUFFER = 1 << 20
"""Bytes that wait in the host before the agent's writes block."""
_STDERR_BYTES = 8192


class StderrTail:
    """The end of what an agent wrote to stderr: untrusted, bounded."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> None:
        self._data += data[-_STDERR_BYTES:]
        del self._data[:-_STDERR_BYTES]

    def text(self) -> str:
        return self._data.decode("utf-8", "replace").strip()


class ChildProcess(ABC):
    """A sandbox under a child process of the host. What differs between walls is how everything in it is ended."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        self._child = child
        self._stdin = child.stdin
        self._stdout = child.stdout
        self._tail = StderrTail()
        self._killed = False
        self._closing: asyncio.Task[None] | None = None
        self._pump = asyncio.create_task(self._read_stderr(child.stderr))
        self._gone = asyncio.create_task(self._see_death())

    async def read(self) -> bytes:
        return await self._stdout.read(CHUNK)

    def write(self, data: bytes) -> None:
        self._stdin.write(data)

    async def drain(self) -> None:
        try:
            await self._stdin.drain()
        except OSError as error:
            raise SandboxError("the sandbox no longer reads") from error

    async def kill(self) -> None:
        if self._child.returncode is None:
            self._killed = True
            await asyncio.to_thread(self._end)
        await asyncio.shield(self._gone)

    async def wait(self) -> Death:
        return await asyncio.shield(self._gone)

    async def aclose(self) -> None:
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await self.kill()
        self._stdin.close()
        # A stray process that holds the pipe must not keep us.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._pump, timeout=1)
        self._child._transport.close()  # type: ignore[attr-defined]
        await asyncio.to_thread(self._clean)

    def stderr_tail(self) -> str:
        return self._tail.text()

    @abstractmethod
    def _end(self) -> None:
        """SIGKILL everything in the sandbox. Blocking; must not fail when it is gone."""

    @abstractmethod
    def _clean(self) -> None:
        """Remove what it left on the host. Blocking."""

    def _oom_kills(self) -> int:
        return 0

    async def _see_death(self) -> Death:
        status = await self._child.wait()
        return death_from_status(status, killed=self._killed, oom_kills=self._oom_kills())

    async def _read_stderr(self, stderr: asyncio.StreamReader) -> None:
        while data := await stderr.read(CHUNK):
            self._tail.feed(data)
