"""Who may ask, and how much at a time: before a request reaches the application.

With keys, each request needs one. Without, the server is on loopback and answers what this machine's own programs ask,
but no page in its browser: a request has to name this very host, and may not come from another origin.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rlm import web
from rlm.serve.failures import ApiError
from rlm.serve.keys import Keys
from rlm.serve.options import ServeOptions

OPEN = frozenset({"/healthz", "/readyz"})
"""Paths that need no key: what starts and stops servers asks them."""
UPLOAD = "/v1/files"
_ENVELOPE = 64 << 10
"""Bytes of an upload beside the file."""
SLOWEST = 16 << 10
"""Bytes a second: who sends less keeps a place that others wait for."""
_ROUTES = ("/v1/chat/completions", "/v1/models", UPLOAD, "/metrics", *sorted(OPEN))

Count = Callable[[str, int], None]


class Guard:
    """Lets requests through that may be made; `scope["state"]["owner"]` says whose one is.

    `port` is that of the socket; `count` is told the route and the status of each response.
    """

    def __init__(self, app: ASGIApp, *, keys: Keys, options: ServeOptions, port: int, count: Count) -> None:
        self._app = app
        self._keys = keys
        self._options = options
        self._hosts = web.own_names(port, options.host)
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        app = self._app
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        limit = self._options.max_file + _ENVELOPE if scope["path"] == UPLOAD else self._options.max_body
        try:
            scope.setdefault("state", {})["owner"] = self._owner(scope["path"], headers)
            _check_length(headers.get("content-length"), limit)
        except ApiError as error:
            app = response(error)

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._count(_route(scope["path"]), message["status"])
                message = {**message, "headers": [*message["headers"], *web.raw(web.HEADERS)]}
            await send(message)

        await app(scope, _Body(receive, limit, self._options.read_timeout), told)

    def _owner(self, path: str, headers: dict[str, str]) -> str:
        if not self._keys:
            if headers.get("host") not in self._hosts:
                raise ApiError(421, "not a name of this server", code="wrong_host")
            if not self._is_own(headers.get("origin")) or headers.get("sec-fetch-site") in ("cross-site", "same-site"):
                raise ApiError(403, "pages of other origins may not ask this server", code="cross_origin")
        elif path in OPEN:
            return ""
        owner = self._keys.owner(headers.get("authorization", ""))
        if owner is None:
            raise ApiError(
                401, "a valid API key is needed", code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"}
            )
        return owner

    def _is_own(self, origin: str | None) -> bool:
        return origin is None or origin.removeprefix("http://") in self._hosts


class _Body:
    """Receives a request's body: at most so many bytes, and no slower than `SLOWEST` but for the first `seconds`."""

    def __init__(self, receive: Receive, limit: int, seconds: float) -> None:
        self._receive = receive
        self._limit = limit
        self._seconds = seconds
        self._received = 0
        self._begun = 0.0
        self._complete = False

    async def __call__(self) -> Message:
        if self._complete:
            return await self._receive()  # nothing comes any more but the word that the client is gone
        loop = asyncio.get_running_loop()
        self._begun = self._begun or loop.time()
        try:
            async with asyncio.timeout_at(self._begun + self._seconds + self._received / SLOWEST):
                message = await self._receive()
        except TimeoutError:
            raise ApiError(408, "the request took too long to arrive", code="request_timeout") from None
        self._received += len(message.get("body", b""))
        if self._received > self._limit:
            raise too_large()
        self._complete = not message.get("more_body", False)
        return message


def response(error: ApiError) -> JSONResponse:
    return JSONResponse(error.body(), status_code=error.status, headers=error.headers)


def too_large() -> ApiError:
    return ApiError(413, "the request is too large", code="request_too_large")


def _check_length(given: str | None, limit: int) -> None:
    if given is not None and given.isascii() and given.isdigit() and (len(given) > 18 or int(given) > limit):
        raise too_large()


def _route(path: str) -> str:
    """One of few names, whatever is asked for."""
    for known in ("/v1/models", UPLOAD):
        if path.startswith(f"{known}/"):
            return f"{known}/ID"
    return path if path in _ROUTES else "other"
