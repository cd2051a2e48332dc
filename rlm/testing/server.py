"""`ScriptedModelServer`: a real HTTP endpoint on loopback that plays a model from a script."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Protocol

from aiohttp import web

from rlm.testing import render, responses
from rlm.testing.replies import Fault, Reply
from rlm.testing.script import Replies, ScriptBook, ScriptedRequest, UnknownModel

_STALL_SECONDS = 3600.0
_JSON = {"Content-Type": "application/json"}


class _Form(Protocol):
    """An API, as a module that reads its requests and writes its replies."""

    DONE: bytes
    OPENING: int

    def messages_of(self, body: Mapping[str, Any]) -> list[dict[str, Any]] | None: ...
    def completion(self, request: ScriptedRequest, reply: Reply) -> bytes: ...
    def empty_completion(self, request: ScriptedRequest) -> dict[str, Any]: ...
    def events(self, request: ScriptedRequest, reply: Reply, *, chunk_size: int) -> Iterator[bytes]: ...


_FORMS: Mapping[str, _Form] = {"chat": render, "responses": responses}


class ScriptedModelServer:
    """OpenAI's Chat Completions and Responses APIs over HTTP, from one script; runs in a thread of its own.

    Args:
        replies: a reply for every request, or a mapping from model name to its script (`"*"` for any
            other model; without it an unknown model gets a 404). A script is a `str`, a dict of
            `Reply`'s fields, a `Reply`, a `Fault`; or a list of these, consumed in the order of the
            requests for that model, whose last one repeats; or `Turns`, chosen by the turn of the
            conversation; or a callable `(ScriptedRequest) -> reply`, sync or async, run in the
            server's loop (so a slow one must be async).
        delay: seconds before each reply.
        chunk_delay: seconds before each chunk of a streamed reply.
        chunk_size: characters per streamed chunk.
        api_key: when set, requests without this bearer token get a 401.
        max_concurrency: when set, requests above it get a 429.
        retry_after: seconds for the `Retry-After` of those 429s; None sends no such header.
        streaming: False answers whole even where a stream is asked for.
        unsupported_params: body keys that are refused with a 400 which names them.
        models: the entries of `/models`; by default the names of the script.
        pages: further paths, e.g. `/api/show`, and the JSON that they answer.
        record: how many of the latest requests `requests` keeps.
        port: 0 picks a free one.

    A callable that raises gets its request a 400 and the exception goes to `errors`.
    """

    def __init__(
        self,
        replies: Replies = "ok",
        *,
        delay: float = 0.0,
        chunk_delay: float = 0.0,
        chunk_size: int = 16,
        api_key: str | None = None,
        max_concurrency: int | None = None,
        retry_after: float | None = None,
        streaming: bool = True,
        unsupported_params: Sequence[str] = (),
        models: Sequence[Mapping[str, Any]] | None = None,
        pages: Mapping[str, Any] | None = None,
        record: int = 1000,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._book = ScriptBook(replies)
        self._delay = delay
        self._chunk_delay = chunk_delay
        self._chunk_size = chunk_size
        self._api_key = api_key
        self._max_concurrency = max_concurrency
        self._retry_after = retry_after
        self._streaming = streaming
        self._unsupported = tuple(unsupported_params)
        self._models = models
        self._pages = dict(pages or {})
        self._host = host
        self._port = port
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self.request_counts: Counter[str] = Counter()
        """Requests by model name, the refused ones included."""
        self.rejected_count = 0
        """Requests refused because of `max_concurrency`."""
        self.in_flight = 0
        """Requests being served now."""
        self.max_in_flight = 0
        """The highest `in_flight` so far."""
        self._recorded: deque[ScriptedRequest] = deque(maxlen=record)
        self.errors: list[Exception] = []
        """What computed replies raised."""

    @property
    def base_url(self) -> str:
        """For a client's `base_url`; known once started."""
        return f"http://{self._host}:{self._port}/v1"

    @property
    def request_count(self) -> int:
        """All requests for completions so far."""
        return self.request_counts.total()

    @property
    def requests(self) -> list[ScriptedRequest]:
        """The latest requests, oldest first; at most `record`."""
        return list(self._recorded)

    def reset_counts(self) -> None:
        """Forget what was counted and recorded; the script goes on where it stands."""
        self.request_counts.clear()
        self._recorded.clear()
        self.rejected_count = 0
        self.max_in_flight = self.in_flight

    # --- life ---------------------------------------------------------------------------------

    def start(self) -> ScriptedModelServer:
        """Listen; returns itself. Raises `OSError` when the port is taken."""
        if self._thread is not None:
            raise RuntimeError("the server is already running")
        ready = threading.Event()
        failure: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, args=(ready, failure), name="scripted-model", daemon=True)
        self._thread.start()
        ready.wait()
        if failure:
            self._thread.join()
            self._thread = None
            raise failure[0]
        return self

    def close(self) -> None:
        """Stop listening and drop every connection. Idempotent."""
        if self._thread is None or self._loop is None or self._stop is None:
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._thread = None

    def __enter__(self) -> ScriptedModelServer:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _run(self, ready: threading.Event, failure: list[BaseException]) -> None:
        try:
            asyncio.run(self._serve(ready))
        except OSError as exc:
            failure.append(exc)
        finally:
            ready.set()

    async def _serve(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        handlers = web.Server(self._handle, handler_cancellation=True, access_log=None)
        server = await self._loop.create_server(handlers, self._host, self._port, backlog=4096)
        self._port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stop.wait()
        server.close()
        await handlers.shutdown(0.05)
        await server.wait_closed()

    # --- one request --------------------------------------------------------------------------

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._api_key is not None and request.headers.get("Authorization") != f"Bearer {self._api_key}":
            await request.content.read()
            return _error(401, "Incorrect API key provided", code="invalid_api_key")
        if request.path in self._pages:
            await request.content.read()
            return _json(json.dumps(self._pages[request.path]).encode())
        if request.method == "GET" and request.path.endswith("/models"):
            return _json(json.dumps({"object": "list", "data": self._listing()}).encode())
        api = _api_of(request)
        if api is None:
            return _error(404, f"no such path: {request.method} {request.path}")
        received = self._receive(await request.content.read(), request, api)
        if isinstance(received, web.Response):
            return received
        if self._max_concurrency is not None and self.in_flight >= self._max_concurrency:
            self.rejected_count += 1
            return _fault_response(Fault.rate_limit(self._retry_after))
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            return await self._answer(request, received)
        finally:
            self.in_flight -= 1

    def _listing(self) -> Sequence[Mapping[str, Any]]:
        if self._models is not None:
            return self._models
        return [{"id": name, "object": "model", "owned_by": "rlm.testing"} for name in self._book.models]

    def _receive(
        self, raw: bytes, request: web.BaseRequest, api: Literal["chat", "responses"]
    ) -> ScriptedRequest | web.Response:
        try:
            body = json.loads(raw)
        except ValueError:
            return _error(400, "the request body is not JSON")
        messages = _FORMS[api].messages_of(body) if isinstance(body, dict) else None
        if messages is None or not isinstance(body.get("model"), str):
            needed = "messages" if api == "chat" else "input"
            return _error(400, f"the request needs a model and {needed}")
        model = body["model"]
        headers = {name.lower(): value for name, value in request.headers.items()}
        received = ScriptedRequest(model, messages, body, headers, self.request_counts[model], api)
        self.request_counts[model] += 1
        self._recorded.append(received)
        for name in self._unsupported:
            if name in body:
                return _unsupported(name)
        return received

    async def _answer(self, http: web.BaseRequest, request: ScriptedRequest) -> web.StreamResponse:
        try:
            reply = await self._book.choose(request)
        except UnknownModel:
            return _error(404, f"The model `{request.model}` does not exist", code="model_not_found")
        except Exception as exc:  # a mistake in the test's own callable: shown to the test, not retried by the client
            self.errors.append(exc)
            return _error(400, f"the scripted reply raised {type(exc).__name__}: {exc}", code="script_error")
        delay = self._delay if reply.delay is None else reply.delay
        if delay:
            await asyncio.sleep(delay)
        if isinstance(reply, Fault):
            return await self._fail(http, request, reply)
        if reply.status != 200:
            body = render.error(reply.status, reply.text or "")
            return web.Response(status=reply.status, body=body, headers={**_JSON, **reply.headers})
        if request.stream and self._streaming:
            return await self._stream(http, request, reply)
        return web.Response(body=_FORMS[request.api].completion(request, reply), headers={**_JSON, **reply.headers})

    async def _stream(self, http: web.BaseRequest, request: ScriptedRequest, reply: Reply) -> web.StreamResponse:
        pause = self._chunk_delay if reply.chunk_delay is None else reply.chunk_delay
        response = await _open_stream(http, reply.headers)
        for event in _FORMS[request.api].events(request, reply, chunk_size=reply.chunk_size or self._chunk_size):
            if pause:
                await asyncio.sleep(pause)
            await response.write(event)
        await response.write_eof()
        return response

    async def _fail(self, http: web.BaseRequest, request: ScriptedRequest, fault: Fault) -> web.StreamResponse:
        match fault.kind:
            case "http":
                return _fault_response(fault)
            case "stall":
                await asyncio.sleep(_STALL_SECONDS)
            case "drop":
                _reset(http)
            case "truncated" | "drop_mid_body":
                return await self._break_off(http, request, fault)
            case "null_content" if request.stream:
                return await self._stream(http, request, Reply(text=None))
            case _ if request.stream:
                return await self._stream_bytes(
                    http, b"data: " + _odd_body(request, fault) + b"\n\n", _FORMS[request.api].DONE
                )
            case _:
                return _json(_odd_body(request, fault))
        raise web.HTTPInternalServerError

    async def _break_off(self, http: web.BaseRequest, request: ScriptedRequest, fault: Fault) -> web.StreamResponse:
        reply, form = Reply(text=fault.text), _FORMS[request.api]
        if request.stream:
            chunks = list(form.events(request, reply, chunk_size=self._chunk_size))[: form.OPENING]
            if fault.kind == "truncated":
                return await self._stream_bytes(http, *chunks)
            response = await _open_stream(http, {})
            for chunk in chunks:
                await response.write(chunk)
        else:
            whole = form.completion(request, reply)
            response = web.StreamResponse(headers={**_JSON, "Content-Length": str(len(whole))})
            await response.prepare(http)
            await response.write(whole[: len(whole) // 2])
        await asyncio.sleep(0.02)
        if fault.kind == "truncated" and http.transport is not None:
            http.transport.close()
        else:
            _reset(http)
        return response

    async def _stream_bytes(self, http: web.BaseRequest, *chunks: bytes) -> web.StreamResponse:
        response = await _open_stream(http, {})
        for chunk in chunks:
            await response.write(chunk)
        await response.write_eof()
        return response


def _api_of(request: web.BaseRequest) -> Literal["chat", "responses"] | None:
    if request.method != "POST":
        return None
    if request.path.endswith("/chat/completions"):
        return "chat"
    return "responses" if request.path.endswith("/responses") else None


def _odd_body(request: ScriptedRequest, fault: Fault) -> bytes:
    """The body, or the only event, of a reply with status 200 that is not as it should be."""
    match fault.kind:
        case "event":
            return fault.text.encode()
        case "empty_choices":
            return json.dumps(_FORMS[request.api].empty_completion(request)).encode()
        case "null_content":
            return _FORMS[request.api].completion(request, Reply(text=None))
        case _:
            return b'{"choices": [{"message": oops'


async def _open_stream(http: web.BaseRequest, headers: Any) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache", **headers})
    await response.prepare(http)
    return response


def _reset(http: web.BaseRequest) -> None:
    if isinstance(http.transport, asyncio.Transport):
        http.transport.abort()


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, headers=_JSON)


def _error(status: int, message: str, *, code: str | None = None) -> web.Response:
    return web.Response(status=status, body=render.error(status, message, code=code), headers=_JSON)


def _fault_response(fault: Fault) -> web.Response:
    return web.Response(status=fault.status, body=render.fault_error(fault), headers={**_JSON, **fault.headers})


def _unsupported(name: str) -> web.Response:
    hint = " Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
    message = f"Unsupported parameter: '{name}' is not supported with this model.{hint}"
    return _fault_response(Fault.http(400, message, code="unsupported_parameter", param=name))
