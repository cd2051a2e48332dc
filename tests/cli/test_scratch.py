"""Private folders of a run: gone with it, and gone with the next command if its process was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from rlm.kernels import scratch

HOLD = """
from rlm.kernels.scratch import scratch_dir
with scratch_dir() as folder:
    (folder / "secret").write_text("a document")
    print(folder, flush=True)
    input()
"""


def test_it_is_private_and_goes_with_its_block(isolated_env) -> None:
    with scratch.scratch_dir() as folder:
        (folder / "file").write_text("x")
        assert folder.stat().st_mode & 0o777 == folder.parent.stat().st_mode & 0o777 == 0o700
        assert scratch.reap() == []
    assert list((isolated_env / "home/.local/state/rlm/scratch").iterdir()) == []


def test_what_a_killed_process_left_is_removed(isolated_env) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as held:
        assert held.stdout is not None
        folder = held.stdout.readline().strip()
        assert scratch.reap() == []
        held.send_signal(signal.SIGKILL)
    assert os.path.exists(folder)
    assert [str(path) for path in scratch.reap()] == [os.path.dirname(folder)]
    assert not os.path.exists(folder)
