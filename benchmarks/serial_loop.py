"""Serial-looking loops of sub-calls beside one `llm_batch` of the same prompts, and as they are written.

    python -m benchmarks.serial_loop [--sandbox docker] [--calls 200] [--delay 0.05] [--rounds 5]

Each figure is a cell's time, from its request to its report. All ways take turns within each round, against
one scripted server in a process of its own; the loops as written (`--no-auto-parallel`) run once.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import warnings
from multiprocessing.connection import Connection
from typing import Any

from rlm import RLM
from rlm.testing import ScriptedModelServer, ScriptedRequest

PROMPT = 'f"Summarise section {c}. " + "x" * 2000'
WAYS = {
    "llm_batch": f"r = llm_batch([{PROMPT} for c in range(N)])",
    "comprehension": f"r = [llm_query({PROMPT}) for c in range(N)]",
    "append loop": f"r = []\nfor c in range(N):\n    r.append(llm_query({PROMPT}))",
}
END = "\nanswer['content'] = str(sum(x == 'the reply' for x in r))\nanswer['ready'] = True"


def serve(pipe: Connection, delay: float, calls: int) -> None:
    def root(request: ScriptedRequest) -> str:
        way = next(name for name in WAYS if name in str(request.messages[1]["content"]))
        return f"```repl\nN = {calls}\n{WAYS[way]}{END}\n```"

    with ScriptedModelServer({"root": root, "sub": {"text": "the reply", "delay": delay}}, record=1) as server:
        pipe.send(server.base_url)
        pipe.recv()


async def cell_seconds(way: str, options: argparse.Namespace, base_url: str, *, auto_parallel: bool) -> float:
    settings: dict[str, Any] = {"sandbox": options.sandbox, "auto_parallel": auto_parallel, "no_trace": False}
    rlm = RLM(model="root", sub_model="sub", base_url=base_url, **settings)
    seconds = 0.0
    async for event in rlm.stream(way):
        if event["type"] == "cell.completed":
            seconds = event["seconds"]
        elif event["type"] == "run.completed" and event["result"]["answer"] != str(options.calls):
            raise SystemExit(f"unexpected result: {event['result']}")
    return seconds


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sandbox", default="docker", choices=["docker", "bwrap", "process"])
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--delay", type=float, default=0.05)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="the process sandbox has no wall")
    pipe, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, options.delay, options.calls))
    server.start()
    try:
        base_url = pipe.recv()
        rounds = [
            {way: await cell_seconds(way, options, base_url, auto_parallel=True) for way in WAYS}
            for _ in range(options.rounds)
        ]
        written = {way: await cell_seconds(way, options, base_url, auto_parallel=False) for way in list(WAYS)[1:]}
    finally:
        pipe.send("stop")
        server.join()
    print(f"{options.sandbox}, {options.calls} calls of {options.delay * 1000:.0f} ms, {options.rounds} rounds")
    print(f"{'':>14} {'median s':>9} {'ratio to llm_batch':>19} {'as written s':>13}")
    for way in WAYS:
        ratio = statistics.median(each[way] / each["llm_batch"] for each in rounds)
        plain = f"{written[way]:13.2f}" if way in written else ""
        print(f"{way:>14} {statistics.median(each[way] for each in rounds):9.3f} {ratio:19.2f} {plain}")


if __name__ == "__main__":
    asyncio.run(main())
