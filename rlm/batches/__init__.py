"""Many runs: tasks from a file or from Python, some at a time, each finished one a result in a folder."""

from __future__ import annotations

from rlm.batches.api import run_batch as run_batch
from rlm.batches.tasks import BatchTask as BatchTask
from rlm.batches.tasks import read_tasks as read_tasks
