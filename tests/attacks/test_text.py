"""Text that would steer a terminal, a browser or a Markdown viewer: it is shown, and never obeyed."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlm.testing import ScriptedModelServer
from tests.attacks.attack import case
from tests.cli.conftest import ROOT
from tests.tree.conftest import FINISH, cell

pytestmark = pytest.mark.timeout(110)

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x1b]8;;http://evil\x1b\\\x9b31m\x1bP1$r\x1b\\\x08\u202egnp.exe\u2066\x7f"
MARKUP = "<script>alert(1)</script><img src=x onerror=alert(1)>[red]bold[/red] "
"![x](http://127.0.0.1:9/?q=secret) [a](javascript:x)"
EVIL = ESCAPES + MARKUP

HOSTILE = f"""
evil = {EVIL!r}
print(evil)
globals()[evil] = 1
globals()['\\u202e\\x1b[2Jname'] = evil
print(llm_query('p ' + evil))
import sys; sys.stderr.write(evil)
raise type(evil, (Exception,), {{}})(evil)
"""
REPLIES = {
    "root": [
        f"Look: {EVIL}\n{cell(HOSTILE)}",
        cell(f"answer['content'] = {EVIL!r}\n{FINISH}"),
    ],
    "sub": EVIL,
}

UNSAFE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
OWN = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[[0-9]*[AKBGJ]|\x1b\[\?2026[hl]|\r")
"""What a live display may say to its terminal: colours, the cursor, redrawing its own lines."""

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(tmp_path: Path, isolated_env: Path) -> Command:
    """Runs `rlm …`; returns its exit code and what came out of stdout and stderr, one or both of them a terminal."""

    def run(*arguments: object, terminal: tuple[str, ...] = ()) -> tuple[int, str, str]:
        ends = {name: pty.openpty() if name in terminal else os.pipe() for name in ("stdout", "stderr")}
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "cli.py"), *map(str, arguments)],
            cwd=isolated_env,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"},
            stdin=subprocess.DEVNULL,
            **{name: end[1] for name, end in ends.items()},  # type: ignore[call-overload]
        )
        for _, end in ends.values():
            os.close(end)
        readers = {end[0]: name for name, end in ends.items()}
        seen: dict[str, bytes] = dict.fromkeys(ends, b"")
        deadline = time.monotonic() + 60
        while readers and time.monotonic() < deadline:
            for fd in select.select(list(readers), [], [], 1)[0]:
                try:
                    data = os.read(fd, 1 << 16)
                except OSError:  # the other end of a terminal is closed
                    data = b""
                seen[readers[fd]] += data
                if not data:
                    os.close(fd)
                    del readers[fd]
        code = process.wait(10)
        return code, seen["stdout"].decode(), seen["stderr"].decode()

    return run


def arguments(server: ScriptedModelServer, sandbox: str, traces: Path) -> list[Any]:
    models = ("--model", "root", "--sub-model", "sub", "--base-url", server.base_url)
    return ["ask", f"what? {MARKUP}", *models, "--sandbox", sandbox, "--trace-dir", traces]


@case("terminal escapes and markup in all texts: plain lines, `rlm runs`, JSON", "text only", slow=True)
def test_lines(command: Command, sandbox: str, tmp_path: Path) -> None:
    traces = tmp_path / "traces"
    with ScriptedModelServer(REPLIES) as server:
        code, out, err = command(*arguments(server, sandbox, traces))
        assert server.errors == []
    assert code == 0, err
    assert out == EVIL + "\n"  # a pipe gets the answer as it is
    assert r"\x1b]0;owned\x07" in err
    assert "[red]bold[/red]" in err
    assert not UNSAFE.search(err)
    for shown in (("runs", "list"), ("runs", "show")):
        for terminal in ((), ("stdout", "stderr")):
            code, out, err = command(*shown, "--trace-dir", traces, terminal=terminal)
            assert code == 0, err
            assert not UNSAFE.search(OWN.sub("", out + err))
    (events,) = traces.glob("*/events.jsonl")
    for line in events.read_text(encoding="utf-8").splitlines():
        assert not re.search("[\x00-\x1f]", line)
        json.loads(line)
    with ScriptedModelServer(REPLIES) as server:
        code, out, err = command(*arguments(server, sandbox, tmp_path / "j"), "--json", terminal=("stdout",))
    assert not UNSAFE.search(OWN.sub("", out))
    assert json.loads(out)["answer"] == EVIL


@case("terminal escapes and markup in all texts: the live display and the answer on a terminal", "text only", slow=True)
def test_terminal(command: Command, sandbox: str, tmp_path: Path) -> None:
    with ScriptedModelServer(REPLIES) as server:
        code, out, err = command(*arguments(server, sandbox, tmp_path / "t"), terminal=("stdout", "stderr"))
    assert code == 0, err
    assert "owned" in out
    assert "[red]bold[/red]" in out
    for text in (out, err):
        assert not UNSAFE.search(OWN.sub("", text))
        assert "\x1b]" not in text
