"""What every kernel must do, whatever wall it lives behind."""

from __future__ import annotations

import asyncio
import os
import sys
import time

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")

# --- cells ------------------------------------------------------------------------------------


async def test_state_lives_on_and_the_last_expression_is_shown(rig):
    assert await rig.text("x = 20") == ""
    assert await rig.text("print('a')\nx + 1") == "a\n21"
    result = await rig.run("y = [1, 2, 3]\nimport math\n_hidden = 1")
    assert [(v.name, v.type, v.size) for v in result.variables] == [("y", "list", "len 3")]


async def test_an_exception_keeps_what_was_assigned_and_shows_the_cell_only(rig):
    result = await rig.run("kept = 1\ndef f():\n    return 1 / 0\nf()")
    assert result.status == "error"
    assert result.error.name == "ZeroDivisionError"
    assert result.error.traceback.count("File") == 2
    assert "return 1 / 0" in result.error.traceback
    assert await rig.text("kept") == "1"


@pytest.mark.parametrize("code", ["import sys; sys.exit(3)", "exit()", "quit(1)", "raise SystemExit"])
async def test_leaving_a_cell_kills_nothing(rig, code):
    await rig.run("z = 5")
    result = await rig.run(code)
    assert result.status == "ok"
    assert "live on" in result.notices[0]
    assert await rig.text("z") == "5"


async def test_syntax_errors_classes_and_await(rig):
    assert (await rig.run("def f(:")).error.name == "SyntaxError"
    assert await rig.text("class A:\n    def f(self):\n        return 7\nA().f()") == "7"
    assert await rig.text("import asyncio\nawait asyncio.sleep(0.01)\n'slept'") == "'slept'"
    assert (await rig.run("    x = 1\n  y = 2")).error.name == "IndentationError"


async def test_output_of_child_processes_is_complete_and_in_order(rig):
    code = "import os\nprint('a')\nos.system('echo b; seq 1 200000')\nprint('c')"
    result = await rig.run(code)
    assert result.output.startswith("a\nb\n1\n2\n3\n")
    assert result.output_tail.endswith("199999\n200000\nc\n")
    whole = "a\nb\n" + "".join(f"{i}\n" for i in range(1, 200001)) + "c\n"
    assert len(result.output) + result.omitted + len(result.output_tail) == len(whole)
    assert (
        await rig.text("history[-1]['output'] == 'a\\nb\\n' + ''.join(f'{i}\\n' for i in range(1, 200001)) + 'c\\n'")
        == "True"
    )


async def test_stderr_rich_reprs_and_shell_escapes_are_heard(rig):
    assert await rig.text("import sys\nprint('err', file=sys.stderr)\n!echo $((40 + 2))") == "err\n42"
    code = (
        "class Rich:\n"
        "    def _repr_png_(self): return 'x' * 10\n"
        "    def __repr__(self): return 'RICH'\n"
        "display(Rich())\n"
        "Rich()"
    )
    assert (
        await rig.text(code)
        == "RICH\n[image/png, 10 characters, not shown]\nRICH\n[image/png, 10 characters, not shown]"
    )
    assert "1 2" in await rig.text(
        "import pandas as pd\nprint(pd.DataFrame({'a': [1], 'b': [2]}).to_string(header=False, index=False))"
    )


async def test_a_flood_of_output_costs_time_and_not_memory(rig):
    began = time.monotonic()
    result = await rig.run("import os\nfor _ in range(1000): os.write(1, b'x' * 1_000_000)\nprint('end')")
    assert result.status == "ok"
    assert len(result.output) + len(result.output_tail) < 300_000
    assert len(result.output) + result.omitted + len(result.output_tail) == 1_000_000_004
    assert result.output_tail.endswith("end\n")
    assert time.monotonic() - began < 60


async def test_writes_past_python_and_through_it_never_change_places(rig):
    await rig.run("import os\nfor _ in range(30_000):\n    os.write(1, b'a\\n')\n    print('b')")
    assert await rig.text("history[-1]['output'] == 'a\\nb\\n' * 30_000") == "True"


async def test_a_signal_handler_may_print_at_any_moment(rig):
    code = (
        "import os, signal, time\nsignal.signal(signal.SIGALRM, lambda *_: print('tick'))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)\nend = time.time() + 1\n"
        "while time.time() < end:\n    os.write(1, b'a' * 1000)\n    print('b')\n"
        "signal.setitimer(signal.ITIMER_REAL, 0)"
    )
    assert (await rig.run(code, timeout=10)).status == "ok"


async def test_huge_reprs_and_messages_are_cut(rig):
    result = await rig.run("'y' * 50_000_000")
    assert len(result.output) + len(result.output_tail) < 300_000
    result = await rig.run("raise ValueError('z' * 10_000_000)")
    assert len(result.error.traceback) < 40_000
    assert len(result.error.value) <= 2000


# --- answer and helpers -----------------------------------------------------------------------


