"""`rlm ask` from outside: a real process, a real endpoint on loopback, a real kernel."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FIND = """
```repl
line = next(line for line in context.splitlines() if "needle" in line)
votes = llm_batch([f"copy {i}: {line}" for i in range(3)])
answer["content"] = f"{line} ({len(votes)} votes: {votes[0]})"
answer["ready"] = True
```
"""
DRAFT = '```repl\nanswer["content"] = "the draft"\n```'
ANSWER = "a needle here (3 votes: yes)\n"


@pytest.fixture
def places(tmp_path):
    """The environment of a user without settings; the cache, which holds what sandboxes are built from, is shared."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("RLM_", "OPENAI_"))}
    return {**clean, "XDG_STATE_HOME": str(tmp_path / "state"), "XDG_CONFIG_HOME": str(tmp_path / "config")}


@pytest.fixture
def start(tmp_path, places):
    """Starts `rlm …` in an empty folder; it is ended after the test."""
    started = []

    def popen(*arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **environ):
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "cli.py"), *map(str, arguments)],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=tmp_path,
            env={**places, **environ},
        )
        started.append(process)
        return process

    yield popen
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def ask(start, document):
    """Runs `rlm ask` to its end: (exit code, stdout, stderr)."""

    def run(server, *arguments, inputs=(document,), data=None, **environ):
        base_url = server if isinstance(server, str) else server.base_url
        models = ("--model", "root", "--sub-model", "sub", "--base-url", base_url, "--sandbox", "process")
        stdin = subprocess.DEVNULL if data is None else subprocess.PIPE
        process = start("ask", "where is the needle?", *inputs, *models, *arguments, stdin=stdin, **environ)
        out, err = process.communicate(data.encode() if data else None, timeout=60)
        return process.returncode, out.decode(), err.decode()

    return run


@pytest.fixture
def document(tmp_path):
    path = tmp_path / "hay.txt"
    path.write_text("hay\n" * 1000 + "a needle here\n" + "hay\n" * 1000)
    return path


def error_lines(stderr):
    return [line for line in stderr.splitlines() if line.startswith("rlm: error: ")]


def test_the_answer_is_all_there_is_on_stdout(ask, scripted_model, tmp_path):
    code, out, err = ask(scripted_model({"root": FIND, "sub": "yes"}))
    assert (code, out) == (0, ANSWER), err
    assert all(line.startswith("rlm: ") for line in err.splitlines())
    assert "turn 1/30" in err
    assert "3 ok" in err
    trace = next((tmp_path / "state" / "rlm" / "runs").glob("*/events.jsonl"))
    assert str(trace) in err
    assert json.loads(trace.with_name("result.json").read_text())["answer"] == ANSWER.strip()


def test_json_is_one_object(ask, scripted_model):
    code, out, _ = ask(scripted_model({"root": FIND, "sub": "yes"}), "--json", "--quiet")
    result = json.loads(out)
    assert code == 0
    assert out.count("\n") == 1
    names = "schema_version answer ready stop_reason error turns usage cost seconds run_id trace"
    assert set(result) == set(names.split())
    assert (result["ready"], result["stop_reason"], result["turns"], result["cost"]) == (True, "answered", 1, None)
    assert (result["usage"]["root"]["calls"], result["usage"]["sub"]["calls"]) == (1, 3)
    assert Path(result["trace"]).is_file()


def test_quiet_is_quiet_and_no_trace_leaves_none(ask, scripted_model, tmp_path):
    code, out, err = ask(scripted_model({"root": FIND, "sub": "yes"}), "--quiet", "--no-trace")
    assert (code, out) == (0, ANSWER)
    assert list((tmp_path / "state").rglob("events.jsonl")) == []
    assert [line for line in err.splitlines() if "warning" not in line] == []


def test_the_stream_is_the_trace(ask, scripted_model, tmp_path):
    code, out, _ = ask(scripted_model({"root": FIND, "sub": "yes"}), "--stream-json", "--trace-dir", tmp_path / "t")
    assert code == 0
    assert out == next((tmp_path / "t").glob("*/events.jsonl")).read_text()
    types = [json.loads(line)["type"] for line in out.splitlines()]
    assert types[0] == "run.started"
    assert types[-1] == "run.completed"
    assert types.count("call.completed") == 3


