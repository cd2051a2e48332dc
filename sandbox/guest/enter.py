"""The first step inside a sandbox that no engine set up: resource limits, then another uid, then the agent.

    python3 -I -S enter.py '{"uid": int | null, "limits": {"RLIMIT_CORE": 0, …}, "bind_to_parent": bool}' COMMAND…

With a uid it starts as root with CAP_SETUID, CAP_SETGID and CAP_SETPCAP only, and keeps none of them.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24


def main(settings: dict[str, object], command: list[str]) -> None:
    limits = settings["limits"]
    assert isinstance(limits, dict)
    for name, value in limits.items():
        _lower(getattr(resource, name), value)
    uid = settings["uid"]
    if isinstance(uid, int):
        _give_up_root(uid)
    if settings["bind_to_parent"]:
        # A change of credentials clears what the launcher had asked for.
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.execv(command[0], command)


def _lower(which: int, value: int) -> None:
    """Set a soft and hard limit, but never above what is already there."""
    _, hard = resource.getrlimit(which)
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (bound, bound))


def _give_up_root(uid: int) -> None:
    capability = 0
    while ctypes.CDLL(None).prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) >= 0:
        _prctl(_PR_CAPBSET_DROP, capability)
        capability += 1
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}, {value})")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2:])
