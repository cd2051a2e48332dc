"""Who may ask the viewer's server, and what the browser may do with what it gets.

Other pages in the same browser are to see nothing: a request needs the token that stands in the printed address (later
on in a cookie of this server), and has to name this very host, so that no foreign name that leads here is of any use.
"""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rlm import web

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {**web.HEADERS, "Content-Security-Policy": CSP, "Cross-Origin-Opener-Policy": "same-origin"}


class Guard:
    """Lets requests through that come from the page itself, or with the token.

    `once` is good for a single request: for an address that others on this machine may see for a moment, as they see
    the arguments of the browser that is started with it.
    """

    def __init__(self, app: ASGIApp, *, token: str, once: str, port: int) -> None:
        self._app = app
        self._token = token
        self._once: str | None = once
        self._hosts = web.own_names(port)
        # Cookies do not know ports: two viewers at once must not take each other's away.
        self._cookie = f"rlm-view-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        answer: ASGIApp = self._app
        came_with_token = False
        if headers.get("host") not in self._hosts:
            answer = PlainTextResponse("not a name of this server\n", status_code=421)
        elif self._admits(parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]):
            came_with_token = True
        elif not web.equal(self._from_cookie(headers.get("cookie", "")), self._token):
            answer = PlainTextResponse("open the address that `rlm view` has printed\n", status_code=403)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *self._headers(came_with_token)]}
            await send(message)

        await answer(scope, receive, with_headers)

    def _admits(self, given: str) -> bool:
        if self._once is not None and web.equal(given, self._once):
            self._once = None
            return True
        return web.equal(given, self._token)

    def _from_cookie(self, header: str) -> str:
        try:
            found: Any = SimpleCookie(header).get(self._cookie)
        except CookieError:
            return ""
        return found.value if found is not None else ""

    def _headers(self, came_with_token: bool) -> list[tuple[bytes, bytes]]:
        headers = web.raw(HEADERS)
        if came_with_token:
            cookie = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"
            headers.append((b"set-cookie", cookie.encode()))
        return headers
