"""Cells that attack their own kernel, its channels or the host's patience. Only behind a wall."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from rlm.errors import SandboxError
from rlm.kernels import forked, session
from tests.kernels.conftest import WALLED

pytestmark = pytest.mark.asyncio(loop_scope="module")

TAMPER = """
import json, os, socket, struct, time
kernel = get_ipython().kernel
stream = kernel.shell_channel_thread.manager.get_subshell_to_shell_channel_socket(None)
request, ident = kernel.get_parent("shell"), kernel._shell_parent_ident.get()
bridge = kernel.guest.bridge._socket.fileno()
def forge(content, parent=request):
    kernel.session.send(stream, "execute_reply", content, parent=parent, ident=ident)
def frame(**message):
    body = json.dumps({"v": 1, **message}).encode()
    return struct.pack(">I", len(body)) + body
"""
REPORT = "{'status': 'ok', 'rlm': {'output': 'forged', 'answer': {'content': '', 'ready': False, 'version': 0}}}"


@pytest.fixture(params=WALLED, scope="module")
def sandbox(request):
    return request.param


# --- the bridge and the kernel's channel ----------------------------------------------------------


@pytest.mark.parametrize("data", ["b'\\xff' * 1000", "b'\\x7f\\0\\0\\0abc'", "frame(op='started', id=1, kernel=1)"])
async def test_garbage_on_the_bridge_costs_the_bridge_until_the_next_kernel(rig, data):
    await rig.run(TAMPER + f"os.write(bridge, {data})\nkept = 1")
    error = await rig.text("time.sleep(0.1)\nllm_query('x')")
    assert "cancelled" in error
    assert "starts an empty kernel" in error
    assert await rig.text("kept") == "1"
    assert len(rig.happened("protocol.error")) == 1
    await rig.run("import os; os._exit(0)")
    assert await rig.text("llm_query('x')") == "'re: x'"


async def test_a_flood_of_answers_is_passed_on_within_bounds_and_ends_with_the_last(rig, monkeypatch):
    monkeypatch.setattr(session, "LIVE_ANSWERS", 1_000_000)
    code = (
        "text = 'x' * 100_000\n"
        "for version in range(10_000, 10_200):\n"
        "    os.write(bridge, frame(op='answer', id=0, content=text, ready=False, version=version))\n"
        "os.write(bridge, frame(op='answer', id=0, content='last', ready=False, version=20_000))\n"
        "time.sleep(0.5)"
    )
    await rig.run(TAMPER + code)
    assert len(rig.answers) < 15
    assert rig.answers[-1].content == "last"
    await rig.run("import os; os._exit(0)")


async def test_an_announced_batch_without_prompts_does_not_stop_the_clock(rig):
    code = "os.write(bridge, frame(op='batch', id=9999, n=2, opts={}))\nwhile True: pass"
    began = time.monotonic()
    assert (await rig.run(TAMPER + code, timeout=1)).status == "timeout"
    assert time.monotonic() - began < 5


async def test_a_forged_reply_says_something_false_about_that_cell_only(rig):
    result = await rig.run(TAMPER + f"forge({REPORT})\ntime.sleep(0.5)")
    assert result.output == "forged"
    assert await rig.text("1 + 1") == "2"


async def test_a_forged_reply_does_not_let_a_cell_run_on_for_ever(rig):
    assert (await rig.run(TAMPER + f"forge({REPORT})\nwhile True: pass")).status == "ok"
    assert (await rig.run("never = 1", timeout=0.5)).status in {"timeout", "ok"}
    assert await rig.text("1 + 1") == "2"


@pytest.mark.parametrize(
    "flood",
    [
        "forge({'x': 1}, dict(request, header=dict(request['header'], msg_id='other')))",
        "kernel.session.key = b'wrong'; forge({'x': 1})",
    ],
)
async def test_a_flood_of_replies_ends_the_kernel_and_is_noted_within_bounds(rig, flood):
    result = await rig.run(TAMPER + f"for _ in range(5000): {flood}")
    assert (result.status, result.death.reason) == ("died", "killed")
    assert len(rig.happened("protocol.error")) <= forked.MAX_STRAYS
    assert await rig.text("1 + 1") == "2"


async def test_closed_descriptors_cost_at_most_the_kernel(rig):
    assert (await rig.run("import os; os.closerange(0, 100)")).status == "died"
    assert await rig.text("llm_query('x')") == "'re: x'"


# --- the sandbox ----------------------------------------------------------------------------------


async def test_a_stopped_kernel_is_killed_and_a_stopped_zygote_goes_on(rig):
    result = await rig.run("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", timeout=0.3)
    assert (result.status, result.death.reason) == ("died", "killed")
    began = time.monotonic()
    result = await rig.run("import os, signal\nos.kill(os.getppid(), signal.SIGSTOP)\nos._exit(3)")
    assert result.death.detail == "exited with status 3"
    assert await rig.text("1 + 1") == "2"
    assert time.monotonic() - began < 3


async def test_killing_everybody_costs_the_kernel_only(rig):
    assert (await rig.run("import os, time\nos.kill(-1, 9)\ntime.sleep(9)")).status == "died"
    assert await rig.text("1 + 1") == "2"


async def test_full_file_systems_do_not_keep_the_next_kernel_from_starting(rig):
    code = (
        "def fill(folder):\n"
        "    try:\n"
        "        with open(folder + '/fill', 'wb') as file:\n"
        "            while True: file.write(bytes(1 << 20))\n"
        "    except OSError as error: print(error.strerror)\n"
        "fill('/tmp'); fill('/dev/shm')"
    )
    assert await rig.text(code) == "No space left on device\nNo space left on device"
    await rig.run("import os; os._exit(0)")
    assert await rig.text("llm_query('x')") == "'re: x'"
    await rig.run("import os; os.remove('/tmp/fill'); os.remove('/dev/shm/fill')")


async def test_files_that_take_the_memory_of_every_kernel_are_given_up_with_their_sandbox(make_rig, sandbox):
    rig = await make_rig(sandbox, memory=300 << 20, tmp_bytes=250 << 20)
    code = "with open('/tmp/fill', 'wb') as file:\n    for _ in range(240): file.write(bytes(1 << 20))\n"
    result = await rig.run(code + "x = bytearray(200 << 20)")
    assert (result.status, result.death.reason) == ("died", "oom")
    assert "/tmp" in result.death.detail
    assert await rig.text("import os\nlen(bytearray(50 << 20)), os.path.exists('/tmp/fill')") == "(52428800, False)"
    assert rig.happened("kernel.restarted")[-1]["sandbox_lost"] is True


# --- interrupts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "await asyncio.sleep(60)",
        "await asyncio.gather(*(asyncio.sleep(60) for _ in range(3)))",
        "await asyncio.sleep(0)\nwhile True: pass",
        "await asyncio.to_thread(time.sleep, 3)",
    ],
)
async def test_a_cell_that_awaits_is_interrupted_and_keeps_its_variables(rig, code):
    result = await rig.run("import asyncio, time\nkept = 5\n" + code, timeout=0.3)
    assert result.status == "timeout"
    assert result.seconds < 2
    assert await rig.text("kept") == "5"


async def test_interrupts_at_any_moment_lose_nothing_and_hit_no_other_cell(rig):
    codes = (
        "for i in range(10**6): pass",
        "import time; time.sleep(0.02)",
        "llm_query('x')",
        "import asyncio\nawait asyncio.sleep(0.02)",
        "pass",
        "answer['content'] = 'y' * 1000",
        "import os; os.system('sleep 0.02')",
        "class Slow:\n  def __len__(self):\n    import time; time.sleep(0.005); return 3\nz = Slow()",
    )
    dice = random.Random(3)
    await rig.run("kept = 1")
    for _ in range(60):
        running = asyncio.ensure_future(rig.run(dice.choice(codes)))
        await asyncio.sleep(dice.random() * 0.03)
        interrupt = asyncio.ensure_future(rig.kernel.interrupt())
        assert (await running).status in {"ok", "error"}
        await interrupt
        assert await rig.text("kept") == "1"


async def test_values_whose_size_is_slow_or_deadly_to_ask_for_cost_one_cell_at_most(rig):
    code = "class Slow:\n  def __len__(self):\n    import time; time.sleep(60)\nslow = Slow()"
    assert (await rig.run(code, timeout=0.3)).seconds < 5
    began = time.monotonic()
    assert await rig.text("1 + 1") == "2"
    assert time.monotonic() - began < 1
    for exception in ("SystemExit", "KeyboardInterrupt"):
        result = await rig.run(f"class Bad:\n  def __len__(self): raise {exception}\nbad = Bad()")
        assert result.status == "ok"
    assert await rig.text("'slow' in SHOW_VARS()") == "True"


# --- what cells break by accident -----------------------------------------------------------------


async def test_output_of_forked_processes_is_heard(rig):
    code = (
        "import multiprocessing, sys\n"
        "def work(x):\n    print('out', x)\n    print('err', x, file=sys.stderr)\n"
        "p = multiprocessing.Process(target=work, args=(1,)); p.start(); p.join()"
    )
    assert await rig.text(code) == "out 1\nerr 1"


async def test_replaced_streams_and_descriptors_come_back(rig):
    result = await rig.run("import sys, io\nsys.stdout = io.StringIO()\nprint('kept there')\n1 / 0")
    assert "sys.stdout" in result.notices[0]
    assert await rig.text("print('heard')") == "heard"
    await rig.run("import os\nos.close(1); os.close(2)")
    assert await rig.text("import os\n_ = os.system('echo out; echo err >&2')") == "out\nerr"


@pytest.mark.parametrize("character", ["\\x00", "\\U0001f600"])
async def test_an_answer_of_any_characters_fits_a_frame(rig, character):
    result = await rig.run(f"answer['content'] = '{character}' * (1 << 22)")
    assert result.status == "ok"
    assert len(result.answer.content) == 2 << 20
    assert "only the first" in result.notices[0]
    await rig.run("answer['content'] = ''")


async def test_source_that_no_file_could_hold(rig):
    assert "null bytes" in (await rig.run("x = 1\0")).error.value
    assert await rig.text("len('\ud800')") == "1"
    result = await rig.run("x = '" + "y" * 20_000_000 + "'")
    assert result.error.name == "CodeTooLong"
    assert await rig.text("1 + 1") == "2"


async def test_help_is_shown_and_an_exception_without_a_text_is_an_error(rig):
    assert "Return the number of items" in await rig.text("len?")
    result = await rig.run("class Bad(Exception):\n  def __str__(self): raise ValueError\nraise Bad")
    assert result.status == "error"
    assert await rig.text("1 + 1") == "2"


# --- the session ----------------------------------------------------------------------------------


async def test_a_second_cell_at_the_same_time_is_refused(rig):
    running = asyncio.ensure_future(rig.run("import time; time.sleep(0.5); 'first'"))
    await asyncio.sleep(0.1)
    with pytest.raises(SandboxError, match="already"):
        await rig.run("2")
    assert (await running).output == "'first'\n"


async def test_a_cell_cancelled_twice_does_not_disturb_the_next_one(rig):
    code = "import time\nwhile True:\n  try: time.sleep(9)\n  except BaseException: pass"
    running = asyncio.ensure_future(rig.run(code))
    await asyncio.sleep(0.2)
    running.cancel()
    await asyncio.sleep(0.1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await rig.text("'next'") == "'next'"


async def test_a_cell_cancelled_while_its_kernel_is_revived_does_not_disturb_the_next_one(rig):
    for delay in (0.0, 0.005, 0.02, 0.04):
        await rig.run("import os; os._exit(1)")
        running = asyncio.ensure_future(rig.run("1"))
        await asyncio.sleep(delay)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await rig.text("'next'", timeout=5) == "'next'"


async def test_a_session_closed_under_a_running_cell_ends_that_cell(make_rig, sandbox):
    rig = await make_rig(sandbox)
    running = asyncio.ensure_future(rig.run("import time; time.sleep(60)"))
    await asyncio.sleep(0.2)
    await rig.kernel.aclose()
    assert (await asyncio.wait_for(running, 5)).status == "died"
    with pytest.raises(SandboxError, match="closed"):
        await rig.run("1")


async def test_the_sub_calls_of_a_dead_kernel_are_cancelled_at_once(rig):
    rig.delay = 60
    code = (
        "import os, threading, time\nthreading.Thread(target=llm_query, args=('x',)).start()\n"
        "time.sleep(0.2)\nos._exit(1)"
    )
    assert (await rig.run(code)).status == "died"
    assert rig.open[-1].cancelled


async def test_a_sandbox_that_cannot_load_its_input_leaves_nothing(make_rig, sandbox):
    gone = {"v": 1, "str_max": 1, "roots": ["/input"], "single": True}
    gone["inputs"] = [{"name": "x", "as": "str", "root": 0, "path": "gone"}]
    rig = None
    with pytest.raises(SandboxError, match="could not be loaded"):
        rig = await make_rig(sandbox, config={"input": gone})
    assert rig is None
