"""The command line of the process that parses: behind bubblewrap where that works, else limited by itself alone."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

WORKER = Path(__file__).with_name("worker.py")
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    # Threads in a process that forks are none in its children.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
"""All that it gets: no key of the user's."""

_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/etc/ld.so.cache")
_AS_ROOT = (
    *("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"),
    # For the step to nobody's uid, after which there are none, and to end what has taken it.
    *("--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_KILL"),
)
_AS_USER = ("--unshare-all", "--cap-drop", "ALL")


def commands(worker: Path = WORKER, *, preload: bool = True) -> Iterator[tuple[bool, list[str]]]:
    """The ways to start it, the best first, and whether it is walled in then: no network, no files, own processes."""
    if bwrap := shutil.which("bwrap"):
        walls = _AS_ROOT if os.geteuid() == 0 else _AS_USER
        yield True, [bwrap, *walls, *_view(worker), "--", *_python(worker, walled=True, preload=preload)]
    yield False, _python(worker, walled=False, preload=preload)


def _python(worker: Path, *, walled: bool, preload: bool) -> list[str]:
    options = {"path": _module_path(), "walled": walled, "preload": preload}
    return [sys.executable, "-I", str(worker), json.dumps(options)]


def _module_path() -> list[str]:
    """Where this interpreter's own modules lie: never the working directory, which may be a stranger's."""
    installed = (sys.prefix, sys.base_prefix)
    return [
        path
        for path in sys.path
        if os.path.isabs(path)
        and (path.startswith(installed) or os.path.basename(path) in ("site-packages", "dist-packages"))
    ]


def _view(worker: Path) -> list[str]:
    """Read-only, what Python needs; nothing else of the host's files is there."""
    args = ["--die-with-parent", "--new-session", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
    for name in _SYSTEM:
        args += ["--ro-bind-try", name, name]
    places = [sys.prefix, sys.base_prefix, os.path.dirname(os.path.realpath(sys.executable)), *_module_path()]
    for place in dict.fromkeys([*places, os.fspath(worker.parent)]):
        if not place.startswith("/usr/"):
            for parent in reversed(Path(place).parents[:-1]):
                # bubblewrap itself would make them for root only.
                args += ["--perms", "0755", "--dir", str(parent)]
            args += ["--ro-bind-try", place, place]
    return [*args, "--chdir", "/tmp"]
