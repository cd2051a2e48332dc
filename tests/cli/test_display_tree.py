"""The tree of what goes on: right at every size, cheap per event, and safe from what events hold."""

import io
import re
import threading
import time

import pytest
from rich.console import Console

from rlm.display.live import LiveDisplay
from rlm.display.progress import Progress
from rlm.display.tree import tree
from rlm.events import EventLog

CALL = {"error": None, "cached": False, "attempts": 1, "input_tokens": 10, "output_tokens": 2, "model": "sub"}
LIMITS = {"max_tokens": 10_000, "max_cost": 2.0, "max_sub_calls": 50, "timeout": 3600.0}


class Stage:
    """A state and what is told to it."""

    def __init__(self, price=None):
        self.progress = Progress(price=price)
        self.emit = EventLog("r", self.progress.update).emit

    def begin(self, type_="run.started", **fields):
        told = {"question": "q", "model": "root", "sub_model": "sub", "sandbox": "process", "limits": LIMITS}
        self.emit(type_, **told, inputs=[], **fields)
        self.emit("turn.started", rollout="0", turn=1, max_turns=30)

    def family(self, children=10):
        """A root that waits for children, of whom the first asks one of its own."""
        self.begin()
        self.emit("cell.started", rollout="0", turn=1, code="x")
        self.emit("batch.started", rollout="0", batch="0.b1", size=children, model="sub", kind="recursive")
        for n in range(1, children + 1):
            self.child(f"0.{n}", "0.b1")
        self.emit("batch.started", rollout="0.1", batch="0.1.b1", size=40, model="sub", kind="recursive")
        self.child("0.1.1", "0.1.b1")

    def child(self, name, batch):
        said = {"depth": name.count("."), "index": 0, "query": f"what of {name}?", "model": "sub", "max_turns": 8}
        self.emit("child.started", rollout=name, parent=name.rpartition(".")[0], batch=batch, **said)
        self.emit("turn.started", rollout=name, turn=2, max_turns=8)

    def lines(self, width=100, height=40, **options):
        return [line.text for line in tree(self.progress, width=width, height=height, **options)]


@pytest.fixture
def stage():
    return Stage()


def test_the_root_its_batch_the_children_and_the_totals(stage):
    stage.family()
    stage.emit("call.completed", rollout="0.1.1", batch="none", index=0, **CALL)
    lines = stage.lines()
    assert lines[0].startswith("  turn 1/30: the cell runs, ")
    assert re.fullmatch(r"    batch 1  ─{32}  0/10 children", lines[1])
    assert lines[2] == "      0.1  turn 2/8, the model writes, batch 0/40: what of 0.1?"
    assert lines[3] == "        0.1.1  turn 2/8, the model writes: what of 0.1.1?"
    assert [line.split()[0] for line in lines[4:8]] == ["0.7", "0.8", "0.9", "0.10"]
    assert lines[8] == "      + 5 more"
    assert "sub 10 in 2 out, 1 call; 11 children" in lines[9]
    assert lines[10].startswith("  left: 10.0k tokens, 2.0000 of cost, 38 sub-calls, 59 min 5")
    assert len(lines) == 11


def test_who_did_something_last_is_shown(stage):
    stage.family()
    stage.emit("cell.started", rollout="0.3", turn=2, code="x")
    assert "      0.3  turn 2/8, the cell runs: what of 0.3?" in stage.lines()


def test_what_is_over_is_gone(stage):
    stage.family(children=2)
    for name in ("0.1.1", "0.1", "0.2"):
        stage.emit("child.completed", rollout=name, stop_reason="answered", turns=2, seconds=1.0)
        stage.emit("batch.completed", rollout=name, batch="late", ok=1, failed=0, cached=0, cancelled=0, seconds=1.0)
    for index in range(2):
        error = {"kind": "endpoint", "message": ""} if index else None
        stage.emit("call.completed", rollout="0", batch="0.b1", index=index, **{**CALL, "attempts": 0, "error": error})
    assert "    batch 1  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  2/2 children, 1 failed" in stage.lines()
    stage.emit("batch.completed", rollout="0", batch="0.b1", ok=1, failed=1, cached=0, cancelled=0, seconds=1.0)
    assert not [line for line in stage.lines() if "batch" in line or "children" in line or "0.1" in line[:12]]


