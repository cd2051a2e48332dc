"""From a status to the reason that a kernel, or a sandbox as a whole, ended."""

from __future__ import annotations

import os
import signal

from rlm.protocols import Death


def read_death(status: object, *, killed: str, out_of_memory: bool) -> Death:
    """`status` as of waitpid, from the agent; `killed` says why the host had asked for it, if it had."""
    if killed:
        return Death("killed", killed)
    if type(status) is not int or not 0 <= status < 1 << 16:
        return Death("lost", "the agent reported no usable status")
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGKILL and out_of_memory:
            return Death("oom", "out of memory: the sandbox's limit was reached")
        return Death("crash", f"killed by {_name(number)}")
    if os.WIFEXITED(status):
        return Death("crash", f"exited with status {os.WEXITSTATUS(status)}")
    return Death("lost", f"wait status {status}")


def death_from_status(status: int, *, killed: bool, oom_kills: int) -> Death:
    """What the exit status of the agent means; 128 + n and -n are signals.

    A cell cannot kill the agent, so a SIGKILL that was neither ours nor the memory limit's came from outside.
    """
    number = -status if status < 0 else status - 128 if status > 128 else 0
    if killed:
        return Death("killed", "ended by the host")
    if number == signal.SIGKILL:
        if oom_kills:
            return Death("oom", "the sandbox exceeded its memory limit")
        return Death("lost", "the sandbox was killed from outside")
    if number:
        return Death("crash", f"the agent died of {_name(number)}")
    return Death("crash", f"the agent exited with status {status}")


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
