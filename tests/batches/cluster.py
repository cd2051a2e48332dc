"""A Ray cluster of several machines on this one: `python -m tests.batches.cluster CPUS…`.

Prints its address and the folder of its logs, then kills the machine whose number comes in on stdin, without a warning,
and says so.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# A test is not to wait half a minute until a machine is known to be lost.
SYSTEM = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}


def main() -> None:
    from ray.cluster_utils import Cluster

    head, *others = (int(each) for each in sys.argv[1:])
    size = {"memory": 8 << 30, "object_store_memory": 80 << 20}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={**size, "num_cpus": head, "_system_config": SYSTEM, "include_dashboard": False},
    )
    nodes = [cluster.add_node(num_cpus=each, **size) for each in others]
    _say(cluster.address)
    _say(folder := cluster.head_node.get_session_dir_path())
    for line in sys.stdin:
        node = nodes[int(line)]
        for process in node.all_processes["raylet"]:
            raylet = process.process.pid
            # A machine that is lost takes its workers with it.
            for pid in (raylet, *_children(raylet)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        _say("killed")
    cluster.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text(encoding="ascii").split()]


def _say(what: str) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
