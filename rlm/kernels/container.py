"""A running container: its stream, its end, and what the engine knows about that."""

from __future__ import annotations

import asyncio
import calendar
import contextlib
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlm import threads
from rlm.errors import SandboxError, SandboxUnavailable
from rlm.kernels import engine, leases
from rlm.kernels.deaths import death_from_status
from rlm.kernels.dockerstream import Demultiplexer
from rlm.kernels.streams import CHUNK, StderrTail
from rlm.protocols import Death

if TYPE_CHECKING:
    import docker

_OOM_GRACE = 1.0
"""Seconds that the engine's word of an out-of-memory kill may come after that of the exit."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Engine:
    """A connection, and what the engine said about itself. Shared by a launcher and its containers."""

    client: docker.DockerClient
    api: tuple[int, int]
    swap_limit: bool
    remapped: bool


@dataclass(frozen=True, slots=True)
class Started:
    name: str
    sock: socket.socket
    created: float
    """Engine time, seconds since the epoch."""
    clock: float
    """Our monotonic time at that moment."""


class Container:
    """A running container, attached."""

    def __init__(
        self,
        connected: Engine,
        started: Started,
        lease: leases.Lease,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.container_name = started.name
        self._engine = connected
        self._started = started
        self._lease = lease
        self._reader = reader
        self._writer = writer
        self._tail = StderrTail()
        self._demultiplexer = Demultiplexer(self._tail.feed)
        self._killed = False
        self._closing: asyncio.Task[None] | None = None
        self._gone = asyncio.ensure_future(threads.watch(self._see_death, name="rlm-container"))

    async def read(self) -> bytes:
        try:
            while data := await self._reader.read(CHUNK):
                if out := self._demultiplexer.feed(data):
                    return out
        except ConnectionError:
            return b""
        return b""

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    async def drain(self) -> None:
        try:
            await self._writer.drain()
        except OSError as error:
            raise SandboxError("the sandbox no longer reads") from error

    async def kill(self) -> None:
        if not self._gone.done():
            self._killed = True
            await asyncio.to_thread(engine.remove_with, self._engine.client, self.container_name)
        await asyncio.shield(self._gone)

    async def wait(self) -> Death:
        return await asyncio.shield(self._gone)

    async def aclose(self) -> None:
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        try:
            await self.kill()
            # The engine's auto-remove may still be at it, and a lease must not end before its container.
            await asyncio.to_thread(engine.remove_with, self._engine.client, self.container_name)
        except SandboxUnavailable:
            # The engine is away. The lease stays, and has a later command see to what is left.
            return
        finally:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        self._lease.release()

    def stderr_tail(self) -> str:
        return self._tail.text()

    def _see_death(self) -> Death:
        """Wait for the end and find its cause. Blocks for as long as the container lives."""
        import docker
        import requests

        api = self._engine.client.api
        try:
            # 404: it ended and was removed before we could ask.
            with contextlib.suppress(docker.errors.NotFound):
                api.wait(self.container_name, timeout=None)
            if self._killed:
                return Death("killed", "ended by the host")
            return self._cause()
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            return Death("lost", f"the Docker engine does not answer any more: {error}")

    def _cause(self) -> Death:
        """The exit status and kills for memory, by the engine's record of events: the container may be gone already."""
        now = self._started.created + time.monotonic() - self._started.clock
        status, oom_kills = None, 0
        api: Any = self._engine.client.api
        for event in api.events(
            since=int(self._started.created),
            until=f"{now + _OOM_GRACE:.3f}",
            filters={"container": self.container_name, "event": ["oom", "die"]},
            decode=True,
        ):
            if event["Action"] == "oom":
                oom_kills += 1
            elif event["Action"] == "die":
                status = int(event["Actor"]["Attributes"]["exitCode"])
            if status is not None and (status != 137 or oom_kills):
                break
        if status is None:
            return Death("lost", "the container is gone")
        return death_from_status(status, killed=self._killed, oom_kills=oom_kills)


def engine_time(created: str) -> float:
    """`2025-11-23T15:06:00.123456789Z` -> seconds since the epoch."""
    whole, _, fraction = created.rstrip("Z").partition(".")
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{fraction or 0}")
