"""The runs of an evaluation as chat transcripts with their rewards: for fine-tuning and reinforcement learning."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rlm.errors import RLMError
from rlm.evals.rows import Row
from rlm.export.messages import transcripts
from rlm.trace.reader import Trace


def trajectories(rows: Sequence[Row], folder: Path, *, sub_calls: bool = True) -> Iterator[dict[str, Any]]:
    """The lines of `rlm.export.messages` for every row that has a trace, each with what its task came to.

    Every line of a run has that: `env`, `arm`, `task_id`, `seed`, `index`, `reward`, `metrics`, `gold`. `folder` is
    that of the rows. Raises `InputError` for a trace that cannot be read.
    """
    for row in rows:
        if row.error is not None or not row.trace or not (folder / row.trace).is_file():
            continue
        about = {"env": row.env, "arm": row.arm, "task_id": row.task_id, "seed": row.seed, "index": row.index}
        about |= {"reward": row.reward, "metrics": row.metrics, "gold": row.gold}
        for line in transcripts(Trace((folder / row.trace).parent).events(), sub_calls=sub_calls):
            yield {**line, **about}


def write_trajectories(rows: Sequence[Row], folder: Path, where: Path) -> int:
    """One JSON object per line; returns how many. Raises `RLMError` if it cannot be written."""
    count = 0
    try:
        with where.open("w", encoding="utf-8", errors="backslashreplace") as file:
            for line in trajectories(rows, folder):
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
                count += 1
    except OSError as error:
        raise RLMError(f"cannot write {where}: {error.strerror or error}") from error
    return count
