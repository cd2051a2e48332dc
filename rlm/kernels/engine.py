"""The Docker engine: how to reach it, and what its errors become in our tree.

`docker` is imported when it is needed: that takes a tenth of a second, and most commands never ask.
All functions block.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rlm.errors import SandboxError, SandboxUnavailable

if TYPE_CHECKING:
    import docker

HOST_LABEL = "rlm.host"
"""The `HostId` of the process that a container belongs to."""
RUN_LABEL = "rlm.run"

_PROBE_SECONDS = 10
_REQUEST_SECONDS = 120
_POOL = 64


def connect() -> docker.DockerClient:
    """A client of the engine that DOCKER_HOST or the current Docker context names. Safe to use from threads.

    Raises `SandboxUnavailable` with one line that says what to do if no engine answers.
    """
    import docker
    import requests

    address = _address()
    where = address.get("base_url", "unix:///var/run/docker.sock")
    try:
        _probe(where)
        client = docker.DockerClient(timeout=_PROBE_SECONDS, max_pool_size=_POOL, **address)
    except (docker.errors.DockerException, requests.RequestException, OSError, ValueError) as error:
        raise SandboxUnavailable(
            f"no Docker engine answers at {where}: {_reason(error)} (is it running, and may this user reach it?)"
        ) from error
    client.api.timeout = _REQUEST_SECONDS
    return client


@contextlib.contextmanager
def errors(doing: str) -> Iterator[None]:
    """Maps what docker-py raises to `SandboxError`, or `SandboxUnavailable` if the engine does not answer."""
    import docker
    import requests

    try:
        yield
    except docker.errors.ImageNotFound as error:
        raise SandboxUnavailable(f"{doing}: {_reason(error)} (build it: rlm image build)") from error
    except docker.errors.DockerException as error:
        raise SandboxError(f"{doing}: {_reason(error)}") from error
    except requests.RequestException as error:
        raise SandboxUnavailable(f"{doing}: the Docker engine does not answer: {_reason(error)}") from error


def labelled_containers() -> list[tuple[str, str]]:
    """`(name, value of HOST_LABEL)` of our containers, running or not; none if no engine answers."""
    try:
        client = connect()
    except SandboxUnavailable:
        return []
    with contextlib.closing(client), errors("listing containers"):
        found: list[dict[str, Any]] = client.api.containers(all=True, filters={"label": HOST_LABEL})
    return [(entry["Names"][0].lstrip("/"), entry["Labels"][HOST_LABEL]) for entry in found]


def remove_container(name: str) -> None:
    """Kill and remove it; nothing happens if it is gone or going. Raises `SandboxError`."""
    client = connect()
    with contextlib.closing(client):
        remove_with(client, name)


def remove_with(client: docker.DockerClient, name: str) -> None:
    """`remove_container` over a client that is already there."""
    import docker

    with errors(f"removing the container {name}"):
        try:
            client.api.remove_container(name, force=True, v=True)
        except docker.errors.NotFound:
            return
        except docker.errors.APIError as error:
            # 409: the engine's own auto-remove is at it.
            if error.status_code != 409:
                raise


def _address() -> dict[str, Any]:
    """DOCKER_HOST with its TLS settings, which wins, or the current context's host; empty for the default."""
    from docker.utils import kwargs_from_env

    if os.environ.get("DOCKER_HOST"):
        return dict(kwargs_from_env())
    host = _context_host()
    return {"base_url": host} if host else {}


def _probe(where: str) -> None:
    """Raise `OSError` if a Unix socket does not answer: docker-py would wrap the reason, and leak its own socket."""
    scheme, _, path = where.partition("://")
    if "unix" in scheme:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_PROBE_SECONDS)
            probe.connect("/" + path.lstrip("/"))


def _context_host() -> str | None:
    """The host of the current Docker context (Docker Desktop and Colima set one), None for the default."""
    import docker

    try:
        context = docker.ContextAPI.get_current_context()
    except (docker.errors.DockerException, OSError, ValueError):
        return None
    return context.Host if context is not None and context.Name != "default" else None


def _reason(error: BaseException) -> str:
    """The innermost message, on one line: docker-py wraps urllib3, which wraps the socket's error."""
    explanation = getattr(error, "explanation", None)
    if explanation:
        return " ".join(str(explanation).split())
    inner = error
    while (next_ := inner.__cause__ or inner.__context__) is not None:
        inner = next_
    text = inner.strerror if isinstance(inner, OSError) and inner.strerror else str(inner)
    return " ".join(text.split())
