"""Cold start and per-turn overhead of each sandbox: `python -m benchmarks.turns [--turns N] [--starts N]`.

Cold start: from nothing to the first result. Cell: `x = i`, sent, executed and reported. Turn: a whole turn of a
run, from one cell's end to the next one's, against a scripted endpoint without delay in a process of its own: the
request, its streamed reply, the cell, the observation, the trace. Prints medians and 95th percentiles in milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import multiprocessing
import statistics
import time
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from typing import Any

from rlm import RLM
from rlm.kernels import environment, image
from rlm.kernels.bwrap import BwrapLauncher
from rlm.kernels.docker import DockerLauncher
from rlm.kernels.process import ProcessLauncher
from rlm.kernels.sandbox import SandboxSession
from rlm.kernels.session import KernelSession
from rlm.protocols import Launcher, SandboxSpec
from rlm.testing import ScriptedModelServer, Turns


class NoCalls:
    def open_batch(self, size: int, options: Any, deliver: Any) -> Any:
        raise ValueError("no sub-calls here")


def launchers() -> dict[str, Launcher]:
    env = environment.ensure()
    return {
        "docker": DockerLauncher(image=image.ensure()),
        "bwrap": BwrapLauncher(root=env.root),
        "process": ProcessLauncher(python=env.python, site=env.site),
    }


@asynccontextmanager
async def session(launcher: Launcher) -> AsyncIterator[KernelSession]:
    def emit(*_: Any, **__: Any) -> None: ...

    sandbox = SandboxSession(launcher, SandboxSpec(run_id="bench"), emit=emit)
    kernel = KernelSession(sandbox, subcalls=NoCalls(), emit=emit)
    await kernel.start()
    try:
        yield kernel
    finally:
        await kernel.aclose()
        await sandbox.aclose()


async def cold_start(launcher: Launcher) -> float:
    began = time.perf_counter()
    async with session(launcher) as kernel:
        await kernel.execute("x = 1")
        return (time.perf_counter() - began) * 1000


def serve(pipe: Connection, turns: int) -> None:
    """Runs the endpoint until it is told to stop."""
    cells = [f"```repl\nx = {i}\n```" for i in range(turns)]
    with ScriptedModelServer(
        Turns([*cells, "```repl\nanswer.update(content='done', ready=True)\n```"]), record=1
    ) as server:
        pipe.send(server.base_url)
        pipe.recv()


async def turns(name: Any, base_url: str, count: int) -> list[float]:
    rlm = RLM(model="root", base_url=base_url, sandbox=name, max_turns=count + 2)
    ends = [event["ts"] async for event in rlm.stream("?", "") if event["type"] == "cell.completed"]
    return [(end - begin) * 1000 for begin, end in itertools.pairwise(ends)]


async def cells(launcher: Launcher, count: int) -> list[float]:
    times = []
    async with session(launcher) as kernel:
        for i in range(count):
            began = time.perf_counter()
            await kernel.execute(f"x = {i}")
            times.append((time.perf_counter() - began) * 1000)
    return times


def row(what: str, name: str, times: list[float]) -> str:
    times = sorted(times)
    figures = statistics.median(times), times[int(len(times) * 0.95)], times[0]
    return f"{what:>12} {name:>8} " + " ".join(f"{figure:8.1f}" for figure in figures) + f" {len(times):5}"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=50)
    parser.add_argument("--starts", type=int, default=7)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="the process sandbox has no wall")
    context = multiprocessing.get_context("spawn")
    pipe, far_end = context.Pipe()
    server = context.Process(target=serve, args=(far_end, options.turns), daemon=True)
    server.start()
    base_url = pipe.recv()
    found = launchers()
    print(f"{'ms':>21} {'median':>8} {'p95':>8} {'min':>8} {'n':>5}")
    for name, launcher in found.items():
        print(row("cold start", name, [await cold_start(launcher) for _ in range(options.starts)]), flush=True)
    for name, launcher in found.items():
        print(row("cell", name, await cells(launcher, options.turns)), flush=True)
    for name in found:
        print(row("turn", name, await turns(name, base_url, options.turns)), flush=True)
    pipe.send(None)
    server.join()


if __name__ == "__main__":
    asyncio.run(main())