async def test_the_answer_is_reported_with_each_cell_and_at_each_mutation(rig):
    result = await rig.run("answer['content'] = 'draft'")
    assert (result.answer.content, result.answer.ready) == ("draft", False)
    result = await rig.run("answer.update(content='final', ready=True)")
    assert (result.answer.content, result.answer.ready) == ("final", True)
    assert rig.answers[-1].content == "final"


async def test_a_rebound_or_deleted_answer_is_mended_and_said(rig):
    result = await rig.run("answer = 'text'")
    assert result.answer.content == "text"
    assert "rebound to a str" in result.notices[0]
    result = await rig.run("del answer")
    assert result.answer.content == "text"
    assert "deleted" in result.notices[0]
    result = await rig.run("answer = {'content': 'whole', 'ready': True}")
    assert (result.answer.content, result.answer.ready) == ("whole", True)
    assert await rig.text("answer['content']") == "'whole'"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("{1}", "{1}"),
        ("[1, 'é']", '[1, "é"]'),
        ("42", "42"),
        ("None", ""),
        ("b'x'", "b'x'"),
        ("object", "<class 'object'>"),
        ("'\\ud800x'", "?x"),
    ],
)
async def test_any_content_becomes_text(rig, value, text):
    result = await rig.run(f"answer['content'] = {value}")
    assert result.status == "ok"
    assert result.answer.content == text


async def test_hostile_objects_in_the_answer_or_the_namespace_lose_nothing(rig):
    code = (
        "class Bad:\n"
        "    def __bool__(self): raise RuntimeError('no')\n"
        "    def __len__(self): raise RuntimeError('no')\n"
        "    def __str__(self): raise RuntimeError('no')\n"
        "    __repr__ = __str__\n"
        "    def __eq__(self, other): raise RuntimeError('no')\n"
        "    __hash__ = None\n"
        "bad = Bad()\nanswer['ready'] = bad\nanswer['content'] = bad\nkept = 1"
    )
    result = await rig.run(code)
    assert result.status == "ok"
    assert not result.answer.ready
    assert await rig.text("kept") == "1"


async def test_redefined_and_deleted_helpers_come_back(rig):
    result = await rig.run("llm_batch = 3\ndel llm_query")
    assert len(result.notices) == 2
    assert await rig.text("my_llm_batch") == "3"
    assert await rig.text("llm_batch(['hi']) == ['re: hi'] and llm_query('x') == 're: x'") == "True"


async def test_a_rebound_context_is_the_input_again(rig):
    result = await rig.run("context = 'a copy of the preview'")
    assert "`my_context`" in result.notices[0]
    assert await rig.text("context, my_context") == "(None, 'a copy of the preview')"


async def test_history_and_show_vars(rig):
    await rig.run("alpha = 1")
    await rig.run("1 / 0")
    assert await rig.text("[h['code'] for h in history[-2:]], history[-1]['error']['name']") == (
        "(['alpha = 1', '1 / 0'], 'ZeroDivisionError')"
    )
    assert await rig.text("SHOW_VARS()['alpha'], 'history' in SHOW_VARS()") == "('int 1', False)"


# --- sub-calls --------------------------------------------------------------------------------


async def test_a_thousand_sub_calls_keep_their_order(rig):
    rig.delay = 0.2
    began = time.monotonic()
    code = (
        "r = llm_batch([f'p{i}' for i in range(1000)])\nr == [f're: p{i}' for i in range(1000)], r[5].usage, r[5].model"
    )
    assert await rig.text(code) == "(True, {'input_tokens': 1, 'output_tokens': 2}, 'echo')"
    assert time.monotonic() - began < 10


async def test_large_prompts_flow_through_the_window(rig):
    code = "p = 'é' * 1_000_000\nr = llm_batch([p] * 40)\nlen(r), {len(x) for x in r}"
    assert await rig.text(code) == "(40, {1000004})"


async def test_unusable_prompts_and_options_are_told(rig):
    assert "list of prompts" in (await rig.run("llm_batch('one string')")).error.value
    assert (await rig.run("llm_batch(['x'], model='unknown')")).error.value == "there is no model `unknown`"
    assert await rig.text("llm_batch([]), llm_query_batched(['x'])") == "([], ['re: x'])"


async def test_batches_from_threads_and_refusal_in_forked_processes(rig):
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(8) as pool:\n"
        "    r = list(pool.map(lambda i: llm_batch([f'{i}'])[0], range(40)))\n"
        "r == [f're: {i}' for i in range(40)]"
    )
    assert await rig.text(code) == "True"
    code = (
        "import os\npid = os.fork()\n"
        "if pid == 0:\n"
        "    os.write(1, repr(llm_query('x')).encode())\n"
        "    os._exit(0)\n"
        "_ = os.waitpid(pid, 0)"
    )
    assert "use threads" in await rig.text(code)


async def test_waiting_for_sub_calls_does_not_use_up_the_cells_time(rig):
    rig.delay = 1.5
    result = await rig.run("llm_query('slow')", timeout=0.5)
    assert result.status == "ok"
    assert result.seconds >= 1.5
    assert result.active_seconds < 0.5


