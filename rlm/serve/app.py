"""What the server answers.

GET  /v1/models, /v1/models/NAME      the one model that there is
POST /v1/chat/completions             a run; whole, or as a stream
POST /v1/files                        a document, as multipart/form-data
GET  /v1/files, /v1/files/ID          the caller's own documents; DELETE removes one
GET  /healthz                         that the process lives
GET  /readyz                          that it takes requests; 503 once it is about to end
GET  /metrics                         figures for Prometheus
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rlm.config import Settings
from rlm.serve import shapes
from rlm.serve.chat import Chat
from rlm.serve.failures import ApiError, invalid
from rlm.serve.files import FileStore, check_purpose
from rlm.serve.guard import response
from rlm.serve.metrics import CONTENT_TYPE, ServerMetrics
from rlm.serve.options import ServeOptions
from rlm.service.jobs import Jobs

UPLOADS = 4
"""Uploads that are read at the same time: each lies in a temporary file until it is complete."""
MAX_FIELD = 4096
"""Bytes of a field of an upload's form that is no file."""


def build(
    settings: Settings,
    options: ServeOptions,
    *,
    jobs: Jobs,
    store: FileStore,
    scratch: Path,
    metrics: ServerMetrics,
    log: Callable[[str], None],
) -> Starlette:
    """The application. Every error that it answers with has OpenAI's shape."""

    async def broken(request: Request, error: Exception) -> Response:
        log(f"unexpected {type(error).__name__}: {error}")
        return response(ApiError(500, "something went wrong here", code="internal_error"))

    api = _Api(options, jobs, store, metrics)
    chat = Chat(settings, options, jobs=jobs, store=store, scratch=scratch)
    return Starlette(
        routes=[
            Route("/v1/models", api.models),
            Route("/v1/models/{name}", api.model),
            Route("/v1/chat/completions", chat.answer, methods=["POST"]),
            Route("/v1/files", api.files, methods=["GET"]),
            Route("/v1/files", api.upload, methods=["POST"]),
            Route("/v1/files/{id}", api.file, methods=["GET"]),
            Route("/v1/files/{id}", api.delete, methods=["DELETE"]),
            Route("/healthz", api.health),
            Route("/readyz", api.ready),
            Route("/metrics", api.figures),
        ],
        exception_handlers={ApiError: _refuse, HTTPException: _refuse, ClientDisconnect: _gone, Exception: broken},
    )


class _Api:
    """All but the completions."""

    def __init__(self, options: ServeOptions, jobs: Jobs, store: FileStore, metrics: ServerMetrics) -> None:
        self._options = options
        self._jobs = jobs
        self._store = store
        self._metrics = metrics
        self._created = int(time.time())
        self._uploads = asyncio.Semaphore(UPLOADS)

    async def models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [shapes.model(self._options.name, self._created)]})

    async def model(self, request: Request) -> Response:
        if request.path_params["name"] != self._options.name:
            raise ApiError(404, "there is no model of this name", param="model", code="model_not_found")
        return JSONResponse(shapes.model(self._options.name, self._created))

    async def upload(self, request: Request) -> Response:
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise invalid("a form (multipart/form-data) with file and purpose", "file")
        reading = request.form(max_files=1, max_fields=8, max_part_size=MAX_FIELD)
        async with self._uploads, reading as form:
            file, purpose = form.get("file"), form.get("purpose", "user_data")
            if not isinstance(file, UploadFile):
                raise invalid("file: a document", "file")
            purpose = check_purpose(purpose if isinstance(purpose, str) else "")
            work = (owner(request), file.filename or "", purpose, file.file, file.size or 0)
            kept = await asyncio.to_thread(self._store.add, *work)
        return JSONResponse(self._store.to_dict(kept))

    def files(self, request: Request) -> Response:
        kept = [self._store.to_dict(each) for each in self._store.all(owner(request))]
        ends = {"first_id": kept[0]["id"], "last_id": kept[-1]["id"]} if kept else {"first_id": None, "last_id": None}
        return JSONResponse({"object": "list", "data": kept, "has_more": False, **ends})

    def file(self, request: Request) -> Response:
        return JSONResponse(self._store.to_dict(self._store.get(owner(request), request.path_params["id"])))

    def delete(self, request: Request) -> Response:
        file_id = request.path_params["id"]
        self._store.delete(owner(request), file_id)
        return JSONResponse({"id": file_id, "object": "file", "deleted": True})

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        if self._jobs.closing:
            return JSONResponse({"status": "ending"}, status_code=503)
        return JSONResponse({"status": "ok"})

    async def figures(self, request: Request) -> Response:
        return Response(self._metrics.page(), headers={"Content-Type": CONTENT_TYPE})


def owner(request: Request) -> str:
    """Whose request it is, as the guard has found."""
    return str(request.state.owner)


async def _refuse(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        status = error.status_code
        told = {404: "there is nothing at this path", 405: "this path takes no such method"}
        message = told.get(status, "the request cannot be read")
        error = ApiError(status, message, headers=dict(error.headers or {}))
    assert isinstance(error, ApiError)
    return response(error)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it
