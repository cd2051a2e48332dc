"""What whoever asked for a run from afar is told of it, beside the answer; not where its trace lies."""

from __future__ import annotations

from typing import Any

from rlm.result import RunResult

TOLD = ("run_id", "stop_reason", "ready", "turns", "usage", "cost", "seconds")
"""Always told, with the names and values of `RunResult.to_dict`."""


def about(result: RunResult) -> dict[str, Any]:
    """Plain JSON; with `citations` if the run was to cite."""
    told = result.to_dict()
    names = TOLD if result.citations is None else (*TOLD, "citations")
    return {name: told[name] for name in names}