def test_a_key_never_reaches_the_trace(ask, scripted_model, tmp_path):
    leak = '```repl\nanswer["content"] = "sk-" + "right-key"\nanswer["ready"] = True\n```'
    server = scripted_model({"root": leak}, api_key="sk-right-key")
    code, _, _ = ask(server, OPENAI_API_KEY="sk-right-key")
    assert code == 0
    files = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert files
    assert all(b"sk-right-key" not in path.read_bytes() for path in files)


def test_a_pipe_is_the_document(ask, scripted_model):
    server = scripted_model({"root": FIND, "sub": "yes"})
    assert ask(server, inputs=(), data="hay\na needle here\n")[:2] == (0, ANSWER)


def test_a_reader_that_goes_away_is_no_error(start, scripted_model, document):
    long = '```repl\nanswer["content"] = "x" * 3_000_000\nanswer["ready"] = True\n```'
    server = scripted_model({"root": long})
    process = start("ask", "q", document, "--model", "root", "--base-url", server.base_url, "--sandbox", "process")
    process.stdout.close()
    assert process.wait(60) == 0
    assert b"Traceback" not in process.stderr.read()
    process.stdout = None


def test_a_limit_prints_the_best_draft(ask, scripted_model):
    code, out, err = ask(scripted_model({"root": DRAFT}), "--max-turns", 1)
    assert (code, out) == (3, "the draft\n")
    assert "stopped: max_turns" in err


def test_a_wrong_key(ask, scripted_model):
    server = scripted_model({"root": FIND}, api_key="sk-right-key")
    code, out, err = ask(server, "--json", OPENAI_API_KEY="sk-wrong-key")
    assert code == 4
    assert json.loads(out)["error"]["type"] == "AuthError"
    assert len(error_lines(err)) == 1
    assert "401" in error_lines(err)[0]
    assert "sk-wrong-key" not in out + err


def test_a_dead_endpoint_gives_up_soon(ask):
    begun = time.monotonic()
    code, out, err = ask("http://127.0.0.1:9/v1", "--json")
    assert (code, json.loads(out)["stop_reason"]) == (4, "error")
    assert len(error_lines(err)) == 1
    assert time.monotonic() - begun < 20


def test_a_missing_file(ask, scripted_model):
    code, out, err = ask(scripted_model({"root": FIND}), "--json", inputs=("no-such-file.txt",))
    assert (code, out) == (2, "")
    assert len(error_lines(err)) == 1
    assert "no-such-file.txt" in err


def test_a_missing_engine(ask, scripted_model, tmp_path):
    socket = f"unix://{tmp_path}/none.sock"
    code, out, err = ask(scripted_model({"root": FIND}), "--sandbox", "docker", "--json", DOCKER_HOST=socket)
    assert (code, json.loads(out)["error"]["type"]) == (5, "SandboxUnavailable")
    assert len(error_lines(err)) == 1
    assert "Docker" in err


def test_no_model(ask, scripted_model, start):
    process = start("ask", "q")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, b"")
    assert b"--model" in err


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_prints_the_best_draft(start, scripted_model, document, number):
    from rlm.testing import Fault

    server = scripted_model({"root": [DRAFT, Fault.stall()]})
    models = ("--model", "root", "--base-url", server.base_url, "--sandbox", "process")
    process = start("ask", "q", document, *models, "--json")
    wait_for(lambda: server.request_count == 2)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    result = json.loads(out)
    assert process.returncode == 130, err
    assert (result["answer"], result["stop_reason"], result["ready"]) == ("the draft", "interrupted", False)


def test_the_second_interrupt_ends_it_at_once(start, scripted_model, document):
    from rlm.testing import Fault

    stubborn = "```repl\nimport signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass\n```"
    server = scripted_model({"root": [stubborn, Fault.stall()]})
    models = ("--model", "root", "--base-url", server.base_url, "--sandbox", "process")
    process = start("ask", "q", document, *models)
    told = b""
    while b"while True" not in told:
        told += process.stderr.readline()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    assert process.wait(10) == 130
    assert time.monotonic() - begun < 1


def test_on_a_terminal_it_is_live_and_harmless(start, scripted_model, document):
    answer = 'answer["content"] = "\\x1b]0;owned\\x07 [red]done[/red]"\nanswer["ready"] = True'
    hostile = f"```repl\n# \x1b]0;owned\x07\n{answer}\n```"
    server = scripted_model({"root": hostile, "sub": "yes"})
    controller, terminal = pty.openpty()
    models = ("--model", "root", "--base-url", server.base_url, "--sandbox", "process")
    process = start("ask", "q", document, *models, stdout=terminal, stderr=terminal, TERM="xterm", COLUMNS="100")
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
