"""Every wall, seen from inside: what the code behind it is, can see and can use."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from rlm.protocols import Mount, SandboxSpec

SPEC = SandboxSpec(run_id="walls", memory=256 << 20, pids=64, tmp_bytes=16 << 20, cpus=1.5)

FACTS = r"""
import json, os, resource, socket, sys
status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
mounts = {}
for line in open("/proc/self/mountinfo"):
    left, _, right = line.partition(" - ")
    fields = left.split()
    mounts[fields[4]] = {"options": fields[5].split(","), "type": right.split()[0], "super": right.split()[2]}
def writable(path):
    try:
        with open(os.path.join(path, "probe"), "w"): return True
    except OSError as error:
        return False
def reads(path):
    try:
        return bool(os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(1))
    except OSError:
        return False
print(json.dumps({
    "status": status,
    "pid": os.getpid(),
    "ids": [os.getresuid(), os.getresgid(), os.getgroups()],
    "pids": [name for name in os.listdir("/proc") if name.isdigit()],
    "mounts": mounts,
    "environ": dict(os.environ),
    "hostname": socket.gethostname(),
    "interfaces": [name for _, name in socket.if_nameindex()],
    "cwd": os.getcwd(),
    "limits": {name: resource.getrlimit(getattr(resource, name)) for name in
               ("RLIMIT_NOFILE", "RLIMIT_CORE", "RLIMIT_FSIZE", "RLIMIT_AS")},
    "writable": [top for top in ["/", "/dev", "/etc", "/input", "/packages", "/proc", "/rlm", "/rlm/guest", "/run",
                                 "/sys", "/usr", "/tmp", "/dev/shm"] if writable(top)],
    "reads": [path for path in ["/root", "/home", "/etc/shadow", "/proc/kcore", "/proc/1/root/home",
                                "/var/run/docker.sock", "/dev/vda", "/dev/sda", "/dev/mem"] if reads(path)],
    "tmp": os.statvfs("/tmp").f_blocks * os.statvfs("/tmp").f_frsize,
    "shm": os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize,
    "tmp_mode": os.stat("/tmp").st_mode & 0o7777,
    "oom_counter": [path for path in ["/rlm/cgroup/memory.events", "/rlm/cgroup/memory.oom_control",
        "/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"] if reads(path)],
    "fds": len(os.listdir("/proc/self/fd")),
}))
"""


@pytest.fixture
async def facts(run_inside: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("A_SECRET_OF_THE_HOST", "1")
    result: dict[str, Any] = (await run_inside(FACTS)).json()
    return result


async def test_the_sandbox_as_the_code_in_it_sees_it(facts: dict[str, Any], wall: str) -> None:
    status = facts["status"]
    for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[capabilities], 16) == 0, capabilities
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"

    assert facts["pid"] == 1
    assert facts["pids"] == ["1"]
    uid = facts["ids"][0][0]
    assert uid >= 200_000 or (wall == "bwrap" and os.geteuid() != 0)
    assert facts["ids"] == [[uid] * 3, [uid] * 3, facts["ids"][2]]
    assert set(facts["ids"][2]) <= {uid}

    assert facts["interfaces"] == ["lo"]
    assert facts["hostname"] == "sandbox"
    assert facts["cwd"] == "/tmp"
    assert "A_SECRET_OF_THE_HOST" not in facts["environ"]
    assert set(facts["environ"]) <= {
        *("PATH", "HOME", "TMPDIR", "USER", "LOGNAME", "LANG", "PYTHONHASHSEED", "PYTHONDONTWRITEBYTECODE"),
        *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "HOSTNAME", "PWD", "PYTHONPATH", "RLM_SITE", "LC_CTYPE"),
    }
    assert facts["fds"] == 4  # the three streams, and the one that lists them

    assert facts["writable"] == ["/tmp", "/dev/shm"]
    assert facts["reads"] == []
    assert facts["tmp"] == SPEC.tmp_bytes
    assert facts["tmp_mode"] == 0o1777
    assert facts["shm"] == 64 << 20
    assert "ro" in facts["mounts"]["/"]["options"]
    for path in ("/tmp", "/dev/shm"):
        assert facts["mounts"][path]["type"] == "tmpfs"
        assert {"nosuid", "nodev"} <= set(facts["mounts"][path]["options"])
    if wall == "docker":
        assert (
            "nr_inodes=65536" in facts["mounts"]["/tmp"]["super"] or "nr_inodes=64k" in facts["mounts"]["/tmp"]["super"]
        )
        assert "noexec" not in facts["mounts"]["/tmp"]["options"]

    assert facts["limits"]["RLIMIT_NOFILE"] == [4096, 4096]
    assert facts["limits"]["RLIMIT_CORE"] == [0, 0]
    assert facts["limits"]["RLIMIT_FSIZE"] == [SPEC.tmp_bytes] * 2
    assert facts["limits"]["RLIMIT_AS"] == [-1, -1]
    if os.geteuid() == 0:
        assert facts["oom_counter"]


REFUSED = r"""
import ctypes, errno, fcntl, json, os, pty, socket
libc = ctypes.CDLL(None, use_errno=True)
long = ctypes.c_long
def call(number, *args):
    ctypes.set_errno(0)
    libc.syscall.restype = long
    result = libc.syscall(long(number), *[long(arg) for arg in args])
    return errno.errorcode.get(ctypes.get_errno(), "?") if result == -1 else "ok"
