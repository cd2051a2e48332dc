"""What showing a run costs it, and how long the list of many runs takes.

    python -m benchmarks.display [--rounds 5]

The live display draws on a terminal of 100 x 40 that takes everything; the figure is the time of the thread that
plays the run. Once there are batches of 2,000 calls one after the other, once 100 children with 200 calls each.
The list is that of 1,000 runs, without an index and with one. Prints medians.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from rlm.display.live import LiveDisplay
from rlm.events import EventLog
from rlm.protocols import Emit
from rlm.trace.index import INDEX_FILE, listing

CALL = {"key": "k", "prompt": "p" * 2000, "text": "t", "model": "m", "estimated": False, "cached": False, "attempts": 1}
CALL |= {"input_tokens": 400, "output_tokens": 20, "seconds": 0.1}
LIMITS = {"max_tokens": 10**9, "max_cost": 1e6, "max_sub_calls": 10**6, "timeout": 3600.0}
RUNS = 1000


def batches(emit: Emit) -> int:
    for batch in range(10):
        emit("batch.started", rollout="0", batch=batch, size=2000, model="m", kind="plain")
        for index in range(2000):
            emit("call.completed", rollout="0", batch=batch, index=index, **CALL)
        emit("batch.completed", rollout="0", batch=batch, ok=2000, failed=0, cached=0, cancelled=0, seconds=1.0)
    return 10 * 2002


def children(emit: Emit) -> int:
    names = [f"0.{n}" for n in range(1, 101)]
    emit("batch.started", rollout="0", batch="b", size=100, model="m", kind="recursive")
    for name in names:
        emit("child.started", rollout=name, parent="0", depth=1, batch="b", query="why? " * 20, max_turns=8)
        emit("turn.started", rollout=name, turn=1, max_turns=8)
        emit("batch.started", rollout=name, batch=name, size=200, model="m", kind="plain")
    for index in range(200):
        for name in names:
            emit("call.completed", rollout=name, batch=name, index=index, **CALL)
    for name in names:
        emit("child.completed", rollout=name, stop_reason="answered", turns=1, seconds=1.0)
    return 1 + 100 * 204


def shown(play: Callable[[Emit], int]) -> tuple[float, float]:
    """Microseconds for each event, and milliseconds for one drawing in the midst of it all."""
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=40)
    display = LiveDisplay(console, price=lambda model, tokens: 0.001)
    drawings: list[float] = []
    draw = display._draw

    def timed() -> None:
        begun = time.thread_time()
        draw()
        drawings.append(time.thread_time() - begun)

    display._draw = timed  # type: ignore[method-assign]
    emit = EventLog("r", display).emit
    emit("run.started", question="q", model="m", sub_model="s", sandbox="process", limits=LIMITS, inputs=[])
    emit("turn.started", rollout="0", turn=1, max_turns=30)
    begun = time.thread_time()
    events = play(emit)
    took = time.thread_time() - begun
    display.close()
    return took / events * 1e6, statistics.median(drawings) * 1e3


def fill(runs: Path) -> None:
    """Traces of some 60 kB."""
    usage = {"sub": {"calls": 20}}
    for number in range(RUNS):
        name = f"20260101-000000-000-{number:08x}"
        begun = {"type": "run.started", "ts": 1e9, "schema_version": 1, "question": f"what is {number}?", "model": "m"}
        call = {"type": "call.completed", "ts": 1e9, "prompt": "x" * 3000}
        result = {"stop_reason": "answered", "turns": 3, "usage": usage, "cost": 0.1, "seconds": 3.5, "answer": "a"}
        events = [begun, *[call] * 20, {"type": "run.completed", "ts": 1e9, "result": result}]
        (runs / name).mkdir()
        (runs / name / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))


def listed(runs: Path) -> float:
    """Milliseconds."""
    begun = time.perf_counter()
    assert len(listing(runs)) == RUNS
    return (time.perf_counter() - begun) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = range(parser.parse_args().rounds)
    for name, play in (("10 batches of 2,000 calls", batches), ("100 children with 200 calls each", children)):
        event, drawing = (statistics.median(each) for each in zip(*(shown(play) for _ in rounds), strict=True))
        print(f"{name}: {event:.1f} us per event, {1e6 / event:,.0f} events/s; a drawing {drawing:.1f} ms, 8 a second")
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        fill(runs)
        cold, warm = [], []
        for _ in rounds:
            (runs / INDEX_FILE).unlink(missing_ok=True)
            cold.append(listed(runs))
            warm.append(listed(runs))
        first, again = statistics.median(cold), statistics.median(warm)
        print(f"a list of {RUNS:,} runs: {first:.0f} ms, with its index {again:.0f} ms")


if __name__ == "__main__":
    main()
