"""Cells that take all they can get: processes, threads, memory, files, output, time; and that kill what they can."""

from __future__ import annotations

import asyncio
import os
import resource
import time

import pytest

from tests.attacks.attack import SIZE, Attack, arm, case, cases, recovered, strike
from tests.attacks.conftest import MEMORY
from tests.tree.conftest import FINISH, Stage, cell

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(110)]

AGAIN = r"""
import errno, os, time
def until_refused(step):
    count = 0
    try:
        while True:
            step()
            count += 1
    except (OSError, RuntimeError, MemoryError) as error:
        print(errno.errorcode.get(getattr(error, "errno", None), error))
    return count
"""

FILL = (
    AGAIN
    + r"""
def fill(folder):
    path = folder + "/fill"
    with open(path, "wb", buffering=0) as file:
        return until_refused(lambda: file.write(bytes(1 << 20)))
"""
)

WRITABLE = (
    FILL
    + r"""
found = []
for folder, _, _ in os.walk("/"):
    try:
        fd = os.open(folder + "/probe", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError:
        continue
    os.close(fd)
    os.remove(folder + "/probe")
    found.append(folder)
def top(path): return "/".join(path.split("/")[: 3 if path.startswith("/dev") else 2])
tops = sorted(set(map(top, found)))
print(tops)
sizes = [fill(top) for top in tops]
print(all(size <= 64 for size in sizes))
for top in tops: os.remove(top + "/fill")
"""
)

