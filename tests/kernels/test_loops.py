"""Serial loops over `llm_query` in a real kernel: one wave, the same results, and nothing left under way."""

from __future__ import annotations

import asyncio
import time

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")

COMPREHENSION = "r = [llm_query(f'p{i}') for i in range(50)]"
APPEND = "r = []\nfor i in range(50):\n    prompt = f'p{i}'\n    r.append(llm_query(prompt))"
IN_A_FUNCTION = f"def go(suffix=''):\n    {COMPREHENSION}\n    return r\nr = go()"
EXPECTED = "r == [f're: p{i}' for i in range(50)], type(r[7]).__name__, r[7].model"


def sizes(rig):
    return [size for size, _ in rig.batches]


@pytest.mark.parametrize("code", [COMPREHENSION, APPEND, IN_A_FUNCTION])
async def test_fifty_calls_are_one_wave(rig, code):
    rig.delay = 0.05
    began = time.monotonic()
    assert await rig.text(f"{code}\n{EXPECTED}") == "(True, 'CallResult', 'echo')"
    # As written it would be 2.5 seconds.
    assert time.monotonic() - began < 1
    assert sizes(rig) == [50]
    assert rig.batches[0][1]["loop"] in (1, 2)


async def test_two_hundred_serial_calls_take_about_as_long_as_one_batch(rig):
    rig.delay = 0.05
    await rig.run("chunks = [f'chunk {i} ' * 200 for i in range(200)]")

    async def fastest(code):
        times = []
        for _ in range(3):
            began = time.monotonic()
            assert (await rig.run(code)).status == "ok"
            times.append(time.monotonic() - began)
        return min(times)

    batch = await fastest("b = llm_batch([f'sum {c}' for c in chunks])")
    loop = await fastest("r = []\nfor c in chunks:\n    r.append(llm_query(f'sum {c}'))")
    assert await rig.text("r == b") == "True"
    assert loop < 1.5 * batch + 0.05


async def test_a_thousand_calls_keep_the_pipe_full(rig):
    rig.delay = 0.05
    began = time.monotonic()
    assert await rig.text("r = [llm_query(f'p{i}') for i in range(1000)]\nlen(set(r))") == "1000"
    assert time.monotonic() - began < 3
    assert sum(sizes(rig)) == 1000
    assert max(sizes(rig)) == 256


async def test_switched_off_every_call_is_its_own(make_rig, sandbox):
    rig = await make_rig(sandbox, config={"auto_parallel": False})
    assert await rig.text(f"{COMPREHENSION}\n{EXPECTED}") == "(True, 'CallResult', 'echo')"
    assert sizes(rig) == [1] * 50
    assert await rig.text("import builtins\n[name for name in dir(builtins) if 'rlm' in name]") == "[]"


async def test_the_width_is_the_configurations(make_rig, sandbox):
    rig = await make_rig(sandbox, config={"width": 8})
    rig.delay = 0.02
    assert await rig.text(f"{COMPREHENSION}\n{EXPECTED}") == "(True, 'CallResult', 'echo')"
    assert max(sizes(rig)) == 8


async def test_a_prompt_that_fails_fails_in_its_place(rig, make_rig, sandbox):
    code = "done = []\nx = 0\nfor i in range(10):\n    done.append(llm_query(f'{10 // (5 - i)}'))"
    result = await rig.run(code)
    assert result.error.name == "ZeroDivisionError"
    assert 'File "<cell' in result.error.traceback
    assert "line 4, in <module>" in result.error.traceback
    assert "done.append(llm_query(f'{10 // (5 - i)}'))" in result.error.traceback
    assert result.error.traceback.count("File") == 1
    assert await rig.text("len(done)") == "5"
    assert sizes(rig) == [5]
    plain = await make_rig(sandbox, config={"auto_parallel": False})
    as_written = await plain.run(code)
    assert cellless(result.error.traceback) == cellless(as_written.error.traceback)


def cellless(text):
    return [line for line in text.splitlines() if "File" not in line]