async def test_an_interrupted_batch_is_cancelled_and_the_namespace_lives(rig):
    rig.delay = 60
    running = asyncio.ensure_future(rig.run("before = 1\nllm_batch(['a', 'b'])"))
    await asyncio.sleep(1)
    await rig.kernel.interrupt()
    result = await asyncio.wait_for(running, 5)
    assert result.error.name == "KeyboardInterrupt"
    assert await rig.text("before") == "1"


# --- interrupts and deaths --------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    ["import time\ntime.sleep(60)", "while True: pass", "import re\nre.match('(a+)+b', 'a' * 60)", "3 ** 400_000_000"],
)
async def test_a_cell_over_its_time_is_stopped_and_keeps_its_variables(rig, code):
    began = time.monotonic()
    result = await rig.run("kept = 1\nanswer['content'] = 'so far'\n" + code, timeout=0.5)
    assert result.status == "timeout"
    assert result.answer.content == "so far"
    assert time.monotonic() - began < 5
    assert await rig.text("kept") == "1"


async def test_a_cell_that_swallows_interrupts_is_killed_and_the_answer_survives(rig):
    code = (
        "import time\n"
        "answer['content'] = 'so far'\n"
        "print('seen')\n"
        "while True:\n"
        "  try: time.sleep(1)\n"
        "  except BaseException: pass"
    )
    result = await rig.run(code, timeout=0.5)
    assert (result.status, result.death.reason) == ("died", "killed")
    assert (result.answer.content, result.output) == ("so far", "seen\n")
    assert await rig.text("answer['content'], 'time' in globals()") == "('so far', False)"
    assert rig.happened("kernel.died")[0]["reason"] == "killed"
    assert len(rig.happened("kernel.restarted")) == 1


@pytest.mark.parametrize(
    ("code", "detail"),
    [
        ("import os\nos._exit(3)", "exited with status 3"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
        ("import os\nos.kill(os.getpid(), 9)", "killed by SIGKILL"),
    ],
)
async def test_a_crash_is_seen_at_once_and_named(rig, code, detail):
    await rig.run("pass")
    began = time.monotonic()
    result = await rig.run(code)
    assert time.monotonic() - began < 1
    assert (result.status, result.death.reason, result.death.detail) == ("died", "crash", detail)
    assert await rig.text("1 + 1") == "2"


async def test_killing_the_kernels_parent_costs_the_kernel_and_not_the_run(rig):
    await rig.run("answer['content'] = 'kept'")
    result = await rig.run("import os, time\nos.kill(os.getppid(), 9)\ntime.sleep(30)")
    assert result.status == "died"
    assert await rig.text("answer['content']") == "'kept'"


async def test_what_a_dead_kernel_started_dies_with_it(rig):
    await rig.run("import subprocess\np = subprocess.Popen(['sleep', '1000'])\nprint(p.pid)")
    result = await rig.run("import os\nprint(p.pid, flush=True)\nimport time; time.sleep(0.3)\nos._exit(1)")
    pid = int(result.output)
    assert await rig.text(f"import os\nos.path.exists('/proc/{pid}/status')") == "False"


async def test_cancelling_execute_interrupts_the_cell(rig):
    running = asyncio.ensure_future(rig.run("kept = 2\nimport time\ntime.sleep(60)"))
    await asyncio.sleep(0.5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await rig.text("kept") == "2"


async def test_many_kernels_at_once_do_not_mix(make_rig, sandbox):
    rigs = await asyncio.gather(*(make_rig(sandbox) for _ in range(3)))
    await asyncio.gather(*(rig.run(f"me = {i}\nanswer['content'] = 'run {i}'") for i, rig in enumerate(rigs)))
    assert await asyncio.gather(*(rig.text("me, answer['content']") for rig in rigs)) == [
        f"({i}, 'run {i}')" for i in range(3)
    ]


def alive(pids):
    return [pid for pid in pids if os.path.exists(f"/proc/{int(pid)}")]


HOST = """
import asyncio, sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
from rlm.kernels.process import ProcessLauncher
from rlm.kernels.sandbox import SandboxSession
from rlm.kernels.session import KernelSession
from rlm.protocols import SandboxSpec

async def main():
    launcher = ProcessLauncher(python=Path(sys.argv[1]), site=Path(sys.argv[2]))
    sandbox = SandboxSession(launcher, SandboxSpec(run_id="x"), emit=lambda *a, **k: None)
    kernel = KernelSession(sandbox, subcalls=None, emit=lambda *a, **k: None)
    await kernel.start()
    print((await kernel.execute("import os; print(os.getpid(), os.getppid())")).output, flush=True)
    await kernel.execute("while True: pass")

asyncio.run(main())
"""


async def test_a_kernel_without_a_wall_dies_with_a_killed_host_even_while_it_works(sandbox_env):
    program = [sys.executable, "-c", HOST, str(sandbox_env.python), str(sandbox_env.site)]
    host = await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE)
    assert host.stdout is not None
    pids = (await host.stdout.readline()).split()
    host.kill()
    await host.wait()
    for _ in range(100):
        if not alive(pids):
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"still alive: {pids}")
