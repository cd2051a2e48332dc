"""Cold start and per-turn overhead of each sandbox: `python -m benchmarks.turns [--turns N] [--starts N]`.

Cold start: from nothing to the first result. Turn: `x = i`, sent, executed and reported, without a
model. Prints medians and 95th percentiles in milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
import warnings
from typing import Any

from rlm.kernels import environment, image
from rlm.kernels.bwrap import BwrapLauncher
from rlm.kernels.docker import DockerLauncher
from rlm.kernels.process import ProcessLauncher
from rlm.kernels.session import KernelSession
from rlm.protocols import Launcher, SandboxSpec


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


def session(launcher: Launcher) -> KernelSession:
    return KernelSession(launcher, SandboxSpec(run_id="bench"), subcalls=NoCalls(), emit=lambda *_, **__: None)


async def cold_start(launcher: Launcher) -> float:
    began = time.perf_counter()
    kernel = session(launcher)
    await kernel.start()
    await kernel.execute("x = 1")
    took = time.perf_counter() - began
    await kernel.aclose()
    return took * 1000


async def turns(launcher: Launcher, count: int) -> list[float]:
    kernel = session(launcher)
    await kernel.start()
    times = []
    for i in range(count):
        began = time.perf_counter()
        await kernel.execute(f"x = {i}")
        times.append((time.perf_counter() - began) * 1000)
    await kernel.aclose()
    return times


def row(name: str, times: list[float]) -> str:
    times = sorted(times)
    figures = statistics.median(times), times[int(len(times) * 0.95)], times[0]
    return f"{name:>10} " + " ".join(f"{figure:8.1f}" for figure in figures) + f" {len(times):5}"


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=50)
    parser.add_argument("--starts", type=int, default=7)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="the process sandbox has no wall")
    found = launchers()
    for title, measure in (("cold start", None), ("turn", options.turns)):
        print(f"{title} (ms)\n{'sandbox':>10} {'median':>8} {'p95':>8} {'min':>8} {'n':>5}")
        for name, launcher in found.items():
            if measure:
                times = await turns(launcher, measure)
            else:
                times = [await cold_start(launcher) for _ in range(options.starts)]
            print(row(name, times), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
