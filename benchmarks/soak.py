"""Many runs in one process, and what they leave: `python -m benchmarks.soak [--runs N] [--sandbox NAME] [--warm-up N]`.

The scripts take turns: an answer after sub-calls, children, cells that fail and kernels that die, runs that are
interrupted, cancelled, or end in the middle of a batch, an endpoint that fails. The endpoint is a process of its own.
After `--warm-up` runs and after all of them it counts what the process and its sandboxes hold. Exits with 1 if
anything has become more, or memory has grown by more than a tenth.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import multiprocessing
import os
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rlm import RLM
from rlm.kernels import engine, leases, scratch
from rlm.testing import Fault, Reply, ScriptedModelServer, ScriptedRequest

GROWTH = 0.10
"""Of memory, after the warm-up."""
AT_ONCE = 2
"""Runs at a time."""
SETTLE_SECONDS = 10.0
"""How long what ends by itself (a container that the engine removes) may take after the last run."""

ANSWER = "answer['content'] = str(len(out))\nanswer['ready'] = True"
SCRIPTS: dict[str, tuple[str, ...]] = {
    "answered": ("out = llm_batch([f'{context[:9]} {i}' for i in range(50)])", ANSWER),
    "children": (
        "out = rlm_batch(['how many?'] * 3, contexts=[context[:i * 100] for i in (1, 2, 3)])",
        ANSWER,
    ),
    "failing cells": ("1 / 0", "import os\nos._exit(1)", "out = llm_query('x')\nos", f"out = 'x'\n{ANSWER}"),
    "cancelled": ("out = llm_batch(['slow'] * 3)",),
    "interrupted": ("import time\nanswer['content'] = 'draft'\ntime.sleep(60)",),
    "interrupted batch": ("answer['content'] = 'draft'\nout = llm_batch(['slow'] * 20)",),
    "endpoint fails": ("out = 'x'", "FAIL"),
}


class Noted:
    """Everything that this process has made for its sandboxes, as its leases name it. Used as a context manager."""

    def __init__(self) -> None:
        self._all: set[tuple[str, str]] = set()

    def __enter__(self) -> Noted:
        self._note = leases.Lease.note

        def note(lease: leases.Lease, kind: Any, value: str) -> None:
            self._all.add((kind, value))
            self._note(lease, kind, value)

        leases.Lease.note = note  # type: ignore[method-assign, assignment]
        return self

    def __exit__(self, *_: object) -> None:
        leases.Lease.note = self._note  # type: ignore[method-assign]

    def of(self, kind: str) -> set[str]:
        return {value for each, value in self._all if each == kind}

    def cgroups(self) -> int:
        return sum(Path(folder).exists() for folder in self.of("cgroup"))

    def containers(self) -> int:
        names = self.of("container")
        return len(names & {name for name, _ in engine.labelled_containers()}) if names else 0


@dataclass(frozen=True, slots=True)
class Held:
    """What this process, and what it has started, hold."""

    descriptors: int
    threads: int
    tasks: int
    processes: int
    leases: int
    scratch: int
    cgroups: int
    containers: int
    rss: int
    """KiB, after a collection."""


def root(request: ScriptedRequest) -> Any:
    """The question names the script."""
    said = str(request.messages[1]["content"])
    name = next(name for name in sorted(SCRIPTS, key=len, reverse=True) if f"soak: {name}" in said)
    step = SCRIPTS[name][min(request.turn, len(SCRIPTS[name]) - 1)]
    return Fault.http(400, "scripted") if step == "FAIL" else f"```repl\n{step}\n```"


def sub(request: ScriptedRequest) -> Any:
    if request.stream:  # a child's turn
        code = "out = llm_query('leaf')" if request.turn == 0 else "answer['content'] = out\nanswer['ready'] = True"
        return f"```repl\n{code}\n```"
    return Reply(text="late", delay=60) if request.prompt == "slow" else f"reply to {request.prompt[:20]}"


def serve(pipe: Connection) -> None:
    """Runs the endpoint until it is told to stop."""
    with ScriptedModelServer({"root": root, "sub": sub}, record=1) as server:
        pipe.send(server.base_url)
        pipe.recv()


async def play(rlm: RLM, name: str) -> str:
    """One run of this script; says how it ended."""
    question, text = f"soak: {name}", "some text of an input. " * 2000
    if name not in ("cancelled", "interrupted", "interrupted batch"):
        return (await rlm.arun(question, text)).stop_reason
    own = RLM(settings=rlm.settings)
    task = asyncio.create_task(own.arun(question, text))
    await asyncio.sleep(0.9)
    if name == "cancelled":
        task.cancel()
    else:
        own.interrupt()
    try:
        return (await task).stop_reason
    except asyncio.CancelledError:
        return "cancelled"


EXPECTED = {"cancelled": "cancelled", "interrupted": "interrupted", "interrupted batch": "interrupted"}
EXPECTED |= {"endpoint fails": "error"}


async def many(rlm: RLM, count: int, ends: Counter[str]) -> None:
    """So many runs, the scripts in turn. Raises `RuntimeError` for one that ended otherwise than its script says."""
    names = list(SCRIPTS)
    numbers = iter(range(count))

    async def some() -> None:
        for number in numbers:
            name = names[number % len(names)]
            end = await play(rlm, name)
            if end != EXPECTED.get(name, "answered"):
                raise RuntimeError(f"a run of the script {name!r} ended with {end!r}")
            ends[name] += 1

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))


def held(noted: Noted) -> Held:
    """Counted now."""
    containers = noted.containers()
    gc.collect()
    status = Path("/proc/self/status").read_text(encoding="ascii")
    rss = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    children = [path.read_text(encoding="ascii") for path in Path("/proc/self/task").glob("*/children")]
    return Held(
        descriptors=len(os.listdir("/proc/self/fd")),
        threads=threading.active_count(),
        tasks=len(asyncio.all_tasks()),
        processes=sum(len(pids.split()) for pids in children),
        leases=_count(leases.default_root(), "*.json"),
        scratch=_count(scratch.default_root(), "*"),
        cgroups=noted.cgroups(),
        containers=containers,
        rss=rss,
    )


def _count(folder: Path, pattern: str) -> int:
    return len(list(folder.glob(pattern))) if folder.is_dir() else 0


def grown(before: Held, after: Held) -> list[str]:
    """What has become more, in words; nothing if all is well."""
    first, last = asdict(before), asdict(after)
    more = [f"{name}: {first[name]} -> {last[name]}" for name in first if name != "rss" and last[name] > first[name]]
    if after.rss > before.rss * (1 + GROWTH):
        more.append(f"memory: {before.rss:,} KiB -> {after.rss:,} KiB")
    return more


async def settled(noted: Noted, before: Held) -> Held:
    """What is held once everything has had its time to end."""
    until = time.monotonic() + SETTLE_SECONDS
    while grown(before, now := held(noted)) and time.monotonic() < until:  # noqa: ASYNC110
        await asyncio.sleep(0.5)
    return now


async def soak(rlm: RLM, *, runs: int, warm_up: int) -> tuple[Held, Held, Counter[str]]:
    """What is held after the warm-up and after the runs that follow it, and how many there were of each script."""
    ends: Counter[str] = Counter()
    with Noted() as noted:
        await many(rlm, warm_up, Counter())
        await asyncio.sleep(1.0)
        before = held(noted)
        await many(rlm, runs, ends)
        return before, await settled(noted, before), ends


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--warm-up", type=int, default=20)
    parser.add_argument("--sandbox", default="docker")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="the process sandbox has no wall")
    context = multiprocessing.get_context("spawn")
    pipe, far_end = context.Pipe()
    server = context.Process(target=serve, args=(far_end,), daemon=True)
    server.start()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_STATE_HOME"] = folder
        rlm = RLM(model="root", sub_model="sub", base_url=pipe.recv(), sandbox=options.sandbox, depth=2, max_turns=8)
        before, after, ends = asyncio.run(soak(rlm, runs=options.runs, warm_up=options.warm_up))
    pipe.send(None)
    server.join()
    seconds = time.monotonic() - began
    print(f"{options.sandbox}: {sum(ends.values())} runs after {options.warm_up} to warm up, in {seconds:.0f} s")
    print(f"{'':>12} {'before':>10} {'after':>10}")
    for name, value in asdict(before).items():
        print(f"{name:>12} {value:>10,} {asdict(after)[name]:>10,}")
    leaks = grown(before, after)
    for leak in leaks:
        print(f"more than before: {leak}", file=sys.stderr)
    return 1 if leaks else 0


if __name__ == "__main__":
    sys.exit(main())
