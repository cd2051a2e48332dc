"""The programs of the README, as they stand there: with scripted models behind them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rlm.testing import ScriptedModelServer
from tests.needs import module

ROOT = Path(__file__).resolve().parents[2]


def programs() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("## In your application\n")[2].partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def cell(code: str) -> str:
    return f"```repl\n{code}\nanswer['ready'] = True\n```"


@pytest.fixture
def run(isolated_env: Path) -> Any:
    """Runs a program in a folder with documents, its models scripted."""
    contracts = isolated_env / "contracts"
    contracts.mkdir()
    (contracts / "flat.txt").write_text("The lease\nends in May.\n")
    (contracts / "shop.txt").write_text("It ends in June.\n")
    (isolated_env / "book.txt").write_text("Ada met Bob. " * 2000)

    def ran(program: str, server: ScriptedModelServer) -> str:
        environ = {**os.environ, "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "none", "RLM_SANDBOX": "process"}
        command = [sys.executable, "-W", "ignore", "-c", program]
        done = subprocess.run(command, cwd=isolated_env, env=environ, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return ran


def test_there_are_three():
    assert len(programs()) == 3


def test_many_at_a_time(run):
    code = cell("answer['content'] = llm_query(f'when? {context}')")

    def sub(request: Any) -> str:
        return "June" if "June" in request.prompt else "May"

    with ScriptedModelServer({"gpt-5": code, "gpt-5-mini": sub}) as server:
        printed = run(programs()[0], server)
    assert printed == "flat.txt: May (answered, 1 sub-calls)\nshop.txt: June (answered, 1 sub-calls)\n"


def test_progress_and_citations(run):
    code = cell("answer['content'] = 'In May: <quote source=\"flat.txt\">ends in May</quote>.'")
    with ScriptedModelServer({"gpt-5": code}) as server:
        printed = run(programs()[1], server)
    assert printed == "turn 1: ok\nIn May: “ends in May” [1].\n[1] found: contracts/flat.txt, line 2\n"


def test_any_openai_client(run, isolated_env):
    module("uvicorn")
    code = cell("answer['content'] = f'{context.count(\"Ada\")} times Ada, in {type(context).__name__}'")
    with ScriptedModelServer({"gpt-5": code}) as server:
        options = ["--model", "gpt-5", "--base-url", server.base_url, "--sandbox", "process", "--port", "0"]
        command = [sys.executable, "-W", "ignore", str(ROOT / "cli.py"), "serve", *options]
        with subprocess.Popen(command, cwd=isolated_env, stdout=subprocess.PIPE, text=True) as serving:
            try:
                assert serving.stdout is not None
                address = serving.stdout.readline().strip()
                printed = run(programs()[2].replace("http://127.0.0.1:8000/v1", address), server)
            finally:
                serving.terminate()
                serving.wait(30)
    assert printed == "2000 times Ada, in str\n"
