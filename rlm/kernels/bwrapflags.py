"""The command line of bubblewrap, in one place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from rlm.kernels.limits import MOUNT_ROOTS, SHM_BYTES
from rlm.protocols import Mount

_WALLS_AS_ROOT = (
    # Without a user namespace: the uid inside is a real one of the host, which holds nothing there.
    *("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"),
    # For the first step inside, which keeps none of them.
    *("--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP"),
)
_WALLS_AS_USER = ("--unshare-all", "--unshare-user", "--cap-drop", "ALL")
_WALLS = ("--die-with-parent", "--new-session", "--as-pid-1", "--hostname", "sandbox", "--clearenv")
_HIDDEN = ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/proc/latency_stats")
"""What container engines mask too: facts about the whole machine."""
_DEVICES = ("--dev", "/dev", "--perms", "1777", "--size", str(SHM_BYTES), "--tmpfs", "/dev/shm", "--remount-ro", "/dev")
_MOUNT_AREA_BYTES = 1 << 20


def arguments(
    *,
    root: Path,
    guest: Path,
    mounts: Sequence[Mount],
    tmp_bytes: int,
    environment: Mapping[str, str],
    uid: int,
    as_root: bool,
    seccomp_fd: int,
    status_fd: int,
) -> list[str]:
    """Everything between `bwrap` and the command. `mounts` are checked ones, parents first."""
    args = [*(_WALLS_AS_ROOT if as_root else (*_WALLS_AS_USER, "--uid", str(uid), "--gid", str(uid))), *_WALLS]
    for name, value in environment.items():
        args += ["--setenv", name, value]
    args += ["--ro-bind", str(root), "/", "--proc", "/proc"]
    for path in _HIDDEN:
        if Path(path).exists():
            args += ["--ro-bind", "/dev/null", path]
    args += [*_DEVICES, "--perms", "1777", "--size", str(tmp_bytes), "--tmpfs", "/tmp"]
    args += ["--ro-bind", str(guest), "/rlm/guest"]
    args += _mounts(mounts)
    return [*args, "--chdir", "/tmp", "--seccomp", str(seccomp_fd), "--json-status-fd", str(status_fd)]


def probe_arguments(*, as_root: bool, seccomp_fd: int) -> list[str]:
    """The same walls around the host's own root, to see whether bubblewrap works here at all."""
    walls = _WALLS_AS_ROOT if as_root else _WALLS_AS_USER
    args = [*walls, *_WALLS, "--ro-bind", "/", "/", "--proc", "/proc", *_DEVICES, "--size", "65536", "--tmpfs", "/tmp"]
    return [*args, "--seccomp", str(seccomp_fd)]


def _mounts(mounts: Sequence[Mount]) -> list[str]:
    """Binds, below a small read-only tmpfs for the mount points where the root has only their parent."""
    args: list[str] = []
    for area in MOUNT_ROOTS:
        inside = [mount for mount in mounts if mount.target.startswith(area + "/")]
        whole = any(mount.target == area for mount in mounts)
        if inside and not whole:
            args += ["--perms", "0755", "--size", str(_MOUNT_AREA_BYTES), "--tmpfs", area]
            for folder in _folders_between(area, inside):
                # bubblewrap itself would make them for root only.
                args += ["--perms", "0755", "--dir", folder]
        for mount in mounts:
            if mount in inside or mount.target == area:
                args += ["--ro-bind", mount.source, mount.target]
        if inside and not whole:
            args += ["--remount-ro", area]
    return args


def _folders_between(area: str, mounts: Iterable[Mount]) -> list[str]:
    """The folders from `area` down to the mounts, without either, parents first."""
    targets = {mount.target for mount in mounts}
    folders = {str(parent) for target in targets for parent in PurePosixPath(target).parents}
    return sorted(folder for folder in folders - targets if folder.startswith(area + "/"))
