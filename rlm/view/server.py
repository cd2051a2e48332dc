"""The viewer's server: on loopback only, for as long as somebody looks."""

from __future__ import annotations

import secrets
import socket
import threading
from types import TracebackType
from urllib.parse import quote

import uvicorn

from rlm import web
from rlm.errors import ConfigError
from rlm.view.app import build
from rlm.view.guard import Guard
from rlm.view.library import Library

PORT = 7575
"""The port if it is free, else any other one."""
_SECONDS_TO_END = 2


class ViewServer:
    """Serves a library of runs. `port` must be free; None takes `PORT` if it is free, and 0 any.

    Raises `ConfigError` for a port that cannot be had.
    """

    def __init__(self, library: Library, *, port: int | None = None) -> None:
        self._socket = _listen(port)
        self.port: int = self._socket.getsockname()[1]
        self.token, self._once = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        app = Guard(build(library, over=self._is_over), token=self.token, once=self._once, port=self.port)
        self._server = uvicorn.Server(web.quiet_config(app, seconds_to_end=_SECONDS_TO_END))
        self._thread: threading.Thread | None = None

    def url(self, run_id: str | None = None, other: str | None = None, *, once: bool = False) -> str:
        """The address that opens the viewer on a run, or on two of them side by side, or on the list.

        With `once` it does so a single time.
        """
        place = f"#/compare/{quote(run_id)}/{quote(other)}" if run_id and other else f"#/run/{quote(run_id or '')}"
        return (
            f"http://{web.LOOPBACK}:{self.port}/?token={self._once if once else self.token}{place if run_id else '#/'}"
        )

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM."""
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()

    def __enter__(self) -> ViewServer:
        """Serve in a thread."""
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="rlm-view", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()
        self._socket.close()

    def _is_over(self) -> bool:
        return self._server.should_exit


def _listen(port: int | None) -> socket.socket:
    if port is not None:
        return web.listen(web.LOOPBACK, port)
    try:
        return web.listen(web.LOOPBACK, PORT)
    except ConfigError:
        return web.listen(web.LOOPBACK, 0)