ATTACKS = (
    Attack(
        name="fork bomb",
        outcome="limited",
        code=AGAIN
        + "def bomb():\n"
        + "    if os.fork() == 0:\n"
        + "        while True:\n"
        + "            try: os.fork()\n"
        + "            except OSError: time.sleep(0.05)\n"
        + "until_refused(bomb)",
        says=r"EAGAIN\n\d+",
        sweep=True,
    ),
    Attack(
        name="thread bomb",
        outcome="limited",
        code=AGAIN
        + "import threading\n"
        + "wait = threading.Event().wait\n"
        + "40 < until_refused(lambda: threading.Thread(target=wait, daemon=True).start()) < 128",
        says="can't start new thread\nTrue",
        sweep=True,
    ),
    Attack(
        name="memory bomb in the kernel",
        outcome="kernel replaced",
        death="oom",
        code="blocks = []\nwhile True: blocks.append(bytearray(10_000_000))",
    ),
    Attack(
        name="memory bomb in a process that it starts",
        outcome="limited",
        code="import subprocess, sys\n"
        'bomb = \'open("/proc/self/oom_score_adj", "w").write("1000")\\nb = []\\n\'\n'
        "bomb += 'while True: b.append(bytearray(10_000_000))'\n"
        "subprocess.run([sys.executable, '-c', bomb]).returncode",
        says="-9",
    ),
    Attack(
        name="disk fill of every writable place, found by trying",
        outcome="limited",
        code=WRITABLE,
        # A container also has a file system of message queues, which takes no data and few queues.
        says=r"\[('/dev/mqueue', )?'/dev/shm', '/tmp'\]\n(EINVAL\n)?(EFBIG|ENOSPC)\n(EFBIG|ENOSPC)\nTrue",
    ),
    Attack(
        name="file larger than the limit of one file",
        outcome="limited",
        code=AGAIN
        + "file = open('/tmp/big', 'wb')\nuntil_refused(lambda: file.truncate(1 << 40))\nos.remove('/tmp/big')",
        says="EFBIG",
    ),
    Attack(
        name="all file descriptors",
        outcome="limited",
        code=AGAIN + "fds = []\nprint(until_refused(lambda: fds.append(os.open('/dev/null', 0))) < 4096)\n"
        "for fd in fds: os.close(fd)",
        says="EMFILE\nTrue",
    ),
    Attack(
        name="infinite loop that swallows every exception",
        outcome="kernel replaced",
        death="killed",
        timeout=0.5,
        code="import time\nwhile True:\n    try:\n        while True: time.sleep(0.01)\n    except BaseException: pass",
    ),
    Attack(
        name="signals ignored",
        outcome="kernel replaced",
        slow=True,
        death="killed",
        timeout=0.5,
        code="import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
    ),
    Attack(
        name="GIL held by a catastrophic regular expression",
        outcome="interrupted",
        timeout=0.5,
        code="import re\nre.match(r'(a+)+$', 'a' * 60 + 'b')",
    ),
    Attack(
        name="GIL held by a huge power",
        outcome="interrupted",
        timeout=0.5,
        code="x = 3 ** 300_000_000",
    ),
    Attack(
        name="kernel stops itself",
        outcome="kernel replaced",
        slow=True,
        death="killed",
        timeout=0.5,
        code="import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    ),
    Attack(
        name="kill -9 -1",
        outcome="kernel replaced",
        code="import os, time\nos.kill(-1, 9)\ntime.sleep(9)",
    ),
    Attack(
        name="kill or stop the sandbox's init",
        outcome="harmless",
        code="import os, signal\nfor each in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM): os.kill(1, "
        "each)\n'sent'",
        says="'sent'",
    ),
    Attack(
        name="kill the zygote that kernels are forked from",
        outcome="kernel replaced",
        code="import os, time\nos.kill(os.getppid(), 9)\ntime.sleep(9)",
    ),
    Attack(
        name="stop the zygote, then die",
        outcome="kernel replaced",
        death="crash",
        code="import os, signal\nos.kill(os.getppid(), signal.SIGSTOP)\nos._exit(3)",
    ),
    Attack(
        name="segmentation fault",
        outcome="kernel replaced",
        death="crash",
        code="import ctypes\nctypes.string_at(0)",
    ),
    Attack(
        name="shared memory of System V, which outlives its process",
        outcome="refused",
        code="import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "for get in (libc.shmget, libc.semget, libc.msgget): print(get(0, 1 << 20, 0o1600), ctypes.get_errno())",
        says="-1 1\n-1 1\n-1 1",
    ),
    Attack(
        name="message queues",
        outcome="limited",
        only="docker",
        why_only="bubblewrap mounts no file system of message queues, and mq_open is refused",
        code=AGAIN
        + "made = iter(range(10_000))\n"
        + "def queue(): os.close(os.open(f'/dev/mqueue/{next(made)}', os.O_CREAT | os.O_RDWR))\n"
        + "print(until_refused(queue) < 300)\n"
        + "for each in os.listdir('/dev/mqueue'): os.remove('/dev/mqueue/' + each)",
        says="(EMFILE|ENOSPC)\nTrue",
    ),
    Attack(
        name="inode fill",
        outcome="kernel replaced",
        slow=True,
        within=60,
        timeout=60,
        code=AGAIN
        + "n = iter(range(10**9))\nwhile True: os.close(os.open(f'/dev/shm/{next(n)}', os.O_CREAT | os.O_WRONLY))",
    ),
    Attack(
        name="GIL held by sorting",
        outcome="interrupted",
        slow=True,
        timeout=1,
        code="import random\nnumbers = [random.random() for _ in range(1_000_000)]\nwhile True: sorted(numbers)",
    ),
    Attack(
        name="one call of C code that looks at no signal",
        outcome="kernel replaced",
        death="killed",
        slow=True,
        timeout=0.5,
        code="import itertools\nsum(itertools.repeat(1, 10**13))",
    ),
)


@cases(*ATTACKS)
async def test_cell(shared, sandbox: str, attack: Attack) -> None:
    await strike(await shared(sandbox), attack)


CHILD_BOMB = "blocks = []\nwhile True: blocks.append(bytearray(10_000_000))"


@case("memory bomb in a child kernel", "kernel replaced", slow=True)
async def test_a_child_takes_all_the_memory(stage: Stage, sandbox: str) -> None:
    replies = {
        "root": cell(f"kept = 1\nr = rlm_query('?', context)\nanswer['content'] = f'{{r}} {{kept}}'\n{FINISH}"),
        "child": [cell(CHILD_BOMB), cell(f"answer['content'] = f'child {{len(context)}}'\n{FINISH}")],
    }
    options = {"depth": 2, "models": ("root", "child"), "memory": MEMORY, "sandbox": sandbox}
    result = await stage.run(replies, context="x" * SIZE, **options)
    assert (result.answer, result.stop_reason) == (f"child {SIZE} 1", "answered")
    assert [(each["rollout"], each["reason"]) for each in stage.of("kernel.died")] == [("0.1", "oom")]


FLOOD = "import os\nblock = b'x' * (1 << 20)\nfor _ in range(1024): os.write(1, block)"


@case("1 GB of output while the host reads slowly", "limited", slow=True)
async def test_a_flood_of_output(shared, sandbox: str) -> None:
    rig = await shared(sandbox)
    await arm(rig)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    running = asyncio.ensure_future(rig.run(FLOOD))
    while not running.done():
        await asyncio.sleep(0.05)
        time.sleep(0.2)  # noqa: ASYNC251 - the loop that reads is busy with something else
    result = await running
    assert (result.status, result.omitted > 1 << 29) == ("ok", True)
    assert len(result.output) + len(result.output_tail) <= 1 << 18
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10
    await recovered(rig)


SPIN = """
import os, time
children = []
for _ in range(4):
    if (pid := os.fork()) == 0:
        end = time.monotonic() + 2
        while time.monotonic() < end: pass
        os._exit(0)
    children.append(pid)
print(sum(sum(os.wait4(pid, 0)[2][:2]) for pid in children) < 2)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="without root, bubblewrap cannot limit processor time")
@case("every processor for itself", "limited", slow=True)
async def test_processor_time(make, sandbox: str) -> None:
    rig = await make(sandbox, cpus=0.5)
    await strike(rig, Attack(name="", outcome="limited", code=SPIN, says="True", within=20))
