"""Cells that write on the bridge themselves: what is no frame, what is none of theirs to ask, and too much of it."""

from __future__ import annotations

import ast
import asyncio
import json
from typing import Any

import pytest

from tests.attacks.attack import Attack, arm, case, cases, recovered, revive, strike
from tests.tree.conftest import FINISH, Stage, cell

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(110)]

RAW = """
import json, os, struct, time
guest = get_ipython().kernel.guest
end = guest.bridge._socket
def body(data): return struct.pack(">I", len(data)) + data
def frame(**message): return body(json.dumps({"v": 1, **message}).encode())
def send(data):
    data = memoryview(data)
    while data: data = data[end.send(data):]
"""


def raw(name: str, code: str, **more: Any) -> Attack:
    return Attack(name=name, outcome=more.pop("outcome", "bridge closed"), code=RAW + code, **more)


ATTACKS = (
    raw("garbage", "send(os.urandom(1 << 16))"),
    raw("frame of 4 GB announced", "send(b'\\xff\\xff\\xff\\xff' + b'x' * 1000)"),
    raw("frame that is not JSON", "send(body(b'{'))"),
    raw("frame that is not an object", "send(body(b'[1]'))"),
    raw("frame that is not UTF-8", "send(body(b'\\xff' * 100))"),
    raw("JSON nested deep", "send(body(b'[' * 2_000_000))"),
    raw("JSON nested deep within a message", 'send(body(b\'{"v":1,"id":1,"op":"output","text":\' + b\'[\' * 500_000))'),
    raw("number of a million digits", 'send(body(b\'{"v":1,"id":\' + b\'9\' * 1_000_000 + b\',"op":"cancel"}\'))'),
    raw("unknown operation", "send(frame(op='raise_depth', id=1))"),
    raw("tool of the sub-LLMs called by the root", "send(frame(op='tool', id=1, name='search', arguments='{}'))"),
    raw("function where there is none", "send(frame(op='function', id=1, name='search', args=[], kwargs={}))"),
    raw("control message of the agent", "send(frame(op='exited', id=1, kernel=1, status=0))"),
    raw("id that is no number", "send(frame(op='batch', id='x', n=1, opts={}))"),
    raw("id used again", "for _ in range(2): send(frame(op='batch', id=77, n=2, opts={}))"),
    raw(
        "prompt sent twice",
        "send(frame(op='batch', id=77, n=2, opts={}))\n"
        "for _ in range(2): send(frame(op='prompts', id=77, start=0, items=['x']))",
    ),
    raw(
        "prompts outside of their batch",
        "send(frame(op='batch', id=77, n=2, opts={}))\nsend(frame(op='prompts', id=77, start=1, items=['x', 'y']))",
    ),
    raw("10,000 batches", "send(b''.join(frame(op='batch', id=n, n=9, opts={}) for n in range(1, 10_001)))"),
    raw("requests without end", "send(b''.join(frame(op='install', id=n, names=[]) for n in range(1, 10_001)))"),
    raw("answer that is none", "send(frame(op='answer', id=0, content=1, ready='yes', version=None))"),
    raw(
        "answer of 5 million characters",
        "send(frame(op='answer', id=0, content='x' * 5_000_000, ready=False, version=99))",
    ),
    raw(
        "frames without end",
        "try:\n    for _ in range(100): send(frame(op='cancel', id=1) * 50_000)\nexcept OSError as e: print('cut off')",
        within=30,
        says="cut off",
        slow=True,
    ),
    raw(
        "batch larger than any",
        "from guest.wire import bridge_frame\nseen = []\n"
        "number = guest.bridge.open(seen.append)\n"
        "guest.bridge.send({'op': 'batch', 'id': number, 'n': 10**9, 'opts': {}})\n"
        "while not seen: time.sleep(0.01)\nprint(seen[0]['error'])",
        outcome="refused",
        says="a batch holds 1 to 100,000 prompts",
    ),
    raw(
        "cancelling and answering what nobody asked",
        "for n in range(1000): send(frame(op='cancel', id=n) + frame(op='prompts', id=n, start=0, items=['x']))",
        outcome="harmless",
    ),
)


