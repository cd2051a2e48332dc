"""Every flag that walls in a container, in one place, and the check that the engine took them all."""

from __future__ import annotations

from typing import Any

from docker.types import LogConfig, Mount, Ulimit

from rlm.errors import SandboxError
from rlm.kernels import seccomp
from rlm.kernels.limits import NOFILE, SHM_BYTES, TMP_INODES, checked_mounts
from rlm.protocols import SandboxSpec

RECURSIVE_READ_ONLY_API = (1, 44)
"""From this version of its API on, an engine makes what is mounted below a read-only mount read-only too."""


def host_config(spec: SandboxSpec, *, api: tuple[int, int]) -> dict[str, Any]:
    """Arguments of `APIClient.create_host_config`."""
    tmp = f"rw,exec,nosuid,nodev,size={spec.tmp_bytes},nr_inodes={TMP_INODES},mode=1777"
    return {
        "network_mode": "none",
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges", f"seccomp={seccomp.profile_json()}"],
        "read_only": True,
        "tmpfs": {"/tmp": tmp},
        "shm_size": SHM_BYTES,
        "pids_limit": spec.pids,
        "mem_limit": spec.memory,
        "memswap_limit": spec.memory,
        "nano_cpus": int(spec.cpus * 1e9),
        "ulimits": [
            Ulimit(name="nofile", soft=NOFILE, hard=NOFILE),
            Ulimit(name="core", soft=0, hard=0),
            Ulimit(name="fsize", soft=spec.tmp_bytes, hard=spec.tmp_bytes),
        ],
        "ipc_mode": "private",
        "init": False,
        "privileged": False,
        "auto_remove": True,
        # The agent's frames pass through the engine, which would otherwise keep them all on the host's disk.
        "log_config": LogConfig(type="none"),
        "mounts": [_bind(mount.source, mount.target, api) for mount in checked_mounts(spec.mounts)],
    }


def _bind(source: str, target: str, api: tuple[int, int]) -> Mount:
    mount = Mount(target=target, source=source, type="bind", read_only=True, propagation="rprivate")
    if api < RECURSIVE_READ_ONLY_API:
        # Else a file system that is mounted below an input would be writable.
        mount["BindOptions"]["NonRecursive"] = True
    return mount


def verify(
    spec: SandboxSpec, inspected: dict[str, Any], *, uid: int, swap_limit: bool, runtime: str | None = None
) -> None:
    """Raise `SandboxError` unless the container is what was asked for: an engine may drop what it does not know.

    `runtime`: the one that was asked for, if any; `swap_limit`: whether the engine says that it can limit swap at all.
    """
    config, host = inspected["Config"], inspected["HostConfig"]
    security = host["SecurityOpt"] or []
    ulimits = {entry["Name"]: (entry["Soft"], entry["Hard"]) for entry in host["Ulimits"] or []}
    facts = {
        "user": config["User"] == f"{uid}:{uid}",
        "network none": host["NetworkMode"] == "none",
        "capabilities dropped": host["CapDrop"] == ["ALL"] and not host["CapAdd"],
        "no-new-privileges": any(option.startswith("no-new-privileges") for option in security),
        "seccomp": any(option.startswith("seccomp=") and "unconfined" not in option for option in security),
        "read-only root": host["ReadonlyRootfs"] is True,
        "tmpfs": set(host["Tmpfs"] or {}) == {"/tmp"} and f"size={spec.tmp_bytes}" in host["Tmpfs"]["/tmp"],
        "shm size": host["ShmSize"] == SHM_BYTES,
        "pids": host["PidsLimit"] == spec.pids,
        "memory": host["Memory"] == spec.memory,
        "swap": not swap_limit or host["MemorySwap"] == spec.memory,
        "cpus": host["NanoCpus"] == int(spec.cpus * 1e9),
        "ulimits": ulimits.get("core") == (0, 0) and ulimits.get("nofile") == (NOFILE, NOFILE),
        "private ipc": host["IpcMode"] == "private",
        "not privileged": not host["Privileged"] and not host["Devices"] and not host["Binds"],
        "read-only mounts": all(mount.get("ReadOnly") for mount in host.get("Mounts") or []),
        "log none": host["LogConfig"]["Type"] == "none",
        "runtime": runtime is None or host["Runtime"] == runtime,
        "auto-remove": host["AutoRemove"] is True,
    }
    missing = [name for name, holds in facts.items() if not holds]
    if missing:
        raise SandboxError(f"the Docker engine did not take these limits of the sandbox: {', '.join(missing)}")
