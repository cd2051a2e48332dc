"""What the walls add: bounded memory and processes, no network, an agent that cells cannot touch."""

from __future__ import annotations

import asyncio
import time

import pytest
import pytest_asyncio

from rlm.context import prepare
from tests.kernels.conftest import WALLED, rigs

pytestmark = pytest.mark.asyncio(loop_scope="module")

MEMORY = 400 << 20


@pytest.fixture(params=WALLED, scope="module")
def sandbox(request):
    return request.param


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_rig(request, sandbox, tmp_path_factory):
    text = tmp_path_factory.mktemp("input") / "input.txt"
    text.write_text("héllo\n" * 1000, encoding="utf-8")
    text.chmod(0o644)
    prepared = prepare([str(text)], spool_dir=tmp_path_factory.mktemp("spool"), memory=MEMORY)
    async with rigs(request) as make:
        yield await make(sandbox, memory=MEMORY, mounts=prepared.mounts, config={"input": prepared.config})


async def test_the_input_is_there_and_read_only(rig):
    assert await rig.text("type(context), len(context), context[:6]") == "(str, 6000, 'héllo\\n')"
    code = (
        "import glob\n"
        "p = glob.glob('/input/**/*.txt', recursive=True)[0]\n"
        "try:\n"
        "    open(p, 'w')\n"
        "except OSError as e:\n"
        "    print(type(e).__name__)"
    )
    assert await rig.text(code) in {"OSError", "PermissionError"}


async def test_running_out_of_memory_is_told_from_other_deaths_and_the_input_comes_back(rig):
    result = await rig.run("answer['content'] = 'draft'\nblocks = []\nwhile True: blocks.append(bytearray(10_000_000))")
    assert (result.status, result.death.reason) == ("died", "oom")
    assert await rig.text("len(context), answer['content'], 'blocks' in globals()") == "(6000, 'draft', False)"


async def test_a_child_process_that_runs_out_of_memory_is_told_and_the_kernel_lives(rig):
    await rig.run("kept = 1")
    code = (
        "import subprocess, sys\n"
        "code = 'b = []\\nwhile True: b.append(bytearray(10_000_000))'\n"
        "open('/proc/self/oom_score_adj', 'w').write('500')\n"
        "p = subprocess.Popen([sys.executable, '-c', code])\n"
        "open(f'/proc/{p.pid}/oom_score_adj', 'w').write('1000')\n"
        "p.wait()"
    )
    result = await rig.run(code)
    assert result.output.rstrip() == "-9"
    assert any("ran out of memory" in note for note in result.notices)
    assert await rig.text("kept") == "1"


async def test_a_fork_bomb_stops_at_the_limit_and_is_swept_away(rig):
    code = (
        "import os, time\n"
        "while True:\n"
        "    try:\n"
        "        if os.fork() == 0:\n"
        "            time.sleep(100)\n"
        "    except OSError:\n"
        "        time.sleep(0.01)"
    )
    result = await rig.run(code, timeout=2)
    # 250 forks may also reach the memory limit, or an interrupt be lost in a fork: how it ends does not matter.
    assert result.status in {"timeout", "died"}
    await rig.run("import os\nos._exit(1)")
    assert int(await rig.text("import os\nlen([p for p in os.listdir('/proc') if p.isdigit()])")) < 10
    assert await rig.text("len(context)") == "6000"


async def test_there_is_no_network(rig):
    code = (
        "import socket\ns = socket.socket()\ns.settimeout(2)\n"
        "try:\n    s.connect(('127.0.0.1', 9))\nexcept OSError as e:\n    print(e.strerror)\n"
        "print(sorted(n for _, n in socket.if_nameindex()))"
    )
    refused, interfaces = (await rig.text(code)).splitlines()
    assert refused in {"Connection refused", "Network is unreachable", "Operation not permitted"}
    assert "eth0" not in interfaces


async def test_cells_cannot_reach_the_agent_or_the_zygote(rig):
    code = (
        "import os\nfor pid in (1, os.getppid()):\n"
        "    for name in ('fd/0', 'fd/1', 'mem', 'environ'):\n"
        "        try:\n            open(f'/proc/{pid}/{name}', 'rb').close(); print('open', pid, name)\n"
        "        except OSError as e:\n            print(type(e).__name__)\n"
        "os.kill(1, 9)\nprint('alive')"
    )
    assert await rig.text(code) == "PermissionError\n" * 8 + "alive"


async def test_the_environment_and_the_files_of_the_host_are_not_there(rig, monkeypatch):
    assert "PYTEST" not in await rig.text("import os\nprint(dict(os.environ))")
    assert (
        await rig.text(
            "import os\n"
            "home = os.listdir('/home') if os.path.isdir('/home') else []\n"
            "os.getuid() != 0, os.path.exists('/root/.bashrc'), home"
        )
        == "(True, False, [])"
    )


async def test_every_writable_place_is_bounded(rig):
    code = (
        "import os\ntotal = 0\n"
        "try:\n    with open('/tmp/fill', 'wb') as f:\n        while True: total += f.write(b'x' * 1_000_000)\n"
        "except OSError as e:\n    print(e.strerror)\n"
        "finally:\n    os.path.exists('/tmp/fill') and os.remove('/tmp/fill')\n"
    )
    result = await rig.run(code)
    assert result.status == "died" or "No space left" in result.output or "too large" in result.output
    assert await rig.text("len(context)") == "6000"


async def test_a_sandbox_that_is_lost_as_a_whole_is_replaced(rig):
    await rig.run("answer['content'] = 'before'")
    running = asyncio.ensure_future(rig.run("import time\ntime.sleep(60)"))
    await asyncio.sleep(0.5)
    began = time.monotonic()
    await rig.sandbox._link._process.kill()
    result = await running
    assert time.monotonic() - began < 5
    assert result.status == "died"
    assert await rig.text("answer['content'], len(context)") == "('before', 6000)"
    assert rig.happened("kernel.restarted")[-1]["sandbox_lost"] is True
