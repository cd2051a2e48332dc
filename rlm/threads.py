"""Work that may block for hours, beside the event loop: the usual pool of threads does not serve it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar, cast

T = TypeVar("T")


async def watch(work: Callable[[], T], *, name: str) -> T:
    """Run `work`, which may block for hours, in a daemon thread of its own, with the caller's context variables.

    The shared pool has few threads, and the interpreter waits for them when it ends. Whoever is cancelled
    here leaves the thread behind, which goes on.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

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
            result = context.run(work)
        except StopIteration as error:
            # No future takes it: it would end the generator that awaits.
            failure = RuntimeError(f"StopIteration: {error}")
        except BaseException as error:
            failure = error
        # The loop may have been closed by now, and nobody waits then.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await future
