"""Completions: a request becomes a run, and the run a response, whole or as a stream."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from rlm.config import Settings
from rlm.context import Input, Named
from rlm.result import RunResult
from rlm.serve.failures import ApiError, ending, of_exception, of_result
from rlm.serve.files import FileStore
from rlm.serve.messages import Document, Inline
from rlm.serve.options import ServeOptions
from rlm.serve.request import ChatRequest, read_request
from rlm.serve.shapes import ALIVE, Completion, event
from rlm.service.jobs import Closing, Full, Job, Jobs, Place


class Chat:
    """The handler of /v1/chat/completions. `scratch` is where a request's documents lie while its run goes on."""

    def __init__(
        self, settings: Settings, options: ServeOptions, *, jobs: Jobs, store: FileStore, scratch: Path
    ) -> None:
        self._settings = settings
        self._options = options
        self._jobs = jobs
        self._store = store
        self._scratch = scratch

    async def answer(self, request: Request) -> Response:
        # A place first: what waits for one is not read.
        with self._place() as place:
            body = await request.body()
            asked = await asyncio.to_thread(read_request, body, self._settings, self._options)
            del body
            folder = await asyncio.to_thread(partial(tempfile.mkdtemp, dir=self._scratch))
            over = partial(shutil.rmtree, folder, ignore_errors=True)
            try:
                inputs = await asyncio.to_thread(self._inputs, asked, str(request.state.owner), Path(folder))
            except BaseException:
                over()
                raise
            job = place.begin(asked.settings, asked.asked.question, inputs, over=over)
        completion = Completion(asked.model)
        headers = {"x-request-id": completion.id}
        if asked.stream:
            stream = _stream(job, completion, asked, self._options.keep_alive)
            return _RunResponse(job, stream, headers)
        return await _whole(job, completion, request, headers)

    def _place(self) -> Place:
        try:
            return self._jobs.place()
        except Full as full:
            headers = {"Retry-After": str(full.retry_after)}
            raise ApiError(429, "too many requests at once", code="queue_full", headers=headers) from None
        except Closing:
            raise ending() from None

    def _inputs(self, asked: ChatRequest, owner: str, folder: Path) -> Sequence[Input]:
        documents = enumerate(asked.asked.documents)
        return [*asked.asked.values, *(self._laid_out(each, owner, folder / str(n)) for n, each in documents)]

    def _laid_out(self, document: Document, owner: str, folder: Path) -> Named:
        """A document in the request's own folder: one that is deleted meanwhile is still there for its run."""
        folder.mkdir(mode=0o700)
        if isinstance(document, Inline):
            path = folder / document.name
            path.write_bytes(document.content)
            path.chmod(0o644)
            return Named(path, document.name)
        kept = self._store.get(owner, document.file_id)
        try:
            os.link(kept.path, folder / kept.name, follow_symlinks=False)
        except FileNotFoundError:
            raise ApiError(404, "there is no such file", param="file_id", code="file_not_found") from None
        return Named(folder / kept.name, kept.name)


async def _whole(job: Job, completion: Completion, request: Request, headers: dict[str, str]) -> Response:
    """The completion, or an error. A client that goes away cancels its run."""
    gone = asyncio.create_task(_disconnected(request.receive))
    try:
        await asyncio.wait({gone, job.task}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        if not job.task.done():
            job.cancel()
    if not job.task.done():
        return Response(status_code=499)  # nobody reads it
    result = _outcome(job)
    return JSONResponse(completion.whole(result), headers=headers)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


async def _stream(job: Job, completion: Completion, asked: ChatRequest, keep_alive: float) -> AsyncIterator[bytes]:
    yield completion.beginning()
    while not job.task.done():
        step = asyncio.create_task(job.steps.get()) if asked.progress else None
        waited_for = {job.task, step} if step else {job.task}
        try:
            await asyncio.wait(waited_for, timeout=keep_alive, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if step is not None:
                step.cancel()
        if step is not None and step.done():
            yield completion.progress(step.result())
        elif not job.task.done():
            yield ALIVE
    try:
        result = _outcome(job)
    except ApiError as error:
        yield event(error.body())
        return
    for chunk in completion.end(result, include_usage=asked.include_usage):
        yield chunk


def _outcome(job: Job) -> RunResult:
    """The result of a job that is over, if it is one to be returned. Raises `ApiError`."""
    if job.task.cancelled():
        raise ending()
    if (raised := job.task.exception()) is not None:
        raise of_exception(raised)
    result = job.task.result()
    if (failure := of_result(result)) is not None:
        raise failure
    return result


class _RunResponse(StreamingResponse):
    """A stream whose run ends with it, whoever ends it."""

    def __init__(self, job: Job, content: AsyncIterator[bytes], headers: dict[str, str]) -> None:
        # Some proxies would collect a stream until it ends.
        headers = {**headers, "X-Accel-Buffering": "no"}
        super().__init__(content, media_type="text/event-stream", headers=headers)
        self._job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._job.cancel()
