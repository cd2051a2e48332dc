"""One model behind an endpoint, whichever API it speaks: `ChatModel` and `ResponsesModel` differ in their `Wire` alone.

`complete` is the hot path of sub-calls: one `aiohttp` request, one JSON encoding, plain dicts.
`stream` is the root's path, through the official client. Both share the endpoint's limiter, one retry
layer and one map of errors.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import aiohttp

from rlm.errors import ModelTimeout
from rlm.models.endpoint import Endpoint
from rlm.models.failures import AttemptFailed, from_status, from_transport
from rlm.models.limiter import DEFAULT_CEILING, Lane, Limiter, limiter_for
from rlm.models.retry import Retries, RetryPolicy
from rlm.models.sdk import StreamRequest, read_stream
from rlm.models.sessions import CONNECT_TIMEOUT, Sessions, fresh_connection
from rlm.models.wire import Dialect, Wire
from rlm.protocols import Completion, Delta, Message

_LARGE_BODY = 1 << 20
"""Bytes above which `aiohttp` wants a file, to write the body piece by piece."""

_T = TypeVar("_T")


class HttpModel:
    """A `rlm.protocols.Model`. Usable from several event loops; close it in each that used it.

    Args:
        name: the model's name, as the endpoint knows it.
        base_url: up to and without `/chat/completions` or `/responses`; a query string is sent with each request.
        api_key: the bearer token; None or empty sends no Authorization header.
        headers: sent with every request; an Authorization header wins over `api_key`.
        params: go into every request body as they are; those of a call win over them.
        context_window: tokens; None when unknown.
        request_timeout: seconds that one attempt may take in all, from its admission to its last byte.
        concurrency: the most requests at once to this endpoint, in the whole process: the latest
            model made for an endpoint decides.
        retry: when failed attempts are tried again.
        dialect: what is known of the endpoint from the start; it learns the rest.

    Raises `rlm.errors.ConfigError` for a base URL or headers that cannot be used.
    """

    wire_type: ClassVar[type[Wire]]
    """The API that it speaks."""

    def __init__(
        self,
        name: str,
        *,
        base_url: str,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        context_window: int | None = None,
        request_timeout: float = 600.0,
        concurrency: int = DEFAULT_CEILING,
        retry: RetryPolicy | None = None,
        dialect: Dialect | None = None,
    ) -> None:
        self.name = name
        self.context_window = context_window
        self._endpoint = Endpoint.parse(base_url, api_key=api_key, headers=headers)
        self._wire = self.wire_type()
        self._url = self._endpoint.url(self._wire.path)
        self._params = dict(params or {})
        self._request_timeout = request_timeout
        self._timeout = aiohttp.ClientTimeout(total=request_timeout, sock_connect=CONNECT_TIMEOUT)
        self._retry = retry or RetryPolicy()
        self._limiter = limiter_for(self._endpoint.key, concurrency)
        self._sessions = Sessions(self._endpoint)
        self._dialect = dialect or Dialect()
        self.refusal = ""
        """What the endpoint said against the latest request that taught something."""

    @property
    def endpoint(self) -> Endpoint:
        """Where it is asked."""
        return self._endpoint

    @property
    def dialect(self) -> Dialect:
        """What the endpoint takes, as far as it is known by now."""
        return self._dialect

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, base_url={self._endpoint.key!r})"

    @property
    def limiter(self) -> Limiter:
        """What bounds the requests to its endpoint, in this process."""
        return self._limiter

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int | None = None,
        timeout: float | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Completion:
        """One whole reply.

        `timeout` bounds the call in all, with the wait for a slot and the retries, beside
        `request_timeout`, which bounds each attempt. Raises `rlm.errors.ModelError`.
        """
        retries = Retries(self._retry)
        try:
            async with asyncio.timeout(timeout):
                return await self._complete(messages, max_tokens, params, retries)
        except TimeoutError:
            raise ModelTimeout(
                f"{self._endpoint.key} gave no reply within {timeout:g} s", attempts=retries.attempts
            ) from None
        except asyncio.CancelledError as cancelled:
            cancelled.attempts = retries.attempts  # type: ignore[attr-defined]  # for `rlm.errors.attempts_of`
            raise

    async def _complete(
        self,
        messages: Sequence[Message],
        max_tokens: int | None,
        params: Mapping[str, Any] | None,
        retries: Retries,
    ) -> Completion:
        session = self._sessions.session()
        merged = {**self._params, **params} if params else self._params
        dialect, body = None, b""
        while True:
            if dialect is not self._dialect:
                dialect = self._dialect
                body = self._wire.encode(
                    self.name, messages, merged, max_tokens=max_tokens, dialect=dialect, stream=False
                )
            try:
                raw = await self._post(session, body, retries)
                return self._wire.decode(
                    raw, self._endpoint, model=self.name, messages=messages, attempts=retries.attempts
                )
            except AttemptFailed as failed:
                if not self._learn(dialect, failed):
                    await retries.after(failed)

    async def _post(self, session: aiohttp.ClientSession, body: bytes, retries: Retries) -> bytes:
        """One attempt: a slot, a request, the reply's body."""
        epoch = await self._limiter.acquire(Lane.RETRY if retries.attempts else Lane.NEW)
        accepted: bool | None = None
        pause = 0.0
        retries.begin()
        fresh_connection.set(False)
        try:
            data = body if len(body) < _LARGE_BODY else io.BytesIO(body)
            async with session.post(
                self._url,
                data=data,
                allow_redirects=False,
                timeout=self._timeout,
                proxy_headers=self._sessions.proxy_headers,
            ) as response:
                raw = await response.read()
            if response.status == 200:
                accepted = True
                return raw
            failed = from_status(response.status, response.headers, raw, self._endpoint)
            if failed.throttled:
                accepted, pause = False, self._retry.retry_after(failed)
            raise failed
        except (aiohttp.ClientError, OSError) as exc:
            raise from_transport(exc, self._endpoint, reused=not fresh_connection.get()) from exc
        finally:
            self._limiter.release(epoch, ok=accepted, pause=pause)

    async def stream(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int | None = None,
        timeout: float | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[Delta, None]:
        """One reply in pieces; closing the iterator ends the request and frees its slot.

        Failures before the first piece are retried. A stream that breaks off later raises, since the
        pieces that were handed out cannot be taken back. Times as in `complete`.
        """
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        retries = Retries(self._retry)
        merged = {**self._params, **params} if params else self._params
        while True:
            dialect = self._dialect
            request = StreamRequest(
                wire=self._wire,
                model=self.name,
                messages=messages,
                body=self._wire.encode(
                    self.name, messages, merged, max_tokens=max_tokens, dialect=dialect, stream=True
                ),
                endpoint=self._endpoint,
            )
            begun = False
            try:
                async with aclosing(self._attempt(request, retries, deadline)) as pieces:
                    async for delta in pieces:
                        yield delta if begun else replace(delta, attempts=retries.attempts)
                        begun = True
                    return
            except AttemptFailed as failed:
                if begun:
                    failed.error.attempts = retries.attempts
                    raise failed.error from failed.__cause__
                if not self._learn(dialect, failed):
                    await self._before(deadline, retries.after(failed), retries)
            except asyncio.CancelledError as cancelled:
                cancelled.attempts = retries.attempts  # type: ignore[attr-defined]  # for `rlm.errors.attempts_of`
                raise

    async def _attempt(
        self, request: StreamRequest, retries: Retries, deadline: float | None
    ) -> AsyncGenerator[Delta, None]:
        """One attempt at a stream, in the lane that is served first: it never waits behind a batch."""
        epoch = await self._before(deadline, self._limiter.acquire(Lane.ROOT), retries)
        accepted: bool | None = None
        pause = 0.0
        retries.begin()
        until = asyncio.get_running_loop().time() + self._request_timeout
        if deadline is not None:
            until = min(until, deadline)
        try:
            async with aclosing(read_stream(self._sessions.sdk(), request, until)) as pieces:
                async for delta in pieces:
                    accepted = True
                    yield delta
        except AttemptFailed as failed:
            if failed.throttled:
                accepted, pause = False, self._retry.retry_after(failed)
            raise
        finally:
            self._limiter.release(epoch, ok=accepted, pause=pause)

    async def _before(self, deadline: float | None, waiting: Awaitable[_T], retries: Retries) -> _T:
        """Wait, at most until the call's deadline."""
        try:
            async with asyncio.timeout_at(deadline):
                return await waiting
        except TimeoutError:
            raise ModelTimeout(f"{self._endpoint.key} gave no reply in time", attempts=retries.attempts) from None

    def _learn(self, used: Dialect, failed: AttemptFailed) -> bool:
        """Whether the refusal, or another call's, taught a dialect that is worth another attempt."""
        if not failed.refusal:
            return False
        adapted = used.adapted(failed.refusal)
        if adapted == used:
            return False
        self.refusal = self._endpoint.clean(failed.refusal)
        if self._dialect is used:
            self._dialect = adapted
        return True

    async def warm(self) -> None:
        """Load what the first `stream` needs (about a second of imports) in a thread; worth calling while
        something else is awaited. Optional."""
        await self._sessions.warm()

    async def aclose(self) -> None:
        """Close the connections of the running event loop. The model can be used again afterwards."""
        await self._sessions.aclose()
