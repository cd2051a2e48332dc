"""`RLM`: configuration in, `RunResult` out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rlm.config import Settings
from rlm.context import Input, Value
from rlm.errors import ConfigError
from rlm.events import Sink
from rlm.layers import check_settings, load_settings
from rlm.record import Record
from rlm.result import RunResult
from rlm.run import Run
from rlm.runstream import RunStream
from rlm.trace.reader import find


class RLM:
    """A recursive language model: a root model that works on an input with code and calls of language models.

    Options are the fields of `rlm.config.Settings`; what is not given comes from `RLM_*`, `rlm.toml`,
    the user's configuration and the defaults. With `settings`, nothing but these and the options counts.
    An `RLM` holds no run's state: many runs may go on at once, also on several event loops and threads.

        result = RLM(model="gpt-5", sub_model="gpt-5-mini").run("Who is mentioned most?", inputs=["book.txt"])

    Raises `ConfigError` for options that are unknown, wrong, or contradict each other.
    """

    def __init__(self, *, settings: Settings | None = None, **options: Any) -> None:
        if settings is None:
            self.settings = load_settings(options)
        else:
            self.settings = settings.model_copy(update=_checked(options)) if options else settings
        self._live: dict[Run, tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = {}
        self._lock = threading.RLock()  # a signal handler may interrupt the thread that holds it

    def run(self, question: str, context: Any = None, *, inputs: Sequence[Any] | None = None) -> RunResult:
        """`arun`, blocking. Inside a running event loop it works in a thread of its own, and blocks that loop."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self.arun(question, context, inputs=inputs))
        run = Run(self.settings, question, _inputs(context, inputs), sinks=_sinks(self.settings))
        with ThreadPoolExecutor(1, thread_name_prefix="rlm-run") as pool:
            running = pool.submit(lambda: asyncio.run(self._play(run)))
            try:
                return running.result()
            except KeyboardInterrupt:
                self._interrupt(run)  # the pool waits for its thread
                raise

    async def arun(self, question: str, context: Any = None, *, inputs: Sequence[Any] | None = None) -> RunResult:
        """Answer `question` about `context` or `inputs`.

        `context` is a value (str, bytes, what JSON can hold) or a `Path`; `inputs` a list of paths, globs and
        `Path`s, of other values and of `rlm.Value`, which makes a str a text and names it.

        A run that fails, reaches a limit or is interrupted returns its best draft, with `stop_reason` and
        `error`. Raises `UserError` for mistakes found before anything was spent.
        """
        return await self._play(Run(self.settings, question, _inputs(context, inputs), sinks=_sinks(self.settings)))

    def stream(self, question: str, context: Any = None, *, inputs: Sequence[Any] | None = None) -> RunStream:
        """The events of a run as they happen (see `rlm.events`); the last one is `run.completed`.

        Iterate over it with `async for`, or `await rlm.stream(…).live()` to see the progress, in a notebook too, and
        get the result. Closing the iterator cancels the run. Raises `UserError` like `arun`, with the first event.
        """

        async def start(sink: Sink) -> RunResult:
            sinks = [sink, *_sinks(self.settings)]
            return await self._play(Run(self.settings, question, _inputs(context, inputs), sinks=sinks))

        return RunStream(start)

    def resume(self, run: str | Path | None = None) -> RunResult:
        """`aresume`, blocking; not inside a running event loop."""
        return asyncio.run(self.aresume(run))

    async def aresume(self, run: str | Path | None = None) -> RunResult:
        """Go on with a run whose process was killed or interrupted, or whose endpoint failed.

        `run` is its id, the beginning of it, or its folder; the latest one by default. No reply that had arrived is
        asked for again; the cells are executed again, and a `cell.diverged` event tells of one that did something
        else than before. A run that has ended otherwise returns its result.

        Raises `InputError` if there is no such run, it goes on elsewhere or its input has changed, and `ConfigError`
        for settings with which it would not be the same run.
        """
        record = Record(find(str(run) if run else None, self.settings.trace_dir))
        if record.end is not None:
            return RunResult.from_dict(record.end)
        return await self._play(Run(self.settings, record.question, sinks=_sinks(self.settings), record=record))

    def interrupt(self) -> None:
        """End all runs of this object now, each with its best draft. From any thread or signal handler."""
        with self._lock:
            live = list(self._live)
        for run in live:
            self._interrupt(run)

    def _interrupt(self, run: Run) -> None:
        with self._lock:
            if run in self._live:
                self._live[run][0].call_soon_threadsafe(run.interrupt)
            else:
                run.interrupt()

    async def aclose(self) -> None:
        """Cancel the runs that go on in this event loop, and wait until they have cleaned up."""
        with self._lock:
            here = asyncio.get_running_loop()
            tasks = {task for loop, task in self._live.values() if loop is here and task is not asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _play(self, run: Run) -> RunResult:
        # A task of its own, so that ending a run early never cancels the caller.
        task = asyncio.create_task(run.play())
        with self._lock:
            self._live[run] = (asyncio.get_running_loop(), task)
        try:
            return await task
        finally:
            with self._lock:
                del self._live[run]


def _sinks(settings: Settings) -> list[Sink]:
    """Who listens to a run beside its caller."""
    if not settings.otel:
        return []
    from rlm.otel import Spans  # most runs need none of it

    return [Spans()]


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    checked = check_settings(**options)
    return {name: getattr(checked, name) for name in options}


def _inputs(context: Any, inputs: Sequence[Any] | None) -> Sequence[Input]:
    if inputs is None:
        return () if context is None else (context if isinstance(context, Path) else Value(context),)
    if context is not None:
        raise ConfigError("give either a context or inputs")
    if isinstance(inputs, str | bytes | Path):
        raise ConfigError("inputs: a list of paths and values; for one text use context")
    return [each if isinstance(each, str | Path | Value) else Value(each) for each in inputs]