@pytest.mark.parametrize(
    "code",
    [
        "def f(c):\n    return [llm_query(c + x) for x in 'ab']\n\nf(5)",
        "for c in 5:\n    llm_query(c)",
        "r = [llm_query(c, model='unknown') for c in 'abc']",
        "r = [llm_query(c, what=1) for c in 'abc']",
        "del llm_query\nr = [llm_query(c) for c in 'abc']",
        "r = [\n    (llm_query(c),\n     1 / (ord(c) - 98))\n    for c in 'abc'\n]",
    ],
)
async def test_errors_look_as_they_do_without(rig, make_rig, sandbox, code):
    plain = await make_rig(sandbox, config={"auto_parallel": False})
    ours, as_written = await rig.run(code), await plain.run(code)
    assert (ours.error.name, ours.error.value) == (as_written.error.name, as_written.error.value)
    assert cellless(ours.error.traceback) == cellless(as_written.error.traceback)
    assert "guest" not in ours.error.traceback


SLOW_IN_THE_MIDDLE = """
class Slow:
    def __str__(self):
        import time
        time.sleep(60)
slow = Slow()
for i in range(40):
    r.append(llm_query(f'p{i}'))
    if i == 20:
        print(slow)
"""


async def test_an_interrupt_in_the_middle_keeps_what_was_there(rig):
    rig.delay = 0.02
    await rig.run("r = []")
    running = asyncio.ensure_future(rig.run(SLOW_IN_THE_MIDDLE))
    await asyncio.sleep(1)
    await rig.kernel.interrupt()
    result = await asyncio.wait_for(running, 5)
    assert result.error.name == "KeyboardInterrupt"
    assert await rig.text("r == [f're: p{i}' for i in range(21)]") == "True"


async def test_an_interrupt_while_it_waits_cancels_what_is_ahead(rig):
    rig.delay = 60
    running = asyncio.ensure_future(rig.run("before = 1\nr = [llm_query(f'p{i}') for i in range(30)]"))
    await asyncio.sleep(1)
    assert sizes(rig) == [30]
    await rig.kernel.interrupt()
    result = await asyncio.wait_for(running, 5)
    assert result.error.name == "KeyboardInterrupt"
    assert all(batch.cancelled for batch in rig.open)
    rig.delay = 0.0
    assert await rig.text("before, llm_query('next')") == "(1, 're: next')"


async def test_what_is_ahead_of_a_cell_that_failed_is_cancelled_when_it_ends(make_rig, sandbox):
    rig = await make_rig(sandbox, config={"width": 8})
    rig.delay = 0.3
    result = await rig.run("r = [(llm_query(f'p{i}'), 1 // (4 - i)) for i in range(30)]")
    assert result.error.name == "ZeroDivisionError"
    assert sizes(rig)[0] == 8
    assert len(rig.open) > 1
    await rig.text("1")
    assert rig.open[-1].cancelled


async def test_the_cells_time_stands_still_while_a_loop_waits(rig):
    rig.delay = 0.7
    result = await rig.run("r = []\nfor i in range(3):\n    r.append(llm_query(f'p{i}'))", timeout=0.5)
    assert result.status == "ok"
    assert result.active_seconds < 0.5


async def test_forked_processes_are_told_as_ever(rig):
    code = (
        "import os\npid = os.fork()\nif pid == 0:\n"
        "    r = [llm_query(c) for c in 'abc']\n"
        "    os.write(1, repr(r[2]).encode())\n    os._exit(0)\n"
        "_ = os.waitpid(pid, 0)"
    )
    assert "use threads" in await rig.text(code)


@pytest.mark.parametrize(
    "code",
    [
        f"import asyncio\nawait asyncio.sleep(0.01)\n{COMPREHENSION}",
        f"async def go():\n    {COMPREHENSION}\n    return r\nr = await go()",
        f"%%time\n{COMPREHENSION}",
        f"!true\n{APPEND}",
        f"if True:\n    {COMPREHENSION}",
    ],
)
async def test_cells_of_every_kind(rig, code):
    assert (await rig.run(code)).status == "ok"
    assert await rig.text(EXPECTED) == "(True, 'CallResult', 'echo')"
    assert sizes(rig) == [50]


async def test_an_interrupt_reaches_a_cell_that_can_wait_in_the_event_loop(rig):
    rig.delay = 60
    running = asyncio.ensure_future(rig.run(f"import asyncio\nawait asyncio.sleep(0.01)\n{COMPREHENSION}"))
    await asyncio.sleep(1)
    assert sizes(rig) == [50]
    await rig.kernel.interrupt()
    result = await asyncio.wait_for(running, 5)
    assert result.error is not None
    assert all(batch.cancelled for batch in rig.open)


async def test_the_source_of_a_function_is_as_written(rig):
    code = "def go(cs):\n    return [llm_query(c) for c in cs]"
    assert await rig.text(f"{code}\nimport inspect\nprint(inspect.getsource(go))") == code
