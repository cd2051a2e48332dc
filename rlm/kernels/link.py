"""The host's end of a sandbox's stdin and stdout: frames in and out, and word of its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from rlm.bridge import frames
from rlm.errors import ProtocolError, SandboxError
from rlm.protocols import Death, Process

Control = dict[str, Any]
BRIDGE_CHUNK = 1 << 20
"""Bytes of one frame of bridge data: a long one would keep the kernel's other frames waiting."""


class AgentLink:
    """Reads a sandbox's frames until it ends, and hands them on.

    `on_control(message)`, `on_frame(channel, kernel, payload)` are called on the event loop and must
    not block. `ended` resolves to the sandbox's `Death`.
    """

    def __init__(
        self,
        process: Process,
        *,
        on_control: Callable[[Control], None],
        on_frame: Callable[[int, int, bytes], None],
        on_violation: Callable[[str], None],
    ) -> None:
        self._process = process
        self._on_control = on_control
        self._on_frame = on_frame
        self._on_violation = on_violation
        self.ended: asyncio.Future[Death] = asyncio.get_running_loop().create_future()
        self._reader = asyncio.get_running_loop().create_task(self._read())

    def send(self, frame: bytes) -> None:
        if not self.ended.done():
            self._process.write(frame)

    def send_bridge(self, kernel: int, data: bytes) -> None:
        """Bytes of a kernel's bridge, of any length."""
        for start in range(0, len(data), BRIDGE_CHUNK):
            self.send(frames.agent_frame(frames.BRIDGE, kernel, data[start : start + BRIDGE_CHUNK]))

    def control(self, op: str, **fields: Any) -> None:
        self.send(frames.control_frame(op, **fields))

    def stderr_tail(self) -> str:
        return self._process.stderr_tail()

    async def kill(self) -> Death:
        """End the whole sandbox at once."""
        await self._process.kill()
        return await asyncio.shield(self.ended)

    async def aclose(self) -> None:
        await self._process.aclose()
        if not self.ended.done():
            self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader

    async def _read(self) -> None:
        decoder = frames.AgentDecoder()
        try:
            while data := await self._process.read():
                for channel, kernel, payload in decoder.feed(data):
                    if channel == frames.CONTROL:
                        self._on_control(_control(payload))
                    else:
                        self._on_frame(channel, kernel, payload)
        except Exception as error:
            # Whatever it was, nothing more is read, and who waits for this sandbox must learn that it is over.
            self._on_violation(f"{type(error).__name__}: {str(error)[:500]}")
            with contextlib.suppress(SandboxError):
                await self._process.kill()
        finally:
            if not self.ended.done():
                self.ended.set_result(await self._process.wait())


def _control(payload: bytes) -> Control:
    message = frames.parse_json(payload)
    if not isinstance(message, dict) or not isinstance(message.get("op"), str):
        raise ProtocolError("a broken control frame")
    return message
