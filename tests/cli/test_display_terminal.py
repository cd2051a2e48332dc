"""The displays of `rlm ask` as a process: on terminals of any size, that change, that go away; and `--display`."""

from __future__ import annotations

import json
import os
import pty
import re
import sys
from pathlib import Path

import pytest

from examples.display_transcript import Terminal
from rlm.testing import Reply
from tests.cli.conftest import options

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")]
ROOT = Path(__file__).resolve().parents[2]
RICHS_OWN = re.compile(rb"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[[12]?[AK]|\r")
"""Colours, the cursor, drawing anew."""
EVIL = r"\x1b]0;owned\x07\x1b[2J\x9b31m"
CELL = """```repl
said = llm_batch(["one \x1b]0;owned\x07", "two", "slow"])
print("\\x1b]0;owned\\x07\\x1b[2J\\x9b31m")
answer["content"] = " ".join(said)
answer["ready"] = True
```"""


def slowly(seconds):
    return {
        "root": CELL,
        "sub": lambda request: Reply(text="fine \x1b[2J", delay=seconds if request.prompt == "slow" else 0.0),
    }


def command(server, *arguments):
    return [sys.executable, "-W", "ignore", str(ROOT / "cli.py"), "ask", "q?", *options(server), *arguments]


@pytest.fixture
def terminal(isolated_env):
    opened = []

    def open_(*arguments, **size):
        opened.append(Terminal(*arguments, cwd=isolated_env, **size))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


def ended(terminal):
    terminal.read_until(lambda _: False)
    return terminal.process.wait(10)


def test_on_a_terminal_whose_size_changes(terminal, scripted_model):
    shown = terminal(command(scripted_model(slowly(4.0))), columns=100, rows=30)
    assert shown.read_until(lambda text: "━  2/3" in text or "─  2/3" in text), shown.text
    *_, phase, batch, totals, left = shown.text.splitlines()
    assert re.fullmatch(r"  turn 1/30: the cell runs, \d\.\d s", phase)
    assert re.fullmatch(r"    batch 1  ━{21}─{11}  2/3", batch)
    assert re.search(r"; root \d+ in \d+ out, 1 call; sub \d+ in \d+ out, 2 calls", totals)
    assert re.fullmatch(r"  left: 4,998 sub-calls, 59 min \d\d s", left)
    shown.resize(20, 3)
    assert shown.read_until(
        lambda text: re.search(r"^  turn 1/30: the c…\n  \d\.\d s; root \d+ …$", text, re.MULTILINE)
    ), shown.text
    shown.resize(60, 10)
    assert shown.read_until(lambda text: "  batch 1  " in text and "  left: 4,998 sub-calls" in text), shown.text
    assert ended(shown) == 0
    assert r"fine \x1b[2J fine" in shown.scrollback
    assert "left:" not in shown.text
    assert EVIL in shown.scrollback
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]", RICHS_OWN.sub(b"", shown.raw))
    assert shown.raw.count(b"\x1b[?25l") == shown.raw.count(b"\x1b[?25h") > 0


def test_on_the_smallest_terminals(terminal, scripted_model):
    server = scripted_model(slowly(0.5))
    opened = [terminal(command(server, "--json"), columns=columns, rows=rows) for columns, rows in [(20, 3), (1, 1)]]
    for shown in opened:
        assert ended(shown) == 0, shown.raw
        assert b"Traceback" not in shown.raw
        assert b'"stop_reason": "answered"' in re.sub(rb"[\r\n]", b"", shown.raw)


def test_without_colour_and_on_a_dumb_terminal(terminal, scripted_model):
    server = scripted_model(slowly(0.3))
    plain = terminal(command(server), columns=100, rows=30, TERM="dumb")
    grey = terminal(command(server), columns=100, rows=30, NO_COLOR="1")
    assert (ended(plain), ended(grey)) == (0, 0)
    assert b"\x1b" not in plain.raw
    assert b"rlm: turn 1/30" in plain.raw
    assert b"\x1b[?25l" in grey.raw
    assert not re.search(rb"\x1b\[[0-9;]*3[0-7]m", grey.raw)


def test_a_terminal_that_hangs_up_does_not_end_the_run(start, scripted_model):
    controller, terminal = pty.openpty()
    process = start("ask", "q?", *options(scripted_model(slowly(1.5))), stderr=terminal, TERM="xterm")
    os.close(terminal)
    seen = b""
    while b"the cell runs" not in seen:
        seen += os.read(controller, 65536)
    os.close(controller)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, b"fine \x1b[2J fine \x1b[2J fine \x1b[2J\n")


def test_a_pipe_that_is_closed_does_not_end_the_run(start, scripted_model):
    server = scripted_model(slowly(1.0))
    for process in [start("ask", "q?", *options(server), "--display", kind) for kind in ("plain", "json")]:
        while b"cell.started" not in (line := process.stderr.readline()) and b"said = " not in line:
            assert line
        process.stderr.close()
        assert process.stdout.read().startswith(b"fine")
        assert process.wait(30) == 0
        process.stdout.close()
        process.stdout = process.stderr = None


def test_the_events_on_stderr_are_those_of_the_trace(ask, scripted_model, isolated_env):
    ran = ask(scripted_model(slowly(0.0)), "--display", "json", "--trace-dir", "runs")
    (trace,) = isolated_env.glob("runs/*/events.jsonl")
    told = [line for line in ran.err.splitlines() if not line.startswith("rlm: ")]
    assert (ran.code, ran.out) == (0, "fine \x1b[2J fine \x1b[2J fine \x1b[2J\n")
    assert told == trace.read_text().splitlines()
    assert json.loads(told[-1])["type"] == "run.completed"


def test_a_display_beside_the_stream_of_events(ask, scripted_model):
    server = scripted_model(slowly(0.0))
    alone, both = ask(server, "--stream-json"), ask(server, "--stream-json", "--display", "plain")
    assert "turn 1/30" not in alone.err
    assert "rlm: turn 1/30" in both.err
    for ran in (alone, both):
        assert [json.loads(line)["type"] for line in ran.out.splitlines()][-1] == "run.completed"


def test_rich_in_a_pipe_is_plain_and_none_is_silent(ask, scripted_model):
    server = scripted_model(slowly(0.0))
    assert "rlm: turn 1/30" in ask(server, "--display", "rich").err
    for quiet in (("--display", "none"), ("--quiet",), ("--quiet", "--display", "none")):
        assert "turn 1/30" not in ask(server, *quiet).err
