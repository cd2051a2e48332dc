"""A container per sandbox: hardened, without a network, its only way out the stream of its agent.

docker-py blocks, so its calls run in threads; the stream itself is read and written by the event loop.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlm.errors import SandboxUnavailable
from rlm.kernels import engine, leases, threads
from rlm.kernels.container import Container, Engine, Started, engine_time
from rlm.kernels.hostid import HostId
from rlm.kernels.limits import AGENT, Strength, environment
from rlm.kernels.streams import BUFFER
from rlm.protocols import SandboxSpec

_FIRST_REMAPPED, _REMAPPED = 1000, 64000
"""An engine with user namespaces has 65536 uids, the first of which are people and services there."""


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
        self._engine: Engine | None = None
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

    def _connect(self) -> Engine:
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
                runtimes = info.get("Runtimes") or {}
                if self._runtime is not None and self._runtime not in runtimes:
                    there = ", ".join(sorted(runtimes)) or "none"
                    raise SandboxUnavailable(f"this Docker engine has no runtime {self._runtime!r}; there are: {there}")
                self._engine = Engine(client, (int(major), int(minor)), bool(info.get("SwapLimit")), remapped)
                weakref.finalize(self._engine, client.close)
            return self._engine

    def _start(self, spec: SandboxSpec) -> tuple[Engine, Started, leases.Lease]:
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

    def _create(self, connected: Engine, spec: SandboxSpec, name: str, uid: int) -> Started:
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
        dockerflags.verify(spec, inspected, uid=uid, swap_limit=connected.swap_limit, runtime=self._runtime)
        sock = _attach(api, name)
        try:
            api.start(name)
        except BaseException:
            sock.close()
            raise
        return Started(name, sock, engine_time(inspected["Created"]), clock)


def container_uid(uid: int, *, remapped: bool) -> int:
    """The uid in the container: that of the lease, or where the engine maps uids, one that it has. Never 0."""
    return _FIRST_REMAPPED + (uid - leases.FIRST_UID) % _REMAPPED if remapped else uid


def _undo(made: tuple[Engine, Started, leases.Lease]) -> None:
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