@cases(*ATTACKS)
async def test_cell(shared, sandbox: str, attack: Attack) -> None:
    rig = await shared(sandbox)
    await strike(rig, attack)
    # All the sub-calls that there are came from the harmless cells around it.
    assert {size for size, _ in rig.batches} <= {1, 2, 9}


@case("half a frame, byte by byte (slow loris)", "kernel replaced")
async def test_slow_loris(shared, sandbox: str) -> None:
    """Whoever leaves a frame half sent waits for ever, and is stopped like any cell that takes too long."""
    rig = await shared(sandbox)
    await arm(rig)
    # Where the kernel's own threads send a frame meanwhile, the stream is broken at once.
    code = (
        RAW + "try:\n    for byte in frame(op='batch', id=1, n=1, opts={})[:-1]:\n"
        "        send(bytes([byte]))\n        time.sleep(0.01)\n"
        "except OSError: print('cut off')\n"
    )
    assert (await rig.run(code)).status == "ok"
    other = rig.new_kernel(root=False, options={"context": {"as": "none"}, "context_key": "k"})
    await other.start()
    try:
        # Meanwhile another kernel of the run has its sub-calls.
        assert (await other.execute("llm_query('y')", timeout=5)).output.strip() == "'re: y'"
        result = await rig.run("llm_query('x')", timeout=0.5)
        assert result.status in {"timeout", "died", "ok"}, result
    finally:
        await other.aclose()
    rig.events.clear()
    await revive(rig)


@case("10,000 connections to the kernel's own socket", "limited")
async def test_connections(shared, sandbox: str) -> None:
    """The only sockets to connect to are the kernel's own; the host listens nowhere."""
    rig = await shared(sandbox)
    code = (
        "import errno, re, socket\n"
        "names = re.findall(r'@(rlm-\\S+-1)', open('/proc/net/unix').read())\n"
        "made = []\n"
        "try:\n"
        "    for _ in range(10_000):\n"
        "        made.append(socket.socket(socket.AF_UNIX))\n"
        "        made[-1].setblocking(False)\n"
        "        made[-1].connect('\\0' + names[0])\n"
        "except OSError as error: print(errno.errorcode[error.errno], len(made) < 5000)\n"
        "finally: [each.close() for each in made]"
    )
    await strike(rig, Attack(name="", outcome="limited", code=code, says="(EMFILE|EAGAIN|ECONNREFUSED) True"))


@case("the socket and the kernel of another run", "own run only")
async def test_two_runs_do_not_find_each_other(make, sandbox: str) -> None:
    first, second = await asyncio.gather(make(sandbox), make(sandbox))
    mark = "import socket\ns = socket.socket(socket.AF_UNIX); s.bind('\\0mark-of-{0}'); s.listen()\n"
    mark += "open('/tmp/mark-of-{0}', 'w').close(); open('/dev/shm/mark-of-{0}', 'w').close()\n"
    mark += "import os\nprint([os.readlink('/proc/self/ns/' + n) for n in ('net', 'ipc', 'pid', 'mnt')])"
    facts = [await rig.text(mark.format(name)) for rig, name in ((first, "first"), (second, "second"))]
    spaces = [set(ast.literal_eval(each)) for each in facts]
    assert len(spaces[0] | spaces[1]) == 8
    look = (
        "import os, socket\n"
        "found = [n for n in ('/tmp/mark-of-{0}', '/dev/shm/mark-of-{0}') if os.path.exists(n)]\n"
        "found += ['socket'] if 'mark-of-{0}' in open('/proc/net/unix').read() else []\n"
        "try: socket.socket(socket.AF_UNIX).connect('\\0mark-of-{0}'); found.append('connected')\n"
        "except OSError: pass\n"
        "print(found)"
    )
    for rig, own, other in ((first, "first", "second"), (second, "second", "first")):
        assert await rig.text(look.format(other)) == "[]"
        assert "connected" in await rig.text(look.format(own))
    await arm(second)
    await first.run("import os, time\nos.kill(-1, 9)\ntime.sleep(9)")
    await recovered(second)


