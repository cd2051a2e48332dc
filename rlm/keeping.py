"""What a run leaves so that it may be taken up again: where its input lies, and what is in it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from rlm import threads
from rlm.context import PreparedInput, keep
from rlm.context.manifest import Stopped
from rlm.errors import InputError
from rlm.protocols import Emit
from rlm.trace.records import Redact
from rlm.trace.store import INPUT_FILE


@asynccontextmanager
async def kept(prepared: PreparedInput, folder: Path, *, redact: Redact, emit: Emit) -> AsyncIterator[None]:
    """While the run goes on, its input is read once for its hashes, in a thread that ends with it at the latest."""
    over = threading.Event()
    try:
        await asyncio.to_thread(keep.save, prepared, folder / INPUT_FILE, redact=redact)
    except OSError as error:
        emit("notice", text=f"the run could not be taken up again: {error.strerror or error}")
    hashing = asyncio.create_task(_hash(prepared, over.is_set, emit))
    try:
        yield
    finally:
        over.set()
        hashing.cancel()
        await asyncio.wait({hashing})


async def _hash(prepared: PreparedInput, over: Callable[[], bool], emit: Emit) -> None:
    try:
        hashes = await threads.watch(partial(prepared.sha256, over), name="rlm-hash")
    except Stopped:
        return
    except InputError as error:
        emit("notice", text=str(error))
        return
    emit("inputs.hashed", inputs=[{"name": name, "sha256": value} for name, value in hashes.items()])
