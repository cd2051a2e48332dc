"""`rlm ask`: a real endpoint on loopback, a real kernel, and what is on stdout, on stderr and in the exit code."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from rlm.models import RetryPolicy
from rlm.testing import Fault

pytestmark = pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")

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
RUNS = Path("home/.local/state/rlm/runs")


def test_the_answer_is_all_there_is_on_stdout(ask, scripted_model, isolated_env) -> None:
    ran = ask(scripted_model({"root": FIND, "sub": "yes"}))
    assert (ran.code, ran.out) == (0, ANSWER), ran.err
    assert all(line.startswith("rlm: ") for line in ran.err.splitlines())
    assert "turn 1/30" in ran.err
    assert "3 ok" in ran.err
    trace = next((isolated_env / RUNS).glob("*/events.jsonl"))
    assert str(trace) in ran.err
    assert json.loads(trace.with_name("result.json").read_text())["answer"] == ANSWER.strip()


def test_json_is_one_object(ask, scripted_model) -> None:
    ran = ask(scripted_model({"root": FIND, "sub": "yes"}), "--json", "--quiet")
    result = json.loads(ran.out)
    assert (ran.code, ran.err, ran.out.count("\n")) == (0, "", 1)
    names = "schema_version answer ready stop_reason error turns usage cost seconds run_id trace citations metrics"
    assert set(result) == set(names.split())
    assert (result["ready"], result["stop_reason"], result["turns"], result["cost"]) == (True, "answered", 1, None)
    assert (result["usage"]["root"]["calls"], result["usage"]["sub"]["calls"]) == (1, 3)
    assert Path(result["trace"]).is_file()


def test_no_trace_leaves_nothing(ask, scripted_model, isolated_env) -> None:
    ran = ask(scripted_model({"root": FIND, "sub": "yes"}), "--quiet", "--no-trace")
    assert (ran.code, ran.out, ran.err) == (0, ANSWER, "")
    assert [path for path in (isolated_env / "home").rglob("*") if path.is_file()] == []


def test_the_stream_is_the_trace(ask, scripted_model, isolated_env) -> None:
    ran = ask(scripted_model({"root": FIND, "sub": "yes"}), "--stream-json", "--trace-dir", isolated_env / "t")
    assert ran.code == 0
    assert ran.out == next((isolated_env / "t").glob("*/events.jsonl")).read_text()
    types = [json.loads(line)["type"] for line in ran.out.splitlines()]
    assert (types[0], types[-1], types.count("call.completed")) == ("run.started", "run.completed", 3)


def test_a_key_never_reaches_the_trace(ask, scripted_model, isolated_env) -> None:
    leak = '```repl\nanswer["content"] = "sk-" + "right-key"\nanswer["ready"] = True\n```'
    server = scripted_model({"root": leak}, api_key="sk-right-key")
    assert ask(server, OPENAI_API_KEY="sk-right-key").code == 0
    files = [path for path in (isolated_env / "home").rglob("*") if path.is_file()]
    assert files
    assert all(b"sk-right-key" not in path.read_bytes() for path in files)


def test_a_limit_prints_the_best_draft(ask, scripted_model) -> None:
    ran = ask(scripted_model({"root": DRAFT}), "--max-turns", 1)
    assert (ran.code, ran.out) == (3, "the draft\n")
    assert "stopped: max_turns" in ran.err


def test_what_the_configuration_says_holds_without_flags(ask, scripted_model, isolated_env) -> None:
    (isolated_env / "rlm.toml").write_text('packages = ["../evil"]\n')
    ran = ask(scripted_model({"root": FIND}))
    assert (ran.code, ran.out) == (2, "")
    assert "not a package: '../evil'" in ran.errors[0]
    (isolated_env / "rlm.toml").write_text("root_params = {temperature = 0.5}\n")
    server = scripted_model({"root": FIND, "sub": "yes"})
    assert ask(server, RLM_HEADERS='{"X-Team": "a"}').code == 0
    assert server.requests[0].body["temperature"] == 0.5
    assert server.requests[0].headers["x-team"] == "a"


def test_a_request_to_install_where_nothing_may_be_is_refused_and_harms_nothing(ask, scripted_model) -> None:
    install = "```repl\n%pip install six\n```"
    server = scripted_model({"root": [install, FIND], "sub": "yes"})
    ran = ask(server)
    assert (ran.code, ran.out) == (0, ANSWER)
    assert "No packages can be added" in server.requests[1].prompt


# --- mistakes and failures


def test_a_wrong_key(ask, scripted_model) -> None:
    ran = ask(scripted_model({"root": FIND}, api_key="sk-right-key"), "--json", OPENAI_API_KEY="sk-wrong-key")
    assert ran.code == 4
    assert json.loads(ran.out)["error"]["type"] == "AuthError"
    assert len(ran.errors) == 1
    assert "401" in ran.errors[0]
    assert "sk-wrong-key" not in ran.out + ran.err


def test_a_dead_endpoint_gives_up_soon(ask, monkeypatch) -> None:
    assert RetryPolicy().unreachable_patience < 10
    monkeypatch.setattr("rlm.models.transport.RetryPolicy", partial(RetryPolicy, unreachable_patience=0.5))
    ran = ask("http://127.0.0.1:9/v1", "--json")
    assert (ran.code, json.loads(ran.out)["stop_reason"]) == (4, "error")
    assert len(ran.errors) == 1


def test_a_missing_file(ask, scripted_model, isolated_env) -> None:
    ran = ask(scripted_model({"root": FIND}), "--json", inputs=("no-such-file.txt",))
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "no-such-file.txt" in ran.errors[0]
    assert list((isolated_env / RUNS).glob("*")) == []


def test_a_missing_engine(ask, scripted_model, tmp_path) -> None:
    socket = f"unix://{tmp_path}/none.sock"
    ran = ask(scripted_model({"root": FIND}), "--sandbox", "docker", "--json", DOCKER_HOST=socket)
    assert (ran.code, json.loads(ran.out)["error"]["type"]) == (5, "SandboxUnavailable")
    assert len(ran.errors) == 1
    assert "Docker" in ran.errors[0]


def test_a_cache_that_cannot_be_written(ask, scripted_model) -> None:
    ran = ask(scripted_model({"root": FIND}), "--quiet", XDG_CACHE_HOME="/proc/none")
    assert (ran.code, ran.out, ran.err.count("\n")) == (5, "", 1)
    assert "/proc/none" in ran.errors[0]


def test_a_working_directory_that_is_gone(rlm, isolated_env, monkeypatch) -> None:
    (isolated_env / "gone").mkdir()
    monkeypatch.chdir(isolated_env / "gone")
    (isolated_env / "gone").rmdir()
    ran = rlm("ask", "q", "--model", "m")
    assert (ran.code, ran.err.count("\n")) == (2, 1)


def test_no_model(rlm) -> None:
    ran = rlm("ask", "q")
    assert (ran.code, ran.out) == (2, "")
    assert "--model" in ran.err


# --- interrupts


@contextmanager
def signalled(number: signal.Signals, when: Callable[[], bool]):
    """Sends this process a signal as soon as `when` says so."""

    def send() -> None:
        end = time.monotonic() + 30
        while not when() and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    yield
    thread.join()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_prints_the_best_draft(ask, scripted_model, number) -> None:
    server = scripted_model({"root": [DRAFT, Fault.stall()]})
    with signalled(number, lambda: server.request_count == 2):
        ran = ask(server, "--json")
    result = json.loads(ran.out)
    assert ran.code == 130, ran.err
    assert (result["answer"], result["stop_reason"], result["ready"]) == ("the draft", "interrupted", False)


def test_an_interrupt_of_a_batch_counts_what_was_sent(ask, scripted_model) -> None:
    batch = '```repl\nanswer["content"] = "the draft"\nllm_batch([str(i) for i in range(50)])\n```'
    server = scripted_model({"root": batch, "sub": Fault.stall()})
    with signalled(signal.SIGINT, lambda: server.request_counts["sub"] == 8):
        ran = ask(server, "--json", "--concurrency", 8)
    result = json.loads(ran.out)
    assert (ran.code, result["answer"]) == (130, "the draft")
    assert result["usage"]["sub"]["calls"] == server.request_counts["sub"] == 8
