"""HTTP clients of one endpoint: an `aiohttp` session and an `openai` client per event loop."""

from __future__ import annotations

import asyncio
import ssl
import threading
import urllib.request
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp
from yarl import URL

from rlm.errors import ConfigError
from rlm.models.endpoint import Endpoint

if TYPE_CHECKING:
    from openai import AsyncOpenAI

CONNECT_TIMEOUT = 5.0
"""Seconds to make a connection."""

fresh_connection: ContextVar[bool] = ContextVar("fresh_connection", default=False)
"""Set within a task when its request had to make a connection, instead of reusing one."""


class _Connector(aiohttp.TCPConnector):
    async def _create_connection(self, *args: Any, **kwargs: Any) -> Any:
        fresh_connection.set(True)
        return await super()._create_connection(*args, **kwargs)


class _Clients:
    """What belongs to one event loop."""

    def __init__(self) -> None:
        self.session: aiohttp.ClientSession | None = None
        self.sdk: AsyncOpenAI | None = None


class Sessions:
    """The clients of one endpoint. Made on first use, each within its event loop; thread-safe."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._by_loop: dict[asyncio.AbstractEventLoop, _Clients] = {}
        self._lock = threading.Lock()
        self.proxy_headers: dict[str, str] | None = None
        """For each request of a session."""

    def session(self) -> aiohttp.ClientSession:
        """The running loop's session: no bound on connections (the limiter has it), no cookies, and
        proxies from the environment, looked up once."""
        clients = self._clients()
        if clients.session is None:
            proxy = environment_proxy(self._endpoint)
            self.proxy_headers = proxy.headers if proxy else None
            connector = _Connector(limit=0, keepalive_timeout=30, ssl=self._trust())
            clients.session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={**self._endpoint.headers, "Content-Type": "application/json"},
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
                proxy=proxy.url if proxy else None,
            )
        return clients.session

    def sdk(self) -> AsyncOpenAI:
        """The running loop's official client, over its aiohttp transport, without retries of its own."""
        clients = self._clients()
        if clients.sdk is None:
            clients.sdk = self._make_sdk()
        return clients.sdk

    async def warm(self) -> None:
        """Import and make the official client in a thread, so that nothing waits for it later."""
        clients = self._clients()
        if clients.sdk is None:
            made = await asyncio.to_thread(self._make_sdk)
            if clients.sdk is None:
                clients.sdk = made

    def _make_sdk(self) -> AsyncOpenAI:
        """A client that follows no redirects, so that keys and prompts go nowhere but to the endpoint, and
        that takes nothing from the environment which the hot path would not send as well."""
        from openai import AsyncOpenAI, DefaultAioHttpClient

        # Reading the certificates takes 0.1 s, for nothing where no connection is encrypted.
        encrypted = self._endpoint.base.scheme == "https" or environment_proxy(self._endpoint) is not None
        sdk = AsyncOpenAI(
            api_key="set-by-header",
            base_url=self._endpoint.key,
            default_headers=self._endpoint.headers,
            default_query=dict(self._endpoint.query),
            max_retries=0,
            http_client=DefaultAioHttpClient(follow_redirects=False, verify=encrypted),
        )
        sdk.organization = sdk.project = None
        return sdk

    def _trust(self) -> ssl.SSLContext | bool:
        """The certificates that the official client trusts, so that both paths agree."""
        if self._endpoint.base.scheme == "http":
            return True
        import httpx2

        return httpx2.create_ssl_context()

    async def aclose(self) -> None:
        """Close the running loop's clients; they are made anew when needed again."""
        with self._lock:
            clients = self._by_loop.pop(asyncio.get_running_loop(), None)
        if clients is None:
            return
        if clients.session is not None:
            await clients.session.close()
        if clients.sdk is not None:
            await clients.sdk.close()

    def _clients(self) -> _Clients:
        loop = asyncio.get_running_loop()
        clients = self._by_loop.get(loop)
        if clients is None:
            with self._lock:
                for dead in [other for other in self._by_loop if other.is_closed()]:
                    del self._by_loop[dead]
                clients = self._by_loop[loop] = _Clients()
        return clients


class Proxy(NamedTuple):
    """An HTTP proxy, and the headers that it wants to see."""

    url: URL
    headers: dict[str, str] | None


def environment_proxy(endpoint: Endpoint) -> Proxy | None:
    """The proxy that `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` name for the endpoint.

    Raises `ConfigError` for one that is not an HTTP proxy.
    """
    proxies = urllib.request.getproxies()
    if urllib.request.proxy_bypass(f"{endpoint.base.host}:{endpoint.base.port}"):
        return None
    named = proxies.get(endpoint.base.scheme) or proxies.get("all")
    if not named:
        return None
    try:
        url = URL(named)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError(f"the proxy for {endpoint.key} must be an http:// or https:// URL")
    if url.user is None:
        return Proxy(url, None)
    # aiohttp moves a proxy's Authorization to where it belongs, the request itself or CONNECT, as Proxy-Authorization.
    return Proxy(url.with_user(None), {"Authorization": aiohttp.encode_basic_auth(url.user, url.password or "")})
