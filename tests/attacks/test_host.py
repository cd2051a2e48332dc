"""Cells that reach for the host: its files, processes, devices, kernel, sockets and network."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.attacks.attack import Attack, arm, case, cases, recovered, strike
from tests.attacks.conftest import SECRET

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(110)]

TRY = r"""
import ctypes, errno, os, socket
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def attempt(what, *args):
    try:
        return what(*args)
    except OSError as error:
        return errno.errorcode.get(error.errno, type(error).__name__)
def call(number, *args):
    ctypes.set_errno(0)
    done = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(arg) for arg in args])
    return errno.errorcode[ctypes.get_errno()] if done == -1 else "ok"
def sock(*args):
    socket.socket(*args).close()
    return "ok"
def read(path):
    with open(path, "rb") as file: return file.read(1 << 16)
def opens(path, flags=os.O_RDONLY):
    os.close(os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY))
    return "ok"
"""

X86 = {
    "ptrace": [101],
    "read or write the memory of another process": [310, 311],
    "mount, by the old calls and the new": [165, 166, 155, 428, 429, 430, 431, 432, 442],
    "unshare": [272],
    "setns": [308],
    "chroot": [161],
    "keyctl, add_key and request_key": [250, 248, 249],
    "bpf": [321],
    "userfaultfd": [323],
    "io_uring": [425, 426, 427],
    "perf_event_open": [298],
    "file handles that bypass paths": [303, 304],
    "descriptors of another process": [438, 312],
    "kernel modules, kexec, reboot": [175, 313, 176, 246, 320, 169],
    "the clock, swap and accounting": [164, 167, 163],
}
ARM = {
    "ptrace": [117],
    "read or write the memory of another process": [270, 271],
    "mount, by the old calls and the new": [40, 39, 41, 428, 429, 430, 431, 432, 442],
    "unshare": [97],
    "setns": [268],
    "chroot": [51],
    "keyctl, add_key and request_key": [219, 217, 218],
    "bpf": [280],
    "userfaultfd": [282],
    "io_uring": [425, 426, 427],
    "perf_event_open": [241],
    "file handles that bypass paths": [264, 265],
    "descriptors of another process": [438, 272],
    "kernel modules, kexec, reboot": [105, 273, 106, 104, 294, 142],
    "the clock, swap and accounting": [170, 224, 89],
}
MACHINE = os.uname().machine
CALLS = X86 if MACHINE == "x86_64" else ARM
CLONE = 56 if MACHINE == "x86_64" else 220

SYSTEM_CALLS = [
    Attack(
        name=name,
        outcome="refused",
        code=f"{TRY}print(*(call(n, 0, 0, 0, 0, 0) for n in {numbers}))",
        says="(EPERM ?)+",
    )
    for name, numbers in CALLS.items()
]

SOCKETS = [
    Attack(name=f"socket of {name}", outcome="refused", code=f"{TRY}print(attempt(sock, {args}))", says="EPERM")
    for name, args in {
        "AF_ALG": "38, 5",
        "AF_VSOCK": "40, 1",
        "AF_PACKET": "17, 3",
        "AF_NETLINK but for routes": "16, 3, 9",
        "AF_BLUETOOTH": "31, 3",
        "AF_XDP": "44, 3",
        "AF_TIPC": "30, 1",
        "AF_INET, raw": "2, 3, 1",
    }.items()
]

PROCESSES = (
    TRY
    + r"""
for pid in sorted(filter(str.isdigit, os.listdir("/proc")), key=int):
    if int(pid) == os.getpid(): continue
    for name in ("environ", "mem", "maps", "fd/0", "fd/1", "root", "cwd", "exe"):
        print(attempt(opens, f"/proc/{pid}/{name}"))
"""
)

OTHER_ABI = r"""
import ctypes, mmap, os
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, 20 (getpid); int 0x80; ret
run = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
if (pid := os.fork()) == 0:
    run()
    os._exit(0)
print(os.WTERMSIG(os.waitpid(pid, 0)[1]))
"""

OPENED_FOR_WRITING = (
    TRY
    + r"""
import stat
REFUSED = ("EPERM", "EACCES", "EINVAL")
opened, tried = [], 0
for top in TOPS:
    for folder, folders, files in os.walk(top):
        if folder == "/proc": folders[:] = [each for each in folders if not each.isdigit() and each not in OWN]
        for name in files:
            tried += 1
            path = f"{folder}/{name}"
            # What is masked is /dev/null. Some can be opened by all, and refuse to be written.
            if stat.S_ISCHR(os.lstat(path).st_mode) or attempt(opens, path, os.O_WRONLY) != "ok": continue
            said = attempt(lambda: open(path, "wb", buffering=0).write(read(path) or b"1"))
            if said not in REFUSED: opened.append(path)
