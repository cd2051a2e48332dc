"""Many runs in one process: 3 turns and 5 sub-calls each, beside the same work in other packages.

    python -m benchmarks.many_runs [--runs 64 512] [--workers 64] [--sandbox docker bwrap] [--rounds 3]
                                   [--rlms VENV/bin/python] [--minrlm VENV/bin/python]

`cold`: sandboxes start when their run begins. `steady`: those of the first runs are started before the clock, which is
how a batch goes on once it has begun; the time that this took is `fill`. `answers` is when the last run had its answer,
`wall` when the last result is in its file and the last sandbox is gone. `right` counts the answers that are what they
must be. Memory is the peak of the process, and how far the machine's available memory fell, which has sandboxes and
engine in it.

The packages `rlms` and `minrlm` are each run by the Python of a virtual environment of their own, in which they are
installed (`rlms` has the same import name as we have), in as many threads as there are runs at a time. Neither has a
sandbox here: they execute the code in the process that asks. All ask one scripted server in a process of its own,
which answers each request after 50 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

QUESTION = "What is the sum?"
DELAY = 0.05
SUBS = 5

OURS = (
    "```repl\nprint(len(context))\n```",
    f'```repl\nr = llm_batch([f"[sub] {{k}} of {{context}}" for k in range({SUBS})])\nprint(r)\n```',
    '```repl\nanswer["content"] = str(sum(map(int, r)))\nanswer["ready"] = True\n```',
)
RLMS = (OURS[0], OURS[1].replace("llm_batch", "llm_query_batched"), OURS[2])
MINRLM = (
    "```python\nprint(len(input_0))\n```",
    f'```python\nr = sub_llm_batch([(f"[sub] {{k}}", input_0) for k in range({SUBS})])\nprint(r)\n```',
    "```python\nFINAL(str(sum(map(int, r))))\n```",
)


def context_of(number: int) -> str:
    return f"document {number}."


def right(number: int) -> str:
    return str(sum(7 * number + k for k in range(SUBS)))


# --- the endpoint


def serve(pipe: Any) -> None:
    from rlm.testing import ScriptedModelServer

    replies = {name: _model(turns) for name, turns in (("ours", OURS), ("rlms", RLMS), ("minrlm", MINRLM))}
    with ScriptedModelServer({**replies, "sub": _sub}, delay=DELAY, record=1) as server:
        pipe.send(server.base_url)
        pipe.recv()


def _model(turns: tuple[str, ...]) -> Any:
    def reply(request: Any) -> str:
        return _sub(request) if "[sub]" in request.prompt else turns[min(request.turn, len(turns) - 1)]

    return reply


def _sub(request: Any) -> str:
    k, number = re.search(r"\[sub\] (\d+)", request.prompt), re.search(r"document (\d+)\.", request.prompt)
    assert k is not None
    assert number is not None
    return str(7 * int(number[1]) + int(k[1]))


# --- memory


class Memory:
    """How far the machine's available memory falls while it is watched, in MB."""

    def __init__(self) -> None:
        self._before = self._lowest = available()
        self._over = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            self._lowest = min(self._lowest, available())

    def close(self) -> int:
        self._over.set()
        return (self._before - self._lowest) >> 10


