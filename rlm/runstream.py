"""`RunStream`: a run that goes on while its events are looked at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any, Self

from rlm.display import Display, open_display
from rlm.display.jupyter import JupyterDisplay, in_jupyter
from rlm.events import Event, Sink
from rlm.result import RunResult

Start = Callable[[Sink], Coroutine[Any, Any, RunResult]]
"""Makes a run that tells a sink, and plays it."""


class RunStream(AsyncIterator[Event]):
    """The events of one run, which begins with the first of them. Used once; see `rlm.RLM.stream`."""

    def __init__(self, start: Start) -> None:
        self._events = self._play(start)
        self.result: RunResult | None = None
        """Once the run is over."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        return await self._events.__anext__()

    async def aclose(self) -> None:
        """Cancel the run, if it goes on, and wait until it has cleaned up."""
        await self._events.aclose()

    async def live(self) -> RunResult:
        """Show the run's progress to its end, in a notebook or on stderr, and return the result.

        Raises `UserError` for mistakes found before anything was spent. To cancel it cancels the run.
        """
        display: Display = JupyterDisplay() if in_jupyter() else open_display()
        try:
            async for event in self:
                display(event)
        finally:
            display.close()
            await self.aclose()
        assert self.result is not None
        return self.result

    async def _play(self, start: Start) -> AsyncGenerator[Event, None]:
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        task = asyncio.create_task(start(events.put_nowait))
        task.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                yield event
            self.result = await task
        finally:
            task.cancel()
            await asyncio.wait({task})
