"""What the web servers of this package share: a listening socket, the names that they answer to, safe headers."""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import Mapping
from typing import Any

import uvicorn

from rlm.errors import ConfigError

LOOPBACK = "127.0.0.1"
BACKLOG = 128

HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every response: a browser is to guess, frame, pass on and keep nothing."""


def raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """As ASGI has them."""
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def authority(host: str, port: int) -> str:
    """Where a URL leads: an address of version 6 stands in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def own_names(port: int, *hosts: str) -> frozenset[str]:
    """What a `Host` header may say: a foreign name that leads to this machine is none of them."""
    names = {authority(host, port) for host in (LOOPBACK, "localhost", "::1", *hosts)}
    # Clients leave the usual port out.
    return frozenset(names | {name.removesuffix(":80") for name in names})


def equal(given: str, wanted: str) -> bool:
    """In a time that tells nothing."""
    return secrets.compare_digest(given.encode("utf-8", "surrogateescape"), wanted.encode())


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is any free one. Raises `ConfigError` for an address that cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, OverflowError, UnicodeError) as error:
        raise ConfigError(f"cannot listen on {host}: {getattr(error, 'strerror', None) or error}") from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise ConfigError(f"port {port} cannot be used: {getattr(error, 'strerror', None) or error}") from error
    return listener


def quiet_config(app: Any, *, seconds_to_end: int, **options: Any) -> uvicorn.Config:
    """A server that logs nothing, names no software and speaks HTTP alone."""
    # A stream that is cut off when the server ends is nothing to tell.
    logging.getLogger("uvicorn.error").disabled = True
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=seconds_to_end,
        **options,
    )