def available() -> int:
    """Kilobytes."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))


# --- ours


class Filled:
    """An executor whose first `count` runs are all made ready before any begins."""

    def __init__(self, executor: Any, count: int) -> None:
        self.ahead = executor.ahead
        self._executor = executor
        self._missing = count
        self._begun = time.perf_counter()
        self.ready = asyncio.Event()
        self.fill = self.answered = 0.0

    async def play(self, task: Any, run_id: str, gate: Any) -> Any:
        came = False

        @asynccontextmanager
        async def together() -> Any:
            nonlocal came
            came = True
            self._one_more()
            await self.ready.wait()
            async with gate():
                yield
            self.answered = time.perf_counter() - self._begun - self.fill

        try:
            return await self._executor.play(task, run_id, together)
        finally:
            if not came:  # it failed, and will be among those that are not right
                self._one_more()

    def _one_more(self) -> None:
        self._missing -= 1
        if self._missing == 0:
            self.fill = time.perf_counter() - self._begun
            self.ready.set()

    async def aclose(self) -> None:
        await self._executor.aclose()


async def ours(base_url: str, options: Any, folder: Path) -> dict[str, Any]:
    from rlm import Settings
    from rlm.batches import BatchTask
    from rlm.batches.batch import Batch
    from rlm.batches.local import LocalExecutor

    settings = Settings(model="ours", sub_model="sub", base_url=base_url, sandbox=options.only, prices={})
    tasks = [BatchTask(f"t{number}", QUESTION, context=context_of(number)) for number in range(options.n)]
    workers = min(options.workers, options.n)
    batch = Batch(settings, tasks, folder)
    ahead = min(options.ahead, options.n - workers)
    filled = Filled(LocalExecutor(batch.settings, ahead=ahead), workers + ahead if options.steady else 1)
    good = 0
    began = time.perf_counter()
    async with aclosing(batch.play(filled, workers=workers)) as coming:
        async for done in coming:
            good += done.result.answer == right(int(done.task.id[1:]))
    wall = time.perf_counter() - began
    batch.close()
    if not options.steady:
        return {"wall": wall, "answers": filled.answered + filled.fill, "fill": 0.0, "right": good}
    return {"wall": wall - filled.fill, "answers": filled.answered, "fill": filled.fill, "right": good}


# --- the others, in their own environments


def rlms(base_url: str, number: int) -> str:
    from rlm import RLM

    kwargs = {"model_name": "rlms", "base_url": base_url, "api_key": "none"}
    model: Any = RLM(backend="openai", backend_kwargs=kwargs, environment="local", max_iterations=6)
    return str(model.completion(context_of(number), root_prompt=QUESTION).response)


def minrlm(base_url: str, number: int) -> str:
    from minrlm import RLM  # type: ignore[import-not-found, unused-ignore]

    return str(RLM(model="minrlm", base_url=base_url, api_key="none").completion(QUESTION, context_of(number)).response)


def peer(base_url: str, options: Any) -> dict[str, Any]:
    play = {"rlms": rlms, "minrlm": minrlm}[options.only]
    play(base_url, 0)  # imports are not counted
    good = 0
    began = time.perf_counter()
    with ThreadPoolExecutor(min(options.workers, options.n)) as pool:
        for number, going in enumerate([pool.submit(play, base_url, number) for number in range(options.n)]):
            error = going.exception()
            good += error is None and going.result() == right(number)
    wall = time.perf_counter() - began
    return {"wall": wall, "answers": wall, "fill": 0.0, "right": good}


# --- one measurement in a process of its own, and all of them


def measure(options: Any) -> None:
    memory = Memory()
    if options.only in ("rlms", "minrlm"):
        sys.stdout, shown = open(os.devnull, "w", encoding="utf-8"), sys.stdout  # noqa: SIM115
        found = peer(options.base_url, options)
        sys.stdout = shown
    else:
        warnings.filterwarnings("ignore", message="the process sandbox has no wall")
        with tempfile.TemporaryDirectory() as folder:
            found = asyncio.run(ours(options.base_url, options, Path(folder)))
    found["process"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    found["machine"] = memory.close()
    print(json.dumps(found))


def measured(base_url: str, options: Any, python: str, only: str, n: int, *, steady: bool) -> dict[str, Any]:
    command = [python, str(Path(__file__).resolve()), "--only", only, "--n", str(n), "--base-url", base_url]
    command += ["--workers", str(options.workers), "--ahead", str(options.ahead), *(["--steady"] if steady else [])]
    own = python == sys.executable
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1]) if own else ""}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if ran.returncode:
        raise SystemExit(f"{only}: {ran.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return result


def compare(options: Any) -> None:
    context = multiprocessing.get_context("spawn")
    pipe, far_end = context.Pipe()
    server = context.Process(target=serve, args=(far_end,), daemon=True)
    server.start()
    base_url = pipe.recv()
    print(f"{options.workers} at a time, {DELAY * 1000:g} ms per request, medians of {options.rounds}\n")
    head = (
        "runs",
        "what",
        "answers s",
        "min",
        "wall s",
        "min",
        "fill s",
        "runs/s",
        "right",
        "process MB",
        "machine MB",
    )
    print(f"{head[0]:>5} {head[1]:16}" + "".join(f"{name:>11}" for name in head[2:]))
    for n in options.runs:
        sides = [(f"{name} {kind}", sys.executable, name) for name in options.sandbox for kind in ("cold", "steady")]
        sides += [(name, python, name) for name in ("rlms", "minrlm") if (python := getattr(options, name))]
        found: dict[str, list[dict[str, Any]]] = {name: [] for name, *_ in sides}
        for _ in range(options.rounds):
            for name, python, only in sides:
                found[name].append(measured(base_url, options, python, only, n, steady=name.endswith("steady")))
        for name, rounds in found.items():
            times = {what: [each[what] for each in rounds] for what in ("answers", "wall")}
            wall = statistics.median(times["wall"])
            figures = [f"{of(each):.2f}" for each in times.values() for of in (statistics.median, min)]
            figures.append(f"{statistics.median(each['fill'] for each in rounds):.1f}" if "steady" in name else "")
            figures += [f"{n / wall:.1f}", f"{min(each['right'] for each in rounds)}/{n}"]
            figures += [str(max(each[what] for each in rounds)) for what in ("process", "machine")]
            print(f"{n:5} {name:16}" + "".join(f"{figure:>11}" for figure in figures), flush=True)
    pipe.send(None)
    server.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[64, 512])
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--ahead", type=int, default=8)
    parser.add_argument("--sandbox", nargs="+", default=["docker", "bwrap"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rlms", help="the Python of an environment with this package")
    parser.add_argument("--minrlm", help="the Python of an environment with this package")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--n", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--base-url", help=argparse.SUPPRESS)
    parser.add_argument("--steady", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        measure(options)
    else:
        compare(options)


if __name__ == "__main__":
    main()