def sock(*args):
    try:
        socket.socket(*args).close()
        return "ok"
    except OSError as error:
        return errno.errorcode[error.errno]
primary, secondary = pty.openpty()
x86 = dict(ptrace=101, process_vm_readv=310, process_vm_writev=311, io_uring_setup=425, io_uring_enter=426,
           io_uring_register=427, bpf=321, userfaultfd=323, keyctl=250, add_key=248, request_key=249, mount=165,
           umount2=166, pivot_root=155, chroot=161, fsopen=430, fsmount=432, fsconfig=431, move_mount=429,
           open_tree=428, mount_setattr=442, unshare=272, setns=308, perf_event_open=298, kexec_load=246,
           kexec_file_load=320, init_module=175, finit_module=313, delete_module=176, reboot=169, swapon=167,
           open_by_handle_at=304, name_to_handle_at=303, pidfd_getfd=438, kcmp=312, syslog=103, settimeofday=164,
           vmsplice=278, quotactl=179,
           fanotify_init=300, acct=163, iopl=172, mq_open=240, io_setup=206, seccomp=317,
           shmget=29, semget=64, msgget=68)
arm = dict(ptrace=117, process_vm_readv=270, process_vm_writev=271, io_uring_setup=425, io_uring_enter=426,
           io_uring_register=427, bpf=280, userfaultfd=282, keyctl=219, add_key=217, request_key=218, mount=40,
           umount2=39, unshare=97, setns=268, perf_event_open=241, open_by_handle_at=265, name_to_handle_at=264,
           pidfd_getfd=438, kcmp=272, reboot=142, init_module=105, finit_module=273,
           shmget=194, semget=190, msgget=186)
machine = os.uname().machine
TIOCSTI = 0x5412
one = ctypes.c_char(b"x")
at = ctypes.addressof(one)
clone, clone3, ioctl, personality = (56, 435, 16, 135) if machine == "x86_64" else (220, 435, 29, 92)
print(json.dumps({
    "refused": {name: call(number, 0, 0, 0, 0, 0, 0) for name, number in (x86 if machine == "x86_64" else arm).items()},
    "clone_newuser": call(clone, 0x10000000 | 17, 0, 0, 0, 0),
    "clone_newns": call(clone, 0x20000 | 17, 0, 0, 0, 0),
    "clone3": call(clone3, 0, 0),
    "personality_randomize": call(personality, 0x0040000),
    "personality_query": call(personality, 0xffffffff),
    "tiocsti": call(ioctl, secondary, TIOCSTI, at),
    "tiocsti_high_bits": call(ioctl, secondary, TIOCSTI | 1 << 40, at),
    "winsize": call(ioctl, secondary, 0x5413, ctypes.addressof(ctypes.create_string_buffer(8))),
    "sockets": {
        "unix": sock(1, 1), "inet": sock(2, 1), "inet6": sock(10, 2), "udp": sock(2, 2, 17), "route": sock(16, 3, 0),
        "audit": sock(16, 3, 9), "packet": sock(17, 3), "alg": sock(38, 5), "vsock": sock(40, 1),
        "bluetooth": sock(31, 3), "raw": sock(2, 3, 1), "sctp": sock(2, 1, 132), "xdp": sock(44, 3),
        "tipc": sock(30, 1),
    },
}))
"""


async def test_system_calls_that_no_computation_needs_are_refused(run_inside: Any) -> None:
    seen = (await run_inside(REFUSED)).json()
    assert {name for name, result in seen["refused"].items() if result != "EPERM"} == set()
    assert seen["clone_newuser"] == seen["clone_newns"] == "EPERM"
    assert seen["clone3"] == "ENOSYS"
    assert seen["personality_randomize"] == "EPERM"
    assert seen["personality_query"] == "ok"
    assert seen["tiocsti"] == seen["tiocsti_high_bits"] == "EPERM"
    assert seen["winsize"] == "ok"
    allowed = {name for name, result in seen["sockets"].items() if result == "ok"}
    assert allowed == {"unix", "inet", "inet6", "udp", "route"}
    assert {result for name, result in seen["sockets"].items() if name not in allowed} == {"EPERM"}


OTHER_ABI = r"""
import ctypes, mmap, os
code = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"  # mov eax, 20 (getpid of the 32-bit ABI); int 0x80; ret
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(code)
call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
pid = os.fork()
if pid == 0:
    call()
    os._exit(0)
