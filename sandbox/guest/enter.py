"""The first step inside a sandbox that no engine set up: resource limits, then another uid, then the agent.

    python3 -I -S enter.py UID NAME=VALUE… -- COMMAND…

UID is a number, or `-` to stay; it starts as root then, with CAP_SETUID, CAP_SETGID and CAP_SETPCAP only,
and keeps none of them. NAME is a limit, such as RLIMIT_CORE. It imports as little as it can: every
sandbox waits for it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys

_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_CAPABILITY_VERSION_3 = 0x20080522
_LIBC = ctypes.CDLL(None, use_errno=True)


def main(uid: str, limits: list[str], command: list[str]) -> None:
    for limit in limits:
        name, _, value = limit.partition("=")
        _lower(getattr(resource, name), int(value))
    if uid != "-":
        _give_up_root(int(uid))
    os.execv(command[0], command)


def _lower(which: int, value: int) -> None:
    """Set a soft and hard limit, but never above what is already there."""
    _, hard = resource.getrlimit(which)
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (bound, bound))


def _give_up_root(uid: int) -> None:
    capability = 0
    while _LIBC.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) >= 0:
        _call("prctl", _PR_CAPBSET_DROP, capability, 0, 0, 0)
        capability += 1
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    # That emptied the permitted and effective sets, but not the inheritable one.
    _call("capset", (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)())


def _call(name: str, *arguments: object) -> None:
    if getattr(_LIBC, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), name)


if __name__ == "__main__":
    split = sys.argv.index("--")
    main(sys.argv[1], sys.argv[2:split], sys.argv[split + 1 :])
