"""A container per sandbox: hardened, without a network, its only way out the stream of its agent.

docker-py blocks, so its calls run in threads; the stream itself is read and written by the event loop.
"""

from __future__ import annotations

import asyncio
import calendar
import contextlib
import os
import secrets
import socket
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlm.errors import SandboxError, SandboxUnavailable
from rlm.kernels import engine, leases, threads
from rlm.kernels.dockerstream import Demultiplexer
from rlm.kernels.hostid import HostId
from rlm.kernels.limits import AGENT, Strength, environment
from rlm.kernels.streams import BUFFER, CHUNK, StderrTail, death_from_status
from rlm.protocols import Death, SandboxSpec

if TYPE_CHECKING:
    import docker

_OOM_GRACE = 0.1
"""Seconds that the engine's word of an out-of-memory kill may come after that of the exit."""
_FIRST_REMAPPED, _REMAPPED = 1000, 64000
"""An engine with user namespaces has 65536 uids, the first of which are people and services there."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class _Engine:
    """A connection, and what the engine said about itself. Shared by a launcher and its containers."""

    client: docker.DockerClient
    api: tuple[int, int]
    swap_limit: bool
    remapped: bool


@dataclass(frozen=True, slots=True)
class _Started:
    name: str
    sock: socket.socket
    created: float
    """Engine time, seconds since the epoch."""
    clock: float
    """Our monotonic time at that moment."""


class DockerLauncher:
    """Starts agents in containers of `image`. `runtime` names another OCI runtime of the engine, such as `runsc`."""

    name = "docker"

    def __init__(
        self,
        *,
        image: str,
        command: Sequence[str] = AGENT,
        runtime: str | None = None,
        lease_root: Path | None = None,
    ) -> None:
        self._image = image
        self._command = list(command)
        self._runtime = runtime
        self._lease_root = lease_root
        self._engine: _Engine | None = None
        self._connecting = threading.Lock()

    def strength(self) -> Strength:
        """Blocking. Raises `SandboxUnavailable` if no engine answers."""
        connected = self._connect()
        return Strength("strong", () if connected.swap_limit else ("this engine cannot limit swap",))

    async def check(self) -> None:
        connected = await asyncio.to_thread(self._connect)
        with engine.errors("asking for the sandbox image"):
            await asyncio.to_thread(connected.client.api.inspect_image, self._image)

    async def launch(self, spec: SandboxSpec) -> Container:
        """Start one container; it is running and attached when this returns.

        Raises `SandboxUnavailable` without an engine or image, `SandboxError` if the engine refuses,
        `InputError` for a mount that cannot be. A cancelled launch leaves nothing.
        """
        connected, started, lease = await threads.make(lambda: self._start(spec), _undo)
        reader, writer = await asyncio.open_connection(sock=started.sock, limit=BUFFER)
        return Container(connected, started, lease, reader, writer)

    def _connect(self) -> _Engine:
        with self._connecting:
            if self._engine is None:
                client = engine.connect()
                with engine.errors("asking the Docker engine about itself"):
                    info = client.api.info()
                if info.get("OSType") != "linux":
                    raise SandboxUnavailable("the Docker engine runs Windows containers; the sandbox is a Linux one")
                major, minor = client.api.api_version.split(".")
                options = info.get("SecurityOptions") or []
                if not any("name=seccomp" in option for option in options):
                    raise SandboxUnavailable("this Docker engine has no seccomp, which the sandbox needs")
                remapped = any("name=userns" in option or "name=rootless" in option for option in options)
                self._engine = _Engine(client, (int(major), int(minor)), bool(info.get("SwapLimit")), remapped)
                weakref.finalize(self._engine, client.close)
            return self._engine

    def _start(self, spec: SandboxSpec) -> tuple[_Engine, _Started, leases.Lease]:
        """Create, attach, verify, start. Removes what it made if a step fails. Blocking."""
        name = f"rlm-{secrets.token_hex(8)}"
        connected = self._connect()
        lease = leases.acquire(root=self._lease_root)
        try:
            lease.note("container", name)
            with engine.errors("starting the sandbox container"):
                try:
                    return connected, self._create(connected, spec, name, lease.uid), lease
                except BaseException:
                    engine.remove_with(connected.client, name)
                    raise
        except BaseException:
            lease.release()
            raise

    def _create(self, connected: _Engine, spec: SandboxSpec, name: str, uid: int) -> _Started:
        from rlm.kernels import dockerflags

        uid = container_uid(uid, remapped=connected.remapped)
        api = connected.client.api
        options = dockerflags.host_config(spec, api=connected.api)
        if self._runtime:
            options["runtime"] = self._runtime
        api.create_container(
            self._image,
            self._command,
            name=name,
            hostname="sandbox",
            user=f"{uid}:{uid}",
            environment=environment(spec),
            working_dir="/tmp",
            entrypoint=[],
            stdin_open=True,
            tty=False,
            network_disabled=True,
            labels={engine.HOST_LABEL: HostId.current().encode(), engine.RUN_LABEL: spec.run_id},
            host_config=api.create_host_config(**options),
        )
        clock = time.monotonic()
        inspected = api.inspect_container(name)
        dockerflags.verify(spec, inspected, uid=uid, swap_limit=connected.swap_limit)
        sock = _attach(api, name)
        try:
            api.start(name)
        except BaseException:
            sock.close()
            raise
        return _Started(name, sock, _engine_time(inspected["Created"]), clock)


class Container:
    """A running container, attached."""

    def __init__(
        self,
        connected: _Engine,
        started: _Started,
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
        await self.kill()
        # The engine's auto-remove may still be at it, and a lease must not end before its container.
        await asyncio.to_thread(engine.remove_with, self._engine.client, self.container_name)
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


def container_uid(uid: int, *, remapped: bool) -> int:
    """The uid in the container: that of the lease, or where the engine maps uids, one that it has. Never 0."""
    return _FIRST_REMAPPED + (uid - leases.FIRST_UID) % _REMAPPED if remapped else uid


def _undo(made: tuple[_Engine, _Started, leases.Lease]) -> None:
    connected, started, lease = made
    started.sock.close()
    engine.remove_with(connected.client, started.name)
    lease.release()


def _attach(api: Any, name: str) -> socket.socket:
    """The hijacked connection to a container's three streams, as a socket of our own."""
    hijacked = api.attach_socket(name, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
    raw = getattr(hijacked, "_sock", hijacked)
    if not isinstance(raw, socket.socket) or hasattr(raw, "pending"):
        raise SandboxUnavailable("the Docker engine is reached by TLS or SSH; the sandbox needs a unix or tcp address")
    # Ours outlives docker-py's response object, which closes its own when it is collected.
    sock = socket.socket(fileno=os.dup(raw.fileno()))
    hijacked.close()
    raw.close()
    sock.setblocking(False)
    return sock


def _engine_time(created: str) -> float:
    """`2025-11-23T15:06:00.123456789Z` -> seconds since the epoch."""
    whole, _, fraction = created.rstrip("Z").partition(".")
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{fraction or 0}")