print(tried > 10, opened)
"""
)

ATTACKS = (
    *SYSTEM_CALLS,
    *SOCKETS,
    Attack(
        name="new namespaces by clone",
        outcome="refused",
        code=TRY + f"print(*(call({CLONE}, flag | 17, 0, 0, 0, 0) for flag in (1 << 28, 1 << 17, 1 << 30, 1 << 29)), "
        f"call(435, 0, 0))",
        says="EPERM EPERM EPERM EPERM ENOSYS",
    ),
    Attack(
        name="typing into a terminal (TIOCSTI)",
        outcome="refused",
        code=TRY
        + "import fcntl, pty\n_, end = pty.openpty()\nfor bits in (0x5412, 0x5412 | 1 << 40):\n"
        + f"    print(call({16 if MACHINE == 'x86_64' else 29}, end, bits, ctypes.addressof(ctypes.c_char(b'x'))))",
        says="EPERM\nEPERM",
    ),
    *(
        [Attack(name="the 32-bit ABI", outcome="refused", code=OTHER_ABI, says="31")]  # SIGSYS
        if MACHINE == "x86_64"
        else []
    ),
    Attack(
        name="/proc/*/environ, mem, fd of the init and the zygote",
        outcome="refused",
        code=PROCESSES,
        says="(EACCES\n?){16}",
    ),
    Attack(
        name="writing to /proc and /proc/sys",
        outcome="refused",
        # What a process may say of itself alone.
        code="TOPS = ['/proc']\nOWN = {'self', 'thread-self'}\n" + OPENED_FOR_WRITING,
        says=r"True \[\]",
    ),
    Attack(
        name="writing to /sys, control groups, /etc, /usr and the agent's code",
        outcome="refused",
        code="TOPS = ['/sys', '/rlm', '/etc', '/usr']\nOWN = set()\n" + OPENED_FOR_WRITING,
        says=r"True \[\]",
    ),
    Attack(
        name="devices",
        outcome="not there",
        code=TRY
        + "import stat\n"
        + "print(sorted(n for n in os.listdir('/dev') if not os.path.isdir('/dev/' + n)\n"
        + "    and not os.path.islink('/dev/' + n) and n != 'console'))\n"
        + "print(attempt(os.mknod, '/tmp/disk', stat.S_IFBLK | 0o600, os.makedev(254, 0)))\n"
        + "print(*(attempt(opens, '/dev/' + n) for n in ('mem', 'kmsg', 'vda', 'sda', 'kvm', 'net/tun', "
        "'fuse', 'loop0')))",
        says=r"\['full', 'null', 'ptmx', 'random', 'tty', 'urandom', 'zero'\]\nEPERM\n(ENOENT ?)+"
        r"|\['full', 'null', 'random', 'tty', 'urandom', 'zero'\]\nEPERM\n(ENOENT ?)+",
    ),
    Attack(
        name="programs that run as somebody else",
        outcome="not there",
        code="import os, stat\nfound = []\n"
        "for folder, folders, files in os.walk('/'):\n"
        "    if folder == '/': folders.remove('proc')\n"
        "    for name in files:\n"
        "        mode = os.lstat(f'{folder}/{name}').st_mode\n"
        "        if mode & (stat.S_ISUID | stat.S_ISGID): found.append(name)\n"
        "print(found, os.getuid() != 0, os.getresuid()[0] == os.getresuid()[2])",
        says=r"\[.*\] True True",
    ),
    Attack(
        name="becoming somebody else",
        outcome="refused",
        code=TRY + "print(*(attempt(f, 0) for f in (os.setuid, os.setgid)), attempt(os.setgroups, [0]), "
        "attempt(os.chown, '/tmp', 0, 0))\n"
        + "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        + "print({status[n].strip() for n in ('CapEff', 'CapPrm', 'CapBnd', 'CapInh', 'CapAmb')}, "
        "status['NoNewPrivs'].strip(), status['Seccomp'].strip())",
        says=r"EPERM EPERM EPERM EPERM\n\{'0000000000000000'\} 1 2",
    ),
    Attack(
        name="name resolution",
        outcome="not there",
        code="import socket\ntry: socket.getaddrinfo('secret.example', 80)\n"
        "except socket.gaierror as e: print(type(e).__name__)",
        says="gaierror",
    ),
    Attack(
        name="an interface beside the loopback of its own",
        outcome="not there",
        code="import socket\nprint(socket.if_nameindex(), open('/proc/net/route').read().count('\\n'))",
        says=r"\[\(1, 'lo'\)\] 1",
    ),
)


@cases(*ATTACKS)
async def test_cell(shared, sandbox: str, attack: Attack) -> None:
    assert SECRET not in await strike(await shared(sandbox), attack)


@case("the host's files by path, environment and links", "not there")
async def test_files(shared, sandbox: str, host: Path) -> None:
    code = TRY + (
        f"place = {str(host)!r}\n"
        "os.symlink(place + '/secret.txt', '/tmp/link')\n"
        "paths = [place + '/secret.txt', '/tmp/link', '/proc/1/root' + place + '/secret.txt', "
        "'/proc/self/root' + place,\n"
        "         '/input/../..' + place, '/etc/shadow', '/root', '/home', '/var/run/docker.sock', '/proc/kcore']\n"
        "print({str(attempt(read, path)) for path in paths} <= {'ENOENT', 'EACCES', 'EISDIR', 'EPERM', \"b''\"})\n"
        "print([os.listdir(p) for p in ('/root', '/home') if os.path.isdir(p) and os.access(p, os.R_OK)])\n"
        "print(dict(os.environ))"
    )
    output = await strike(
        await shared(sandbox), Attack(name="", outcome="not there", code=code, says=r"True\n\[(\[\])*(, \[\])*\]\n\{.*")
    )
    assert SECRET not in output


@case("links in the input that lead out of it", "not there")
async def test_links(shared, sandbox: str, host: Path) -> None:
    code = TRY + (
        "found = {n: os.path.join(f, n) for f, folders, names in os.walk('/input') for n in folders + names}\n"
        "print(sorted(context), attempt(read, found['link.txt']), attempt(read, found['up'] + '/secret.txt'))\n"
        "print(os.path.samefile(found['up'], '/'), attempt(read, found['up'] + PLACE + '/secret.txt'))\n"
        "for name in ('link.txt', 'up/secret.txt', 'up'):\n"
        "    try: print(context[name])\n"
        "    except KeyError: print('not in context')"
    ).replace("PLACE", repr(str(host)))
    says = r"\['input.txt'\] ENOENT ENOENT\nTrue ENOENT" + r"\nnot in context" * 3
    await strike(await shared(sandbox), Attack(name="", outcome="not there", code=code, says=says))


@pytest.fixture
def listeners(host: Path) -> Iterator[dict[str, socket.socket]]:
    """Sockets of the host that wait for somebody."""
    with ExitStack() as stack:
        found: dict[str, socket.socket] = {}
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            try:
                found[address] = stack.enter_context(socket.create_server((address, 0), family=family))
            except OSError:
                assert family == socket.AF_INET6  # a host without it
        for name, address in (("abstract", f"\0rlm-attack-{os.getpid()}"), ("path", str(host / "host.sock"))):
            found[name] = stack.enter_context(socket.socket(socket.AF_UNIX))
            found[name].bind(address)
            found[name].listen()
        stack.callback((host / "host.sock").unlink)
        for each in found.values():
            each.setblocking(False)
        yield found


@case("connecting to a server on the host's loopback", "not there")
async def test_network(shared, sandbox: str, listeners: dict[str, socket.socket]) -> None:
    targets = [(name, each.getsockname()[1]) for name, each in listeners.items() if name in ("127.0.0.1", "::1")]
    code = TRY + (
        f"for address, port in {targets}:\n"
        "    print(attempt(lambda: socket.create_connection((address, port), timeout=3)))\n"
        "    with socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_DGRAM) as udp:\n"
        "        attempt(udp.sendto, b'secret', (address, port))"
    )
    await strike(
        await shared(sandbox),
        Attack(name="", outcome="not there", code=code, says="((ECONNREFUSED|EADDRNOTAVAIL)\n?)+"),
    )
    assert_nobody_came(listeners)


@case("the host's abstract and named Unix sockets", "not there")
async def test_unix_sockets(shared, sandbox: str, listeners: dict[str, socket.socket]) -> None:
    addresses = [listeners["abstract"].getsockname(), listeners["path"].getsockname()]
    code = TRY + (
        f"for address in {addresses}:\n"
        f"    with socket.socket(socket.AF_UNIX) as s: print(attempt(s.connect, address))\n"
        "print('rlm-attack' in open('/proc/net/unix').read())"
    )
    await strike(
        await shared(sandbox), Attack(name="", outcome="not there", code=code, says="ECONNREFUSED\nENOENT\nFalse")
    )
    assert_nobody_came(listeners)


def assert_nobody_came(listeners: dict[str, socket.socket]) -> None:
    for each in listeners.values():
        with pytest.raises(BlockingIOError):
            each.accept()


@case("changing the input", "refused")
async def test_the_input_is_read_only(shared, sandbox: str, host: Path) -> None:
    rig = await shared(sandbox)
    await arm(rig)
    code = TRY + (
        "path, = (f + '/input.txt' for f, _, names in os.walk('/input') if 'input.txt' in names)\n"
        "there = os.path.dirname(path)\n"
        "print(*(attempt(f, *a) for f, *a in ((opens, path, os.O_WRONLY), (os.remove, path), (os.chmod, path, 0o777),\n"
        "    (os.rename, path, path + 'x'), (os.mkdir, there + '/new'), (os.link, path, '/tmp/linked'))))"
    )
    output = await rig.text(code)
    assert set(output.split()) <= {"EROFS", "EACCES", "EPERM", "EXDEV"}
    assert (host / "input/input.txt").read_text(encoding="utf-8").startswith("héllo")
    await recovered(rig)
