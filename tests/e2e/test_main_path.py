"""The main path, as a user takes it: the command line, a real endpoint, a real wall."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlm.kernels import leases
from rlm.kernels.engine import connect
from rlm.testing import Turns

WALLS = [pytest.param("docker", marks=pytest.mark.docker), pytest.param("bwrap", marks=pytest.mark.bwrap)]
CLI = str(Path(__file__).parents[2] / "cli.py")
SIZE = 200 << 20
MOST_MEMORY = 300 << 10
"""Kilobytes that the host process may use at its peak."""

# Runs the command in a child of its own, and reports that child's peak memory: none of the test's is in it.
MEASURE = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps({"code": done.returncode, "out": done.stdout, "err": done.stderr, "peak": peak}))
"""


@pytest.fixture(scope="module")
def big_text(tmp_path_factory):
    """200 MB of lines, one of which is not like the others."""
    path = tmp_path_factory.mktemp("big") / "big.txt"
    block = "".join(f"{i:06} nothing to see in this line, nor in any other of its kind\n" for i in range(50_000))
    with path.open("w", encoding="ascii") as file:
        while file.tell() < SIZE:
            if SIZE // 2 < file.tell() < SIZE // 2 + len(block):
                file.write("The vault opens with XK-4711-Q.\n")
            file.write(block)
    path.chmod(0o644)
    yield path
    path.unlink()


def command(server, *arguments: str) -> list[str]:
    endpoint = ("--base-url", server.base_url, "--model", "root", "--sub-model", "sub")
    return [sys.executable, CLI, *arguments, *endpoint]


@pytest.mark.parametrize("sandbox", WALLS)
def test_one_line_in_200_megabytes_is_found_by_code(sandbox, big_text, scripted_model, request):
    request.getfixturevalue("sandbox_image" if sandbox == "docker" else "sandbox_env")
    root = Turns(
        [
            "```repl\nprint(type(context), len(context))\nat = context.find('The vault')\nprint(at)\n```",
            "```repl\nline = context[at:context.find('\\n', at)]\n"
            "answer['content'] = llm_query('Which code? ' + line)\nanswer['ready'] = True\n```",
        ]
    )
    server = scripted_model({"root": root, "sub": lambda asked: re.findall(r"\w\w-\d{4}-\w", asked.prompt)[0]})
    ask = command(
        server, "ask", "How does the vault open?", str(big_text), "--sandbox", sandbox, "--json", "--no-trace"
    )
    measured = subprocess.run([sys.executable, "-c", MEASURE, *ask], capture_output=True, text=True, check=True)
    told = json.loads(measured.stdout)
    assert told["code"] == 0, told["err"]
    result = json.loads(told["out"])
    assert (result["answer"], result["ready"], result["stop_reason"]) == ("XK-4711-Q", True, "answered")
    assert (result["usage"]["root"]["calls"], result["usage"]["sub"]["calls"]) == (2, 1)
    assert told["peak"] < MOST_MEMORY
    assert max(len(json.dumps(each.body)) for each in server.requests) < 20_000


@pytest.mark.parametrize("sandbox", WALLS)
def test_a_thousand_sub_calls_reach_the_configured_concurrency(sandbox, scripted_model, request):
    request.getfixturevalue("sandbox_image" if sandbox == "docker" else "sandbox_env")
    cell = (
        "```repl\nreplies = llm_batch([f'number {i}' for i in range(1000)])\n"
        "answer['content'] = str(replies == [f'{i}' for i in range(1000)])\nanswer['ready'] = True\n```"
    )

    async def sub(asked):
        return {"text": asked.prompt.split()[-1], "delay": 0.3}

    server = scripted_model({"root": cell, "sub": sub})
    ask = command(server, "ask", "Are they all there?", "--sandbox", sandbox, "--json", "--no-trace", "--quiet")
    done = subprocess.run(ask, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["answer"] == "True"
    assert result["usage"]["sub"]["calls"] == server.request_counts["sub"] == 1000
    assert server.max_in_flight == 256


@pytest.mark.parametrize("sandbox", WALLS)
def test_a_killed_host_leaves_nothing_once_the_next_command_has_run(sandbox, scripted_model, request, tmp_path):
    request.getfixturevalue("sandbox_image" if sandbox == "docker" else "sandbox_env")
    server = scripted_model({"root": "```repl\nprint('busy', flush=True)\nwhile True: pass\n```"})
    ask = command(server, "ask", "?", "--sandbox", sandbox, "--trace-dir", str(tmp_path))
    host = subprocess.Popen(ask, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    request.addfinalizer(host.wait)
    request.addfinalizer(host.kill)
    deadline = time.monotonic() + 60
    while not any("cell.started" in path.read_text(encoding="utf-8") for path in tmp_path.glob("*/events.jsonl")):
        assert host.poll() is None
        assert time.monotonic() < deadline, "the cell did not start"
        time.sleep(0.05)
    started = _descendants(host.pid)
    host.kill()
    host.wait()
    (trace,) = tmp_path.glob("*/events.jsonl")
    run_id = json.loads(trace.read_text(encoding="utf-8").splitlines()[0])["run_id"]
    subprocess.run([sys.executable, CLI, "doctor"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if sandbox == "docker":
        client = connect()
        assert not client.containers.list(all=True, filters={"label": f"rlm.run={run_id}"})
        client.close()
    assert not [each for each in leases.list_leftovers(ask_engine=sandbox == "docker") if run_id in repr(each)]
    assert sandbox == "docker" or len(started) >= 3
    assert not [pid for pid in started if _fields(pid)[0] not in {b"Z", b""}]


def _descendants(root: int) -> list[int]:
    """The processes below `root`, by /proc."""
    parents = {int(name): int(_fields(name)[1]) for name in os.listdir("/proc") if name.isdigit()}
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]


def _fields(pid: int | str) -> tuple[bytes, bytes]:
    """The state and the parent of a process; empty and 0 once it is gone. A zombie waits for the machine's init."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return b"", b"0"
    state, parent = stat[stat.rfind(b")") + 2 :].split()[:2]
    return state, parent
