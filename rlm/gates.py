"""What a run that is made ready ahead of time waits for before it begins."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

Gate = Callable[[], AbstractAsyncContextManager[None]]
"""Entered when a run may begin, which may take long, and left when it has its answer."""


class GateClosed(Exception):
    """Raised by a gate, or within it, that does not open: the run is not to begin."""
