"""How a server of runs works, apart from the runs themselves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """The options of `rlm serve` that are not settings of a run. Sizes are bytes, times seconds."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0 is any free one."""
    name: str = "rlm"
    """What the model is called."""
    workers: int = 4
    """Runs at the same time."""
    queue: int = 16
    """Requests that may wait for their run."""
    long_message: int = 4000
    """Characters: a message of more is input, and only its end is the question."""
    max_body: int = 64 << 20
    """Of a request's JSON."""
    max_file: int = 256 << 20
    """Of one document, uploaded or in a message."""
    max_storage: int = 4 << 30
    """Of all uploaded files together."""
    file_ttl: float = 24 * 3600.0
    """How long an uploaded file is kept."""
    grace: float = 30.0
    """How long running requests may take to end after SIGTERM; then they return their best drafts."""
    keep_alive: float = 5.0
    """Between two signs of life in a stream that has nothing to say."""
    read_timeout: float = 30.0
    """Within which a request must have come, if it is not large."""