# --- what is decided on the host ------------------------------------------------------------------

ASK = """
import json, os, time
guest = get_ipython().kernel.guest
bridge = guest.bridge
def ask(options, items):
    seen = []
    number = bridge.open(seen.append)
    bridge.send({"op": "batch", "id": number, "n": len(items), "opts": options})
    bridge.send({"op": "prompts", "id": number, "start": 0, "items": items})
    while not any(m["op"] in ("done", "closed") for m in seen): time.sleep(0.01)
    return seen
child = {"query": "q", "context": {"as": "none"}, "key": "k", "look": "l"}
"""


@case("raising the depth: options, environment, patched guest code", "refused")
async def test_depth(stage: Stage, sandbox: str) -> None:
    root = cell(
        ASK
        + "found = [ask({'recursive': True, **more}, [child]) for more in ({}, {'depth': 5}, {'max_turns': 10**9})]\n"
        + "os.environ['RLM_DEPTH'] = '9'\nguest.depth = 9\nrlm_batch.__self__._deeper = True\n"
        + "found.append(repr(rlm_query('q', 'c')))\n"
        + f"answer['content'] = json.dumps(found)\n{FINISH}"
    )
    result = await stage.run({"root": root, "sub": "x"}, sandbox=sandbox)
    assert (result.stop_reason, result.usage.sub.calls) == ("answered", 0)
    assert stage.of("child.started") == []
    assert stage.prompts("sub") == []


@case("raising the budget: options, environment, patched guest code", "refused")
async def test_budget(stage: Stage, sandbox: str) -> None:
    root = cell(
        ASK + "options = [{'max_sub_calls': 10**9}, {'budget': 10**9}, {'max_tokens': 10**9}, {'max_cost': 1e9}, "
        "{'priority': 1}]\n"
        + "found = [ask(each, ['paid?']) for each in options]\n"
        + "os.environ.update(RLM_MAX_SUB_CALLS='999', RLM_MAX_TOKENS='999999999')\n"
        + "for name in list(vars(guest)):\n"
        + "    if 'budget' in name or 'limit' in name: setattr(guest, name, 10**9)\n"
        + "replies = llm_batch([f'n{i}' for i in range(20)])\n"
        + "kinds = [getattr(r, 'kind', 'ok') for r in replies]\n"
        + f"answer['content'] = json.dumps([found, kinds])\n{FINISH}"
    )
    result = await stage.run({"root": root, "sub": "x"}, sandbox=sandbox, max_sub_calls=5)
    found, kinds = json.loads(result.answer)
    assert sorted(kinds) == ["budget"] * 15 + ["ok"] * 5
    assert all("error" in each[-1] and each[-1]["error"] for each in found), found
    assert len(stage.prompts("sub")) == 5
    assert result.usage.sub.calls == 5


SEARCH = """
seen = []
for op, fields in (("function", {"name": "search", "args": ["x"], "kwargs": {}}), ("tool", {"name": "search"})):
    try: seen.append(str(bridge.request(op, **fields)))
    except Exception as error: seen.append(type(error).__name__)
"""


@case("the root calling a tool that is for sub-LLMs only", "refused")
async def test_tools_of_sub_llms(stage: Stage, sandbox: str) -> None:
    called = []

    def search(query: str) -> str:
        called.append(query)
        return "secret"

    root = [
        cell(ASK + SEARCH + "print(seen, 'search' in globals())"),
        cell(f"answer['content'] = str(len(context))\n{FINISH}"),
    ]
    result = await stage.run({"root": root, "sub": "x"}, context="text", sandbox=sandbox, tools=[search])
    assert (called, result.answer, result.stop_reason) == ([], "4", "answered")
    assert len(stage.of("protocol.error")) == 1
