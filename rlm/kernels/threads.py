"""Blocking work beside the event loop, of the two kinds that the usual pool of threads does not serve."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar, cast

from rlm.errors import RLMError

T = TypeVar("T")


async def make(work: Callable[[], T], undo: Callable[[T], None]) -> T:
    """Run `work`, which makes something, in a thread; a cancelled caller gets it undone first.

    A thread cannot be cancelled: what it makes would be left behind.
    """
    making = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(making)
    except asyncio.CancelledError:
        # A failure made nothing, and the cancellation is what the caller waits for.
        with contextlib.suppress(RLMError, OSError):
            await asyncio.to_thread(undo, await making)
        raise


async def watch(work: Callable[[], T], *, name: str) -> T:
    """Run `work`, which may block for hours, in a daemon thread of its own.

    The shared pool has few threads, and the interpreter waits for them when it ends.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(cast("T", result))

    def run() -> None:
        result: T | None = None
        failure: BaseException | None = None
        try:
            result = work()
        except BaseException as error:
            failure = error
        # The loop may have been closed by now, and nobody waits then.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await future
