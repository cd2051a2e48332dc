"""What the viewer's server answers: the page, and the runs as JSON.

GET /                               the page
GET /page/NAME                      its scripts and its style
GET /api/runs                       runs (run_id, status, question, model, started, …), left_out
GET /api/runs/ID                    the same of one run, and prices (a token in and out, by model)
GET /api/runs/ID/events?skip=N      a stream of server-sent events: lists of trace events, and at last `end`
GET /api/runs/ID/blobs/SHA256       one long text
GET /api/runs/ID/search?q=TEXT      the long texts that hold it, by digest
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from rlm.errors import InputError
from rlm.trace.reader import Trace
from rlm.view import page_files
from rlm.view.follow import follow
from rlm.view.library import Library, about, prices, search_blobs

MAX_QUERY = 1000


def build(library: Library, *, over: Callable[[], bool] = bool) -> Starlette:
    """The application; its streams end when `over()` says so."""
    runs = _Runs(library, over)
    return Starlette(
        routes=[
            Route("/", _page),
            Route("/page/{name}", _page_file),
            Route("/api/runs", runs.all),
            Route("/api/runs/{run}", runs.one),
            Route("/api/runs/{run}/events", runs.events),
            Route("/api/runs/{run}/blobs/{digest}", runs.blob),
            Route("/api/runs/{run}/search", runs.search),
        ]
    )


# Handlers that are not async run in threads: they read files.


def _page(request: Request) -> Response:
    return HTMLResponse(page_files.linked())


def _page_file(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in (*page_files.SCRIPTS, page_files.STYLE):
        raise HTTPException(404, "there is no such file")
    return Response(page_files.text(name), media_type=page_files.TYPES[f".{name.rpartition('.')[2]}"])


class _Runs:
    def __init__(self, library: Library, over: Callable[[], bool]) -> None:
        self._library = library
        self._over = over

    def all(self, request: Request) -> Response:
        return _json(self._library.listing())

    def one(self, request: Request) -> Response:
        trace = self._find(request)
        return _json({**about(trace), "prices": prices(trace)})

    async def events(self, request: Request) -> Response:
        try:
            skip = int(request.headers.get("last-event-id") or request.query_params.get("skip") or 0)
        except ValueError:
            raise HTTPException(400, "skip: a number") from None
        return StreamingResponse(_stream(self._find(request), skip, self._over), media_type="text/event-stream")

    def blob(self, request: Request) -> Response:
        text = self._find(request).blob(request.path_params["digest"])
        if text is None:
            raise HTTPException(404, "there is no such text")
        return PlainTextResponse(text.encode("utf-8", "replace"))

    def search(self, request: Request) -> Response:
        query = request.query_params.get("q", "")
        if not query or len(query) > MAX_QUERY:
            raise HTTPException(400, f"q: 1 to {MAX_QUERY} characters")
        return _json(search_blobs(self._find(request), query))

    def _find(self, request: Request) -> Trace:
        trace = self._library.find(request.path_params["run"])
        if trace is None:
            raise HTTPException(404, "there is no such run")
        return trace


async def _stream(trace: Trace, skip: int, over: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Each message has as its id the number of events so far, which a browser that comes back sends along."""
    try:
        async for piece in follow(trace, skip=skip, over=over):
            data = json.dumps({"events": piece.events, "goes_on": piece.goes_on})
            yield f"id: {piece.position}\ndata: {data}\n\n".encode()
        if not over():
            yield b"event: end\ndata: {}\n\n"
    except InputError as error:
        yield f"event: failed\ndata: {json.dumps(str(error))}\n\n".encode()


def _json(value: object) -> Response:
    # ASCII: a lone surrogate, which a trace may hold, has no UTF-8 form.
    return Response(json.dumps(value), media_type="application/json")
