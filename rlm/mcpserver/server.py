"""The server: over stdio, for one client, for as long as that keeps the pipe open."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from mcp import MCPDeprecationWarning, MCPError, stdio_server, types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server

from rlm.config import Settings
from rlm.context import Input, Named, Value
from rlm.errors import InputError, UserError
from rlm.events import Sink
from rlm.mcpserver import tool
from rlm.mcpserver.history import History
from rlm.mcpserver.roots import Roots
from rlm.result import RunResult
from rlm.service.ceilings import lowered
from rlm.service.jobs import Closing, Full, Job, Jobs, check

Context = ServerRequestContext[Any, Any]
ROOTS = "roots"
"""The name of the question for the client's roots, where it is asked within a result."""
ROOTS_TIMEOUT = 10.0
"""Seconds that a client may take to name its roots."""


class DocumentServer:
    """Answers MCP requests with runs of these settings on what lies beneath `roots`.

    `version` is what clients are told. At most `workers` runs go on at once, and `queue` more wait. Raises
    `ConfigError` for settings with which no run can be made.
    """

    def __init__(
        self,
        settings: Settings,
        roots: Roots,
        *,
        version: str = "",
        workers: int = 2,
        queue: int = 16,
        sinks: Callable[[], Iterable[Sink]] = tuple,
    ) -> None:
        check(settings)
        self._settings = settings
        self._roots = roots
        self._jobs = Jobs(workers=workers, queue=queue, sinks=sinks, on_end=self._ended)
        self._history = History()
        self._server: Server[Any] = Server(
            "rlm",
            version=version,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read_resource,
        )

    async def serve(self) -> None:
        """Serve until the client closes the pipe; runs that go on then are cancelled."""
        try:
            # What else is written to stdout meanwhile goes to stderr: the package moves the descriptor.
            async with stdio_server() as (reading, writing):
                await self._server.run(reading, writing, self._server.create_initialization_options())
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Cancel the runs that go on, and wait until they have cleaned up."""
        await self._jobs.aclose()

    # --- requests

    async def _list_tools(self, ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[tool.definition(self._settings, self._roots.folders)])

    async def _call_tool(
        self, ctx: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        if params.name != tool.NAME:
            raise MCPError(types.INVALID_PARAMS, f"there is no tool of this name; there is {tool.NAME}")
        try:
            arguments = tool.Arguments.read(params.arguments or {})
            settings = lowered(self._settings, arguments.limits)
            roots = self._roots
            if arguments.paths and _has_roots(ctx):
                answer = await _client_roots(ctx, params)
                if isinstance(answer, types.InputRequiredResult):
                    return answer
                roots = roots.within(str(root.uri) for root in answer.roots)
            inputs: list[Input] = await asyncio.to_thread(
                lambda: [Named(roots.resolve(path), path) for path in arguments.paths]
            )
            if arguments.text is not None:
                inputs.append(Value(arguments.text, "text"))
            with self._jobs.place() as place:
                job = place.begin(settings, arguments.question, inputs)
            return tool.answered(await _followed(job, ctx))
        except (Full, Closing, UserError) as error:
            return tool.failed(str(error))

    async def _list_resources(
        self, ctx: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        return types.ListResourcesResult(resources=self._history.resources())

    async def _list_templates(
        self, ctx: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=self._history.templates())

    async def _read_resource(self, ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        try:
            content = await asyncio.to_thread(self._history.read, str(params.uri))
        except InputError as error:
            raise MCPError(types.INVALID_PARAMS, str(error)) from None
        return types.ReadResourceResult(contents=[content])

    def _ended(self, job: Job, outcome: RunResult | BaseException) -> None:
        if isinstance(outcome, RunResult):
            self._history.add(outcome)


async def _followed(job: Job, ctx: Context) -> RunResult:
    """The result of a run, its progress told meanwhile. A client that cancels the call cancels the run.

    Raises `UserError`, and `Closing` if the server has cancelled it.
    """
    told = 0
    try:
        while not job.task.done():
            step = asyncio.create_task(job.steps.get())
            try:
                await asyncio.wait({step, job.task}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                step.cancel()
            if step.done() and not step.cancelled():
                told += 1
                await ctx.session.report_progress(told, message=step.result())
    finally:
        # It cleans up on its own: here, nothing may wait once the call was cancelled.
        job.cancel()
    if job.task.cancelled():
        raise Closing("the server is about to end")
    return job.task.result()


def _has_roots(ctx: Context) -> bool:
    capabilities = ctx.session.client_capabilities
    return capabilities is not None and capabilities.roots is not None


async def _client_roots(
    ctx: Context, params: types.CallToolRequestParams
) -> types.ListRootsResult | types.InputRequiredResult:
    """The client's roots: asked for by a request, or by protocols without such by a result that wants more.

    Raises `InputError` for a client that has roots and does not name them.
    """
    answer = (params.input_responses or {}).get(ROOTS)
    if isinstance(answer, types.ListRootsResult):
        return answer
    if not ctx.session.can_send_request:
        return types.InputRequiredResult(input_requests={ROOTS: types.ListRootsRequest()})
    try:
        async with asyncio.timeout(ROOTS_TIMEOUT):
            with warnings.catch_warnings():
                # Deprecated in the latest protocol, and the only way in those before it.
                warnings.simplefilter("ignore", MCPDeprecationWarning)
                return await ctx.session.list_roots()
    except (MCPError, TimeoutError):
        raise InputError("the client has roots and does not name them") from None
