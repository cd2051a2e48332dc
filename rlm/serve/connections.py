"""Connections that bring nothing are closed: uvicorn itself waits for a request's head without end."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

EVERY = 15.0
"""Seconds between two looks at a connection: one that waits for a request at both is closed."""


class PatientProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, patient for so long and no longer."""

    _look: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._look = self.loop.call_later(EVERY, self._check, None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)

    def _check(self, seen: object) -> None:
        # Between requests `cycle` is that of the last one; before the first there is none.
        waits = self.cycle is None or self.cycle.response_complete
        now = self.cycle or self
        if waits and now is seen:
            self.transport.abort()
            return
        self._look = self.loop.call_later(EVERY, self._check, now if waits else None)
