"""What the trace costs: `python -m benchmarks.trace [--rounds N] [--delay SECONDS] [--sandbox NAME]`.

One run of 100 turns, each with a batch of 20 sub-calls with prompts of 2 kB, over a context of 100 MB, with the trace
and without it, in turn; the endpoint is a process of its own. Prints wall and processor time of this process, the
trace's share of each, and what the trace takes on disk.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from rlm import RLM
from rlm.testing import ScriptedModelServer, Turns

TURNS, BATCH, PROMPT, CONTEXT = 100, 20, 2000, 100_000_000


class Took(NamedTuple):
    wall: float
    processor: float
    bytes: int


def serve(pipe: Connection, delay: float) -> None:
    """Runs the endpoint until it is told to stop."""
    ask = f"r = llm_batch([f'{{turn}} {{i}} ' + context[i * 2000 : i * 2000 + {PROMPT}] for i in range({BATCH})])"
    cells = [f"```repl\nturn = {turn}\n{ask}\nprint(len(r), r[0])\n```" for turn in range(TURNS - 1)]
    last = f"```repl\nturn = {TURNS}\n{ask}\nanswer.update(content='done', ready=True)\n```"
    with ScriptedModelServer({"root": Turns([*cells, last]), "sub": "a reply of a few words"}, delay=delay) as server:
        pipe.send(server.base_url)
        pipe.recv()


def run(base_url: str, sandbox: str, document: Path, runs: Path | None) -> Took:
    traced = {"trace_dir": runs} if runs else {"no_trace": True}
    rlm = RLM(model="root", sub_model="sub", base_url=base_url, sandbox=sandbox, max_turns=TURNS, **traced)
    wall, processor = time.perf_counter(), time.process_time()
    result = rlm.run("?", inputs=[document])
    took = time.perf_counter() - wall, time.process_time() - processor
    assert (result.answer, result.turns, result.usage.sub.calls) == ("done", TURNS, TURNS * BATCH), result
    size = sum(path.stat().st_size for path in runs.rglob("*") if path.is_file()) if runs else 0
    return Took(*took, size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--delay", type=float, default=0.05)
    parser.add_argument("--sandbox", default="docker")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, options.delay))
    server.start()
    try:
        base_url = ours.recv()
        with tempfile.TemporaryDirectory() as place:
            document = Path(place) / "document.txt"
            document.write_text("a line of some words, and another one.\n" * (CONTEXT // 39))
            without, with_trace = [], []
            run(base_url, options.sandbox, document, None)  # what is kept warm is warm from here on
            for number in range(options.rounds):
                without.append(run(base_url, options.sandbox, document, None))
                with_trace.append(run(base_url, options.sandbox, document, Path(place) / f"runs-{number}"))
    finally:
        ours.send(None)
        server.join()
    print(f"{options.sandbox}, {TURNS} turns, {TURNS * BATCH:,} sub-calls of {options.delay * 1000:.0f} ms")
    for name in ("wall", "processor"):
        off, on = (statistics.median(getattr(took, name) for took in each) for each in (without, with_trace))
        pairs = [getattr(b, name) / getattr(a, name) - 1 for a, b in zip(without, with_trace, strict=True)]
        print(f"{name:10} without {off:6.2f} s   with {on:6.2f} s   median of pairs {statistics.median(pairs):+.1%}")
    print(f"on disk    {with_trace[-1].bytes / 1e6:.1f} MB, of a context of {CONTEXT / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
