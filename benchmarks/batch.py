"""`llm_batch` of 1,000 prompts from inside a sandbox, beside bare clients making the same calls.

    python -m benchmarks.batch [--sandbox docker] [--calls 1000] [--concurrency 256] [--delay 0.05] [--rounds 5]

The sandbox's figure is a whole run's cell, with scheduler, ledger, memo and trace: from the first line of
the cell to the report of its end. Everything asks one scripted server in a process of its own, in
interleaved rounds. Prints medians, the highest concurrency that the server saw, and the two ratios that matter.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.clients import CLIENTS
from rlm import RLM
from rlm.testing import ScriptedModelServer

CELL = """```repl
r = llm_batch([f"Summarise section {{i}}. " + "x" * 2000 for i in range({calls})])
answer["content"] = str(sum(x == "the reply" for x in r))
answer["ready"] = True
```"""


def serve(pipe: Connection, delay: float, calls: int) -> None:
    """Runs the endpoint; every message on the pipe is answered with the highest concurrency since the last."""
    replies = {"sub": {"text": "the reply", "delay": delay}, "root": CELL.format(calls=calls)}
    with ScriptedModelServer(replies, record=1) as server:
        pipe.send(server.base_url)
        while pipe.recv():
            pipe.send(server.max_in_flight)
            server.reset_counts()


async def in_sandbox(base_url: str, options: argparse.Namespace, folder: str) -> float:
    """Seconds of the cell."""
    rlm = RLM(
        model="root",
        sub_model="sub",
        base_url=base_url,
        sandbox=options.sandbox,
        concurrency=options.concurrency,
        trace_dir=folder,
    )
    seconds = 0.0
    result: dict[str, Any] = {}
    async for event in rlm.stream("How many?", ""):
        if event["type"] == "cell.completed":
            seconds = event["seconds"]
        elif event["type"] == "run.completed":
            result = event["result"]
    if result["answer"] != str(options.calls):
        raise SystemExit(f"unexpected result: {result}")
    return seconds


def peak(pipe: Connection) -> int:
    pipe.send("peak")
    return int(pipe.recv())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sandbox", default="docker")
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--delay", type=float, default=0.05, help="seconds before each reply")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    pipe, far_end = context.Pipe()
    server = context.Process(target=serve, args=(far_end, options.delay, options.calls), daemon=True)
    server.start()
    base_url = pipe.recv()
    walls: dict[str, list[float]] = {}
    peaks: dict[str, int] = {}
    mine = f"llm_batch in {options.sandbox}"
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            for name, client in CLIENTS.items():
                began = time.perf_counter()
                asyncio.run(client(base_url, options.calls, options.concurrency))
                walls.setdefault(name, []).append(time.perf_counter() - began)
                peaks[name] = max(peaks.get(name, 0), peak(pipe))
            walls.setdefault(mine, []).append(asyncio.run(in_sandbox(base_url, options, folder)))
            peaks[mine] = max(peaks.get(mine, 0), peak(pipe))
    pipe.send(None)
    server.join()
    print(f"{options.calls} calls, {options.delay * 1000:g} ms each, concurrency {options.concurrency}:")
    print(f"medians of {options.rounds} rounds\n\n{'client':26}{'wall s':>8}{'min':>8}{'peak':>6}")
    for name, times in walls.items():
        print(f"{name:26}{statistics.median(times):8.2f}{min(times):8.2f}{peaks[name]:6}")
    print()
    for other, goal in (("bare aiohttp", "at most 2"), ("bare AsyncOpenAI", "under 0.5")):
        ratios = [a / b for a, b in zip(walls[mine], walls[other], strict=True)]
        print(f"llm_batch / {other:18}{statistics.median(ratios):6.2f}  (goal: {goal})")


if __name__ == "__main__":
    main()
