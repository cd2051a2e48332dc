"""bubblewrap for a user who is not root: a suite that runs as root becomes one, with mounts of its own."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlm.kernels import guestcode
from rlm.kernels.environment import SandboxEnv

pytestmark = [
    pytest.mark.bwrap,
    pytest.mark.skipif(os.geteuid() != 0, reason="then the other tests of the walls are these"),
]

NOBODY = 65534

HOST = r"""
import asyncio, json, os, sys
from pathlib import Path
from rlm.kernels.bwrap import BwrapLauncher
from rlm.protocols import SandboxSpec

INSIDE = '''
import json, os, resource
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
def fails(attempt):
    try: attempt()
    except OSError: return True
    return False
limits = {name: resource.getrlimit(getattr(resource, name))[1] for name in ("RLIMIT_DATA", "RLIMIT_NPROC", "RLIMIT_AS")}
children = []
try:
    while len(children) < 500:
        pid = os.fork()
        if pid == 0:
            import time; time.sleep(60)
        children.append(pid)
except OSError: pass
for pid in children: os.kill(pid, 9), os.waitpid(pid, 0)
try: memory = bool(bytearray(400 << 20))
except MemoryError: memory = "refused"
print(json.dumps({"pid": os.getpid(), "seccomp": status["Seccomp"].strip(), "nnp": status["NoNewPrivs"].strip(),
    "caps": [int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")], "limits": limits,
    "children": len(children),
    "memory": memory, "top": os.listdir("/"), "root_is_read_only": fails(lambda: open("/x", "w")),
    "dev_is_read_only": fails(lambda: open("/dev/x", "w"))}))
'''

async def main():
    root, guest, leases = map(Path, sys.argv[1:4])
    launcher = BwrapLauncher(root=root, guest=guest, lease_root=leases,
                             command=["/usr/local/bin/python3", "-I", "-S", "-c", INSIDE])
    await launcher.check()
    process = await launcher.launch(SandboxSpec(run_id="user", memory=256 << 20, pids=64))
    output = b""
    while data := await process.read(): output += data
    death = await process.wait()
    await process.aclose()
    print(json.dumps({"inside": json.loads(output or "null"), "stderr": process.stderr_tail(), "death": death.detail,
                      "uid": os.getuid(), "level": launcher.strength().level, "leases": os.listdir(leases)}))
asyncio.run(main())
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user can enter: pytest's own are private."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def as_nobody(command: list[str], needed: list[Path], folder: Path) -> list[str]:
    """The command as another user, for whom `needed` are laid open where a private folder is above them."""
    script = ["set -e"]
    for number, private in enumerate(sorted({top for path in needed if (top := _private_top(path))})):
        aside = folder / f"aside{number}"
        aside.mkdir()
        script += [f"mount --rbind {private} {aside}", f"mount -t tmpfs -o mode=755 tmpfs {private}"]
        for path in needed:
            if path.is_relative_to(private):
                script += [f"mkdir -p {path}", f"mount --rbind {aside / path.relative_to(private)} {path}"]
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--", *command]
    script.append("exec " + shlex.join(become))
    return ["unshare", "--mount", "/bin/sh", "-c", "\n".join(script)]


def _private_top(path: Path) -> Path | None:
    """The topmost folder on the way to `path` that others may not enter."""
    for parent in reversed(path.parents):
        if not parent.stat().st_mode & 0o001:
            return parent
    return None


def test_a_user_gets_the_same_wall_with_weaker_limits(sandbox_env: SandboxEnv, open_folder: Path) -> None:
    guest = guestcode.prepare()
    leases = open_folder / "leases"
    leases.mkdir()
    os.chown(leases, NOBODY, NOBODY)
    project = Path(__file__).resolve().parents[2]
    needed = [project, Path(sys.prefix), Path(sys.base_prefix), sandbox_env.root, guest]
    command = [sys.executable, "-c", HOST, str(sandbox_env.root), str(guest), str(leases)]
    ran = subprocess.run(
        as_nobody(command, list(dict.fromkeys(path.resolve() for path in needed)), open_folder),
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(project), "HOME": "/nonexistent"},
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    seen = json.loads(ran.stdout)
    assert seen["uid"] == NOBODY
    assert seen["level"] in ("weaker", "strong")
    assert seen["leases"] == []
    inside = seen["inside"]
    assert inside is not None, seen
    assert (inside["pid"], inside["seccomp"], inside["nnp"], inside["caps"]) == (1, "2", "1", [0, 0, 0])
    assert inside["memory"] == "refused"
    assert 40 < inside["children"] <= 65
    assert inside["root_is_read_only"]
    assert inside["dev_is_read_only"]
    assert not {"root", "home", "var"} & set(inside["top"])
    if seen["level"] == "weaker":
        assert inside["limits"] == {"RLIMIT_DATA": 256 << 20, "RLIMIT_NPROC": 65, "RLIMIT_AS": -1}
