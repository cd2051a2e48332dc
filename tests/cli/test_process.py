"""`rlm ask` as a process of its own: pipes, signals and terminals."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import time

from rlm.testing import Fault
from tests.cli.conftest import options

READY = 'answer["ready"] = True\n```'


def test_a_pipe_is_the_document_and_stdout_the_answer(start, scripted_model) -> None:
    server = scripted_model({"root": f'```repl\nanswer["content"] = context.strip()[::-1]\n{READY}'})
    process = start("ask", "backwards?", *options(server), stdin=subprocess.PIPE)
    out, err = process.communicate(b"a document\n", timeout=60)
    assert (process.returncode, out) == (0, b"tnemucod a\n"), err


def test_a_reader_that_goes_away_is_no_error(start, scripted_model) -> None:
    server = scripted_model({"root": f'```repl\nanswer["content"] = "x" * 3_000_000\n{READY}'})
    process = start("ask", "q", *options(server))
    process.stdout.close()
    assert process.wait(60) == 0
    assert b"Traceback" not in process.stderr.read()
    process.stdout = None


def test_closed_streams_are_no_error(start, scripted_model, isolated_env) -> None:
    server = scripted_model({"root": f'```repl\nanswer["content"] = "kept"\n{READY}'})

    def close() -> None:
        for number in (0, 1, 2):
            os.close(number)

    process = start("ask", "q", *options(server), preexec_fn=close)
    assert process.wait(60) == 0
    (result,) = (isolated_env / "home/.local/state/rlm/runs").glob("*/result.json")
    assert json.loads(result.read_text())["answer"] == "kept"


def test_an_interrupt_does_not_wait_for_an_input_that_never_ends(start, scripted_model) -> None:
    server = scripted_model({"root": "never asked"})
    process = start("ask", "q", "-", *options(server), "--json", stdin=subprocess.PIPE)
    process.stdin.write(b"a beginning")
    process.stdin.flush()
    while not _catches(process.pid, signal.SIGTERM):
        time.sleep(0.02)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    assert json.loads(process.stdout.read())["stop_reason"] == "interrupted"


def test_the_second_interrupt_ends_it_at_once_with_the_draft(start, scripted_model) -> None:
    stubborn = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"
    server = scripted_model({"root": [f'```repl\nanswer["content"] = "the draft"\n{stubborn}\n```', Fault.stall()]})
    process = start("ask", "q", *options(server))
    told = b""
    while b"a draft of the answer" not in told:
        told += process.stderr.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    assert process.wait(10) == 130
    assert time.monotonic() - begun < 1
    assert process.stdout.read() == b"the draft\n"


def test_on_a_terminal_it_is_live_and_harmless(start, scripted_model) -> None:
    answer = 'answer["content"] = "\\x1b]0;owned\\x07 [red]done[/red]"'
    server = scripted_model({"root": f"```repl\n# \x1b]0;owned\x07\n{answer}\n{READY}"})
    controller, terminal = pty.openpty()
    process = start("ask", "q", *options(server), stdout=terminal, stderr=terminal, TERM="xterm", COLUMNS="100")
    os.close(terminal)
    seen = b""
    while select.select([controller], [], [], 60)[0]:
        try:
            seen += os.read(controller, 65536)
        except OSError:  # the other end was closed
            break
    os.close(controller)
    assert process.wait(10) == 0
    text = seen.decode()
    assert "\x1b]0" not in text
    assert r"\x1b]0;owned\x07 [red]done[/red]" in text
    assert re.search(r"\x1b\[\?25l.*\x1b\[\?25h", text, re.DOTALL), "the cursor was hidden and is shown again"


def _catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for the signal."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        mask = next(int(line.split()[1], 16) for line in status if line.startswith("SigCgt"))
    return bool(mask >> (number - 1) & 1)
