"""The server: a socket, the application behind its guard, and an end that loses no answer that can still be had."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from types import FrameType
from typing import NoReturn

import uvicorn

from rlm import web
from rlm.config import Settings
from rlm.display.text import one_line
from rlm.errors import ConfigError
from rlm.events import Sink
from rlm.kernels.scratch import scratch_dir
from rlm.kernels.select import choose
from rlm.result import RunResult
from rlm.serve.app import build
from rlm.serve.connections import PatientProtocol
from rlm.serve.files import FileStore
from rlm.serve.guard import Guard
from rlm.serve.keys import Keys
from rlm.serve.metrics import ServerMetrics
from rlm.serve.options import ServeOptions
from rlm.service.jobs import Job, Jobs, check

MAX_CONNECTIONS = 1000
_SECONDS_TO_END = 5
"""For responses to be read, once their runs are over."""
_SECONDS_TO_CLEAN_UP = 15
"""For sandboxes to end."""
_SWEEP_EVERY = 60
INTERRUPTED = 130


class RlmServer:
    """Serves runs with these settings. `log` gets a line for each run, without its texts.

    Raises `ConfigError` for an address that cannot be had, a host off loopback without keys, and settings with which
    no run can be made.
    """

    def __init__(
        self,
        settings: Settings,
        options: ServeOptions,
        *,
        keys: Keys,
        log: Callable[[str], None] = lambda line: None,
        sinks: Callable[[], Iterable[Sink]] = tuple,
    ) -> None:
        if not keys and not _is_loopback(options.host):
            raise ConfigError(f"{options.host} is not loopback: others need a key (--api-key-file, RLM_SERVE_KEYS)")
        check(settings)
        self._settings = settings
        self._options = options
        self._keys = keys
        self._log = log
        self._sinks = sinks
        self._metrics = ServerMetrics()
        self._socket = web.listen(options.host, options.port)
        self.port: int = self._socket.getsockname()[1]
        self._ending: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """For a client's `base_url`."""
        return f"http://{web.authority(self._options.host, self.port)}/v1"

    async def serve(self, *, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until `end` is called, or SIGINT or SIGTERM comes; `ready` is called when requests are taken.

        What a sandbox needs is built before that. Raises `SandboxUnavailable`.
        """
        self._loop = asyncio.get_running_loop()
        options = self._options
        with ExitStack() as stack:
            stack.callback(self._socket.close)
            await choose(self._settings.sandbox, runtime=self._settings.runtime, progress=self._log)
            folder = stack.enter_context(scratch_dir()).resolve()
            for name in ("files", "requests"):
                (folder / name).mkdir(mode=0o700)
            store = FileStore(
                folder / "files", max_file=options.max_file, max_storage=options.max_storage, ttl=options.file_ttl
            )
            stack.callback(asyncio.create_task(_sweep(store)).cancel)
            self._jobs = Jobs(workers=options.workers, queue=options.queue, sinks=self._sinks, on_end=self._ended)
            self._metrics.watch(self._jobs)
            app = build(
                self._settings,
                options,
                jobs=self._jobs,
                store=store,
                scratch=folder / "requests",
                metrics=self._metrics,
                log=self._log,
            )
            guard = Guard(app, keys=self._keys, options=options, port=self.port, count=self._metrics.request)
            self._server = _Server(
                web.quiet_config(
                    guard, seconds_to_end=_SECONDS_TO_END, http=PatientProtocol, limit_concurrency=MAX_CONNECTIONS
                ),
                on_start=ready,
                on_signal=lambda: self._loop.call_soon_threadsafe(self._signal),
            )
            try:
                await self._server.serve(sockets=[self._socket])
            finally:
                self._jobs.closing = True
                # Sandboxes that do not end now end with this process.
                await asyncio.wait({asyncio.create_task(self._jobs.aclose())}, timeout=_SECONDS_TO_CLEAN_UP)

    def end(self) -> None:
        """Take no more requests, wait for those that go on, then have them return their drafts.

        From any thread, once `serve` is ready; nothing happens if it is over.
        """
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._begin_to_end)

    def _begin_to_end(self) -> None:
        if self._ending is None:
            self._ending = asyncio.create_task(self._end())

    async def _end(self) -> None:
        self._jobs.closing = True
        self._log(f"ending: {self._jobs.running} runs go on (once more: end at once)")
        await asyncio.wait({asyncio.create_task(self._jobs.idle())}, timeout=self._options.grace)
        self._jobs.interrupt()
        await asyncio.wait({asyncio.create_task(self._jobs.idle())}, timeout=_SECONDS_TO_CLEAN_UP)
        self._server.should_exit = True

    def _signal(self) -> None:
        if self._jobs.closing:
            self._leave()
        self._begin_to_end()

    def _leave(self) -> NoReturn:
        """End this process now. Nothing is left behind: each sandbox ends with the pipe to it."""
        try:
            self._jobs.abandon()
        finally:
            os._exit(INTERRUPTED)

    def _ended(self, job: Job, outcome: RunResult | BaseException) -> None:
        self._metrics.run(outcome)
        if isinstance(outcome, RunResult):
            turns = f"{outcome.turns} turn{'' if outcome.turns == 1 else 's'}"
            how = f"{outcome.stop_reason}, {turns}, {outcome.seconds:.1f} s"
            why = f" ({outcome.error.type}: {one_line(outcome.error.message, 300)})" if outcome.error else ""
            self._log(f"run {outcome.run_id} {how}{why}")
        elif isinstance(outcome, Exception):
            self._log(f"a run could not begin: {outcome}")


class _Server(uvicorn.Server):
    """Says when it has begun, and hands signals on, instead of ending on them as uvicorn would."""

    def __init__(
        self, config: uvicorn.Config, *, on_start: Callable[[], None], on_signal: Callable[[], object]
    ) -> None:
        super().__init__(config)
        self._on_start = on_start
        self._on_signal = on_signal

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._on_signal()


async def _sweep(store: FileStore) -> None:
    """Nobody may ask for a file again, and yet it is to go when its time is over."""
    while True:
        await asyncio.sleep(_SWEEP_EVERY)
        await asyncio.to_thread(store.sweep)


def _is_loopback(host: str) -> bool:
    """Whether only this machine can reach it; a name other than localhost may lead anywhere."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
