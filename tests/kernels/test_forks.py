"""Many kernels in one sandbox: forks of the zygote, and the fallback where a fork cannot be had."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from pathlib import Path

import pytest
import pytest_asyncio
from guest import wire
from guest.agent import Agent, KernelLink

from rlm.context import Value, prepare
from rlm.errors import SandboxError
from rlm.kernels.session import KernelSession
from tests.kernels.conftest import WALLED, Rig

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXT = "the input. " * 1000


@pytest.fixture(params=[False, True], ids=["fork", "fresh"], scope="module")
def fresh(request):
    return request.param


@pytest_asyncio.fixture(loop_scope="module")
async def family(make_rig, sandbox, fresh, tmp_path: Path):
    """A root kernel that holds an input, in a sandbox for more."""
    prepared = prepare([Value(TEXT)], spool_dir=tmp_path, foreign_uid=sandbox != "process")
    config = prepared.config if sandbox != "process" else prepared.local_config()
    rig = await make_rig(
        sandbox, mounts=prepared.mounts, config={"input": config, "fresh_kernels": fresh}, pids=256 + 16 * 16
    )
    children: list[KernelSession] = []

    async def child(context, **options) -> KernelSession:
        kernel: KernelSession = rig.new_kernel(root=False, options={"context": context, "context_key": "k", **options})
        children.append(kernel)
        await kernel.start()
        return kernel

    rig.child = child
    yield rig
    for kernel in children:
        await kernel.aclose()


async def text(kernel: KernelSession, code: str) -> str:
    result = await kernel.execute(code, timeout=60)
    assert result.status == "ok", result
    return result.output.rstrip("\n")


async def count_kernels(rig: Rig) -> int:
    """How many kernels the sandbox holds, as one of them sees it: what its zygote has forked."""
    code = (
        "import os\ncount = 0\n"
        "for pid in filter(str.isdigit, os.listdir('/proc')):\n"
        "    try: stat = open(f'/proc/{pid}/stat').read()\n"
        "    except OSError: continue\n"
        "    count += int(stat.rpartition(')')[2].split()[1]) == os.getppid()\n"
        "print(count)"
    )
    return int(await text(rig.kernel, code))


async def test_a_child_has_the_input_and_nothing_else_of_its_parent(family) -> None:
    await text(family.kernel, "mine = 1\nanswer['content'] = 'root'")
    child = await family.child({"as": "input"})
    assert await text(child, "len(context), 'mine' in globals(), answer['content']") == f"({len(TEXT)}, False, '')"
    await text(child, "theirs = context = 2")
    assert await text(family.kernel, f"len(context) == {len(TEXT)}, 'theirs' in globals()") == "(True, False)"
    assert await text(child, "llm_query('x')") == "'re: x'"


async def test_kernels_work_at_the_same_time_and_are_interrupted_alone(family) -> None:
    kernels = [family.kernel, *[await family.child({"as": "none"}) for _ in range(3)]]
    running = [asyncio.ensure_future(kernel.execute("import time\ntime.sleep(30)")) for kernel in kernels]
    await asyncio.sleep(0.5)
    await kernels[2].interrupt()
    stopped = await asyncio.wait_for(running[2], 5)
    assert stopped.error is not None
    assert stopped.error.name == "KeyboardInterrupt"
    assert not any(task.done() for number, task in enumerate(running) if number != 2)
    for kernel in (*kernels[:2], kernels[3]):
        await kernel.interrupt()
    assert {result.status for result in await asyncio.gather(*running)} == {"error"}


async def test_a_child_that_dies_is_followed_by_another_with_its_context(family) -> None:
    child = await family.child({"as": "input"})
    await text(family.kernel, "kept = 5")
    await text(child, "answer['content'] = 'draft'\nlost = 1")
    assert (await child.execute("import os; os._exit(3)")).status == "died"
    assert await text(child, "len(context), answer['content'], 'lost' in globals()") == f"({len(TEXT)}, 'draft', False)"
    assert await text(family.kernel, "kept") == "5"


async def test_a_context_that_cannot_be_loaded_is_told(family) -> None:
    with pytest.raises(SandboxError, match="could not be loaded: FileNotFoundError"):
        await family.child({"as": "pickle", "path": "/tmp/nowhere"})
    assert await text(family.kernel, "1 + 1") == "2"


async def test_a_kernel_that_has_ended_still_has_its_last_word() -> None:
    agent = Agent()
    ready, guest = os.pipe()
    kernel = agent.kernels[7] = KernelLink(number=7, bridge=socket.socket(), ready=ready, endpoint="")
    os.write(guest, b"no such file")
    agent.bury(kernel, 1)  # its end is heard of first
    os.close(guest)
    sent = [json.loads(payload) for _, _, payload in wire.AgentDecoder().feed(b"".join(agent.urgent))]
    assert [message["op"] for message in sent] == ["failed", "exited"]
    assert sent[0]["detail"] == "no such file"


async def test_a_closed_child_leaves_nothing(family) -> None:
    child = await family.child({"as": "none"})
    await text(child, "import subprocess\np = subprocess.Popen(['sleep', '98765'])")
    left = (
        "import os\ndef line(pid):\n"
        "    try: return open(f'/proc/{pid}/cmdline', 'rb').read()\n"
        "    except OSError: return b''\n"
        f"print(sum(line(pid) == b'sleep\\0{98765}\\0' for pid in os.listdir('/proc') if pid.isdigit()))"
    )
    assert (await count_kernels(family), await text(family.kernel, left)) == (2, "1")
    await child.aclose()
    assert (await count_kernels(family), await text(family.kernel, left)) == (1, "0")


async def test_a_killed_zygote_ends_all_kernels_and_the_next_one_starts_another(family) -> None:
    child = await family.child({"as": "input"})
    running = asyncio.ensure_future(child.execute("import time\ntime.sleep(60)"))
    await asyncio.sleep(0.3)
    result = await family.kernel.execute("import os, time\nos.kill(os.getppid(), 9)\ntime.sleep(9)")
    assert result.status == "died"
    assert (await asyncio.wait_for(running, 10)).status == "died"
    assert await text(family.kernel, "len(context)") == str(len(TEXT))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("sandbox", WALLED, scope="module")
async def test_hundreds_of_forks(make_rig, sandbox) -> None:
    rig = await make_rig(sandbox, pids=256 + 16 * 16)
    gate = asyncio.Semaphore(16)

    async def one(number: int) -> str:
        async with gate:
            kernel = rig.new_kernel(root=False, options={"context": {"as": "none"}, "context_key": "k"})
            await kernel.start()
            try:
                return await text(kernel, f"llm_query('{number}')")
            finally:
                await kernel.aclose()

    forks = 500 if sandbox == "docker" else 150
    said = await asyncio.gather(*map(one, range(forks)))
    assert said == [f"'re: {number}'" for number in range(forks)]
    assert await count_kernels(rig) == 1
    assert await text(rig.kernel, "llm_query('x')") == "'re: x'"