print(os.waitpid(pid, 0)[1])
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the other ABI of this test is i386")
async def test_the_32_bit_abi_is_no_way_around_the_filter(run_inside: Any) -> None:
    assert int((await run_inside(OTHER_ABI)).output) & 0x7F == 31  # SIGSYS


WORKS = r"""
import sys; sys.path.append("/usr/local/lib/python%d.%d/site-packages" % sys.version_info[:2])
import asyncio, multiprocessing, sqlite3, subprocess, threading
import numpy, zmq
context = zmq.Context()
a, b = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
a.bind("ipc://@test"); b.connect("ipc://@test"); b.send(b"hello")
numbers = numpy.random.default_rng(0).random((300, 300))
def double(x): return 2 * x
with multiprocessing.get_context("fork").Pool(2) as pool:
    doubled = pool.map(double, [1, 2, 3])
async def main():
    child = await asyncio.create_subprocess_shell("seq 1 1000 | wc -l", stdout=-1)
    return (await child.communicate())[0].strip().decode(), await asyncio.to_thread(lambda: 5)
print(a.recv().decode(), bool(numpy.linalg.norm(numbers @ numbers) > 0), doubled, asyncio.run(main()),
      sqlite3.connect("/tmp/x.db").execute("select 6").fetchone())
"""


async def test_what_cells_do_works_behind_the_wall(run_inside: Any) -> None:
    spec = SandboxSpec(run_id="walls")
    finished = await run_inside(WORKS, spec)
    assert finished.output.decode().strip() == "hello True [2, 4, 6] ('1000', 5) (6,)", finished.stderr


async def test_inputs_are_read_only_and_readable_wherever_they_lie(run_inside: Any, tmp_path: Path) -> None:
    """Also below a folder that the sandbox's uid could not enter on the host."""
    private = tmp_path / "private"
    (private / "folder").mkdir(parents=True)
    (private / "one.txt").write_text("one", encoding="utf-8")
    (private / "folder" / "two.txt").write_text("two", encoding="utf-8")
    packages = tmp_path / "packages"
    packages.mkdir()
    private.chmod(0o700)
    mounts = (
        Mount(str(private / "one.txt"), "/input/0/one.txt"),
        Mount(str(private / "folder"), "/input/1"),
        Mount(str(packages), "/packages"),
    )
    code = r"""
import json, os, sys
result = [open("/input/0/one.txt").read(), open("/input/1/two.txt").read()]
attempts = (
    lambda: open("/input/0/one.txt", "w"), lambda: open("/input/1/new", "w"), lambda: os.mkdir("/input/2"),
    lambda: os.unlink("/input/1/two.txt"), lambda: os.chmod("/input/1", 0o777), lambda: open("/packages/x", "w"),
)
for attempt in attempts:
    try:
        attempt()
        result.append("done")
    except OSError as error:
        result.append(error.errno)
print(json.dumps(result), flush=True)
sys.stdin.read(1)
print(os.listdir("/packages"))
"""
    spec = SandboxSpec(run_id="walls", mounts=mounts)
    finished = await run_inside(code, spec, stdin=b"x")
    first = json.loads(finished.output.splitlines()[0])
    assert first[:2] == ["one", "two"]
    assert all(error in (1, 13, 30) for error in first[2:]), first


async def test_two_sandboxes_have_different_uids(launcher: Any) -> None:
    make = launcher("import os, sys; print(os.getuid(), flush=True); sys.stdin.read()")
    processes = await asyncio.gather(*(make.launch(SPEC) for _ in range(2)))
    try:
        uids = [await process.read() for process in processes]
        assert uids[0] != uids[1]
    finally:
        await asyncio.gather(*(process.aclose() for process in processes))
