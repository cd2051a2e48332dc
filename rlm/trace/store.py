"""Where runs are kept: one private folder per run, named by an id that sorts by time.

    $XDG_STATE_HOME/rlm/runs/<run_id>/events.jsonl    every event, one JSON object per line
                                     /result.json     the result, once there is one
                             /blobs/SHA256    large texts of the events
                             /input.json      where the input lies, for a run that is taken up again
                             /input/          what came by stdin or through the API

The folders are readable by their owner only: they hold prompts, which hold documents.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path

import platformdirs

EVENTS_FILE = "events.jsonl"
RESULT_FILE = "result.json"
INPUT_FILE = "input.json"
BLOBS = "blobs"


def new_run_id() -> str:
    """A fresh id: UTC time to the millisecond, then 32 random bits; sorts by time as text."""
    now = datetime.now(UTC)
    return f"{now:%Y%m%d-%H%M%S}-{now.microsecond // 1000:03d}-{secrets.token_hex(4)}"


def runs_dir(trace_dir: str | Path | None = None) -> Path:
    """The folder that holds the runs' folders: `trace_dir`, or the one under the user's state folder."""
    if trace_dir is not None:
        return Path(trace_dir).expanduser().absolute()
    return platformdirs.user_state_path("rlm") / "runs"


def private_dir(path: Path) -> Path:
    """Create `path` and what is missing above it, each with mode 0700; what exists keeps its mode."""
    missing = [path]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
    return path
