"""Children of a parent with a large context: how soon one is ready, what it takes, and ten or a hundred of them.

Two parts, forked kernels beside fresh ones in each round:

    ready     one child alone, from the request to a kernel that can run a cell
    N x 2     N children that run two cells each, at most 16 alive at a time: wall time, private memory of each

and a whole run: a root that has N children answer, two turns each, by a scripted endpoint without delay.

    python -m benchmarks.recursion [--sandbox docker] [--megabytes 1024] [--children 10 100]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import tempfile
import time
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rlm import RLM
from rlm.context import PreparedInput, prepare
from rlm.kernels.sandbox import SandboxSession
from rlm.kernels.select import Name, choose
from rlm.kernels.session import KernelSession
from rlm.protocols import SandboxSpec
from rlm.testing import ScriptedModelServer, Turns

ALIVE = 16
PRIVATE = (
    "rows = dict(line.split(':') for line in open('/proc/self/smaps_rollup').read().splitlines()[1:])\n"
    "private = int(rows['Private_Dirty'].split()[0]) // 1024\n"
)
LOOK = "n = len(context)\npart = context[n // 2 : n // 2 + 1000]\n"


class NoCalls:
    def open_batch(self, size: int, options: Any, deliver: Any) -> Any:
        raise ValueError("no sub-calls here")


def emit(*_: Any, **__: Any) -> None: ...


def write_input(path: Path, megabytes: int) -> None:
    line = ("The quick brown fox jumps over the lazy dog. " * 22)[:1023] + "\n"
    with path.open("w", encoding="ascii") as file:
        for _ in range(megabytes):
            file.write(line * 1024)


@asynccontextmanager
async def parent(name: Name, prepared: PreparedInput, *, fresh: bool) -> AsyncIterator[SandboxSession]:
    launcher = await choose(name)
    config: dict[str, Any] = {"input": prepared.config if name != "process" else prepared.local_config()}
    config |= {"children": True, "fresh_kernels": fresh}
    memory = prepared.memory + (ALIVE + 1) * (1 << 28)
    spec = SandboxSpec("bench", mounts=prepared.mounts, memory=memory, pids=256 + 16 * ALIVE, config=config)
    sandbox = SandboxSession(launcher, spec, emit=emit)
    root = KernelSession(sandbox, subcalls=NoCalls(), emit=emit)
    await root.start()
    try:
        yield sandbox
    finally:
        await root.aclose()
        await sandbox.aclose()


def child_of(sandbox: SandboxSession) -> KernelSession:
    options = {"context": {"as": "input"}, "context_key": "input"}
    return KernelSession(sandbox, subcalls=NoCalls(), emit=emit, root=False, options=options)


async def ready(sandbox: SandboxSession, count: int) -> list[float]:
    times = []
    for _ in range(count):
        kernel = child_of(sandbox)
        began = time.perf_counter()
        await kernel.start()
        times.append((time.perf_counter() - began) * 1000)
        await kernel.aclose()
    return times


async def two_cells(sandbox: SandboxSession, gate: asyncio.Semaphore) -> int:
    """Private megabytes of one child after two cells."""
    async with gate:
        kernel = child_of(sandbox)
        await kernel.start()
        try:
            await kernel.execute(LOOK)
            return int((await kernel.execute(PRIVATE + "print(private)")).output)
        finally:
            await kernel.aclose()


async def many(sandbox: SandboxSession, count: int) -> tuple[float, list[int]]:
    gate = asyncio.Semaphore(ALIVE)
    began = time.perf_counter()
    private = await asyncio.gather(*(two_cells(sandbox, gate) for _ in range(count)))
    return time.perf_counter() - began, private


def serve(pipe: Connection, count: int) -> None:
    """Plays the root and its children until it is told to stop."""
    root = f"```repl\nanswer['content'] = ' '.join(rlm_batch(['?'] * {count}, [context] * {count}, cache=False))\n"
    child = [f"```repl\n{LOOK}```", f"```repl\n{PRIVATE}answer.update(content=str(private), ready=True)\n```"]
    with ScriptedModelServer({"root": f"{root}answer['ready'] = True\n```", "child": Turns(child)}, record=1) as server:
        pipe.send(server.base_url)
        pipe.recv()


async def whole_run(name: Name, path: Path, count: int) -> tuple[float, list[float], list[int]]:
    """Seconds of the batch of children, milliseconds until each kernel was ready, private megabytes of each."""
    pipe, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, count))
    server.start()
    try:
        options: dict[str, Any] = {"sandbox": name, "depth": 2, "memory": "8g"}
        rlm = RLM(model="root", sub_model="child", base_url=pipe.recv(), **options)
        events = [event async for event in rlm.stream("?", inputs=[path])]
    finally:
        pipe.send("stop")
        server.join()
    (batch,) = (event for event in events if event["type"] == "batch.completed")
    started = [e["seconds"] * 1000 for e in events if e["type"] == "kernel.started" and e["rollout"] != "0"]
    answer = events[-1]["result"]["answer"]
    return batch["seconds"], started, [int(word) for word in answer.split()]


def figures(values: list[float] | list[int]) -> str:
    ordered = sorted(values)
    return f"median {statistics.median(ordered):7.1f}   p95 {ordered[int(len(ordered) * 0.95)]:7.1f}"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sandbox", default="docker", choices=["docker", "bwrap", "process"])
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--children", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--alone", type=int, default=20)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="the process sandbox has no wall")
    with tempfile.TemporaryDirectory(prefix="rlm-bench-") as folder:
        path = Path(folder) / "input.txt"
        write_input(path, options.megabytes)
        prepared = prepare([path], spool_dir=Path(folder) / "spool", foreign_uid=options.sandbox != "process")
        kind = prepared.items[0].kind
        print(f"{options.sandbox}, a context of {options.megabytes:,} MB ({kind}), at most {ALIVE} children alive")
        for fresh in (False, True):
            how = "fresh" if fresh else "forked"
            async with parent(options.sandbox, prepared, fresh=fresh) as sandbox:
                await ready(sandbox, 2)
                print(f"{how:>7} ready, alone         ms {figures(await ready(sandbox, options.alone))}")
                for count in options.children:
                    wall, private = await many(sandbox, count)
                    print(f"{how:>7} {count:3} x 2 cells  wall {wall:6.2f} s   private MB {figures(private)}")
        for count in options.children:
            wall, started, private = await whole_run(options.sandbox, path, count)
            print(
                f"    run {count:3} x 2 turns  wall {wall:6.2f} s   private MB {figures(private)}"
                f"   kernel ready ms {figures(started)}"
            )
        print(json.dumps({"copied": sorted(p.name for p in (Path(folder) / "spool").glob("*"))}))


if __name__ == "__main__":
    asyncio.run(main())