@pytest.mark.parametrize("height", range(1, 16))
def test_it_never_needs_more_rows_than_there_are(stage, height):
    stage.family()
    stage.emit("root.delta", rollout="0", turn=1, text="a\nb\nc\nd\n")
    lines = stage.lines(height=height)
    assert 1 <= len(lines) <= height
    assert any("; root " in line for line in lines)
    shown = len([line for line in lines if "what of" in line])
    more = [int(line.split()[1]) for line in lines if line.endswith(" more")]
    assert not shown or shown + sum(more) == 11


def test_bars_in_ascii_and_none_where_it_is_narrow(stage):
    stage.begin()
    stage.emit("batch.started", rollout="0", batch=1, size=4, model="sub", kind="plain")
    stage.emit("call.completed", rollout="0", batch=1, index=0, **CALL)
    assert "    batch 1  ########------------------------  1/4" in stage.lines(ascii_only=True)
    assert "    batch 1  1/4" in stage.lines(width=20)


def test_a_run_that_was_taken_up_again(stage):
    tokens = {"input_tokens": 900, "output_tokens": 100, "calls": 7, "cached_calls": 0, "estimated": False}
    usage = {"root": {**tokens, "calls": 3}, "sub": tokens}
    stage.begin("run.resumed", turns=3, calls=7, seconds=100.0, depth=2, usage=usage, cost=0.25)
    # What is known from before is not told again, neither that a child began nor its batches.
    stage.emit("turn.started", rollout="0.2", turn=2, max_turns=8)
    stage.emit("call.completed", rollout="0", batch="0.b1", index=1, **CALL)
    lines = stage.lines()
    assert any(line.startswith("      0.2  turn 2/8") for line in lines)
    assert any(line.startswith("  1 min 40 s; root 900 in 100 out, 3 calls") for line in lines)
    assert any(line.startswith("  left: 8.0k tokens, 1.7500 of cost, 42 sub-calls, 58 min 1") for line in lines)


def test_an_unknown_price_leaves_the_rest_of_the_cost_unknown():
    stage = Stage(price=lambda model, tokens: None)
    stage.begin()
    stage.emit("call.completed", rollout="0", batch=1, index=0, **CALL)
    (left,) = [line for line in stage.lines() if "left:" in line]
    assert "cost" not in left


def test_nothing_in_it_steers_the_terminal(stage):
    evil = "a\x1b[2J\x9b31m\u202e\ud800\r\nb"
    stage.begin()
    stage.emit("root.delta", rollout="0", turn=1, text=evil)
    stage.emit("batch.started", rollout="0", batch=evil, size=1, model=evil, kind="recursive")
    child = {"parent": "0", "batch": evil, "query": evil, "max_turns": 8}
    stage.emit("child.started", rollout=f"0.{evil}", **child)
    text = "\n".join(stage.lines())
    assert r"\x1b[2J\x9b31m\u202e\ud800" in text
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", text)


def test_events_cost_the_same_however_much_goes_on():
    """100 children with 200 calls each, as against a single batch; a display that looked through them would be slow."""

    def seconds(children):
        display = LiveDisplay(Console(file=io.StringIO(), force_terminal=True, width=100, height=40))
        emit = EventLog("r", display).emit
        try:
            for n in range(children):
                said = {"parent": "0", "batch": 1, "query": "q", "max_turns": 8}
                emit("child.started", rollout=f"0.{n}", **said)
                emit("batch.started", rollout=f"0.{n}", batch=n, size=200, model="sub")
            begun = time.thread_time()
            for i in range(20_000):
                n = i % children
                emit("call.completed", rollout=f"0.{n}", batch=n, index=i // children, **CALL)
            return time.thread_time() - begun
        finally:
            display.close()

    few, many = seconds(1), seconds(100)
    assert many < 20_000 * 100e-6
    assert many < 4 * few + 0.1


def test_a_terminal_that_takes_nothing_does_not_hold_up_the_run(monkeypatch):
    monkeypatch.setattr("rlm.display.live.PATIENCE", 0.05)
    stopped, stuck = threading.Event(), threading.Event()

    class Stopped(io.StringIO):
        def write(self, text):
            if stopped.is_set():
                stuck.set()
                released.wait(10)
            return super().write(text)

    released = threading.Event()
    display = LiveDisplay(Console(file=Stopped(), force_terminal=True, width=80, height=24))
    emit = EventLog("r", display).emit
    stopped.set()
    emit("notice", text="one")
    assert stuck.wait(5)
    begun = time.monotonic()
    for _ in range(10_000):
        emit("notice", text="more")
    display.close()
    assert time.monotonic() - begun < 3
    released.set()
    display._thread.join(5)
    display._live.stop()
