"""`rlm serve` as a process of its own: keys, signals, and curl."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from rlm.commands import serve as serve_command
from rlm.testing import Fault
from tests.cli.conftest import options
from tests.needs import lacking
from tests.serve.conftest import answer, cell, question, wait_until

pytestmark = pytest.mark.slow
KEY = "sk-a-key-for-the-tests"


@pytest.fixture
def command(start: Callable[..., Any]) -> Callable[..., tuple[Any, str]]:
    """Starts the command and waits until it serves; gives the process and the base URL."""

    def begin(model: Any, *arguments: object, **environ: str) -> tuple[Any, str]:
        process = start("serve", "--port", "0", *options(model), *arguments, **environ)
        url = process.stdout.readline().decode().strip()
        assert url.startswith("http://"), process.stderr.read()
        return process, url

    return begin


def curl(*arguments: str) -> str:
    if shutil.which("curl") is None:
        lacking("curl is not installed")
    return subprocess.run(
        ["curl", "-sS", "--max-time", "60", *arguments], capture_output=True, text=True, check=True
    ).stdout


def test_curl(command, scripted_model, tmp_path):
    model = scripted_model({"root": answer("context.upper()")})
    _, url = command(model, RLM_SERVE_KEYS=KEY)
    (tmp_path / "a.txt").write_text("hello")
    auth = ("-H", f"Authorization: Bearer {KEY}")
    kept = json.loads(curl(*auth, "-F", "purpose=user_data", "-F", f"file=@{tmp_path}/a.txt", f"{url}/files"))
    content = [{"type": "file", "file": {"file_id": kept["id"]}}, {"type": "text", "text": "in capitals?"}]
    body = question(content)
    done = json.loads(curl(*auth, "--json", json.dumps(body), f"{url}/chat/completions"))
    assert done["choices"][0]["message"]["content"] == "HELLO"
    lines = curl(*auth, "-N", "--json", json.dumps({**body, "stream": True}), f"{url}/chat/completions").splitlines()
    assert lines[-2] == "data: [DONE]"
    chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "HELLO"
    refused = curl("-o", "/dev/null", "-w", "%{http_code}", f"{url}/models")
    assert refused == "401"


def test_sigterm_lets_a_request_end_and_takes_no_more(command, scripted_model):
    model = scripted_model({"root": {"text": answer("'in time'"), "delay": 2.0}})
    process, url = command(model)
    got: list[httpx.Response] = []
    post = lambda: got.append(httpx.post(f"{url}/chat/completions", json=question(), timeout=60, trust_env=False))  # noqa: E731
    thread = threading.Thread(target=post)
    thread.start()
    wait_until(lambda: model.in_flight == 1)
    process.send_signal(signal.SIGTERM)
    base = url.removesuffix("/v1")
    wait_until(lambda: httpx.get(f"{base}/readyz", trust_env=False).status_code == 503)
    thread.join(30)
    assert got[0].json()["choices"][0]["message"]["content"] == "in time"
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, b"")
    assert b"ending: 1 runs go on" in err
    assert b"Traceback" not in err


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(command, scripted_model):
    model = scripted_model({"root": [cell("answer['content'] = 'a draft'"), Fault.stall()]})
    process, url = command(model, "--grace", "60")
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        got = client.send(client.build_request("POST", "/chat/completions", json=question(stream=True)), stream=True)
        wait_until(lambda: model.request_counts["root"] == 2)
        process.send_signal(signal.SIGTERM)
        while b"ending" not in process.stderr.readline():
            assert process.poll() is None
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 130
        assert time.monotonic() - begun < 3
        got.close()
    (result,) = (Path.cwd() / "home/.local/state/rlm/runs").glob("*/result.json")
    assert json.loads(result.read_text())["answer"] == "a draft"


MISTAKES = {
    "no keys": (["--host", "0.0.0.0"], "need a key"),
    "a name is no loopback": (["--host", "rlm.invalid"], "need a key"),
    "no model": (["--model", ""], "no model"),
    "a cap without a price": (["--model", "m", "--max-cost", "1"], "price"),
    "no such file": (["--model", "m", "--api-key-file", "nowhere"], "nowhere"),
    "no size": (["--model", "m", "--max-file", "lots"], "--max-file"),
    "no such prompt": (["--model", "m", "--prompt", "nothing"], "prompt"),
}


@pytest.mark.parametrize(("arguments", "told"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_one_line_and_exit_2(rlm, arguments, told):
    ran = rlm(
        "serve",
        "--port",
        "0",
        "--sandbox",
        "process",
        *(arguments if "--model" in arguments else ["--model", "m", *arguments]),
    )
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert told in ran.err


def test_a_port_that_is_taken(rlm, scripted_model):
    port = scripted_model("ok").base_url.split(":")[2].split("/")[0]
    ran = rlm("serve", "--port", port, "--model", "m")
    assert ran.code == 2
    assert port in ran.err


def test_without_the_extra_one_line_says_what_to_install(rlm, monkeypatch):
    monkeypatch.setattr(serve_command, "NEEDED", ("starlette", "no_such_package"))
    ran = rlm("serve", "--model", "m")
    assert ran.code == 2
    assert "pip install 'rlm-kernel[server]'" in ran.err


def test_help_loads_no_server():
    program = (
        "import sys; from rlm.commands.app import run; run(['serve', '--help']); run(['mcp', '--help']); "
        "print({'uvicorn', 'starlette', 'prometheus_client', 'mcp', 'openai'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "set()"


def test_a_projects_file_cannot_say_where_requests_go(rlm, isolated_env):
    (isolated_env / "rlm.toml").write_text('base_url = "http://evil.example"\n')
    ran = rlm("serve", "--model", "m")
    assert ran.code == 2
    assert "base_url" in ran.err
