"""`rlm mcp`: the real command over stdio, with the official client."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rlm.testing import Fault
from tests import needs
from tests.cli.conftest import ROOT, options
from tests.cli.conftest import rlm as rlm
from tests.cli.conftest import start as start
from tests.serve.conftest import answer, cell, wait_until

mcp = needs.module("mcp")
pytestmark = [pytest.mark.mcp, pytest.mark.slow]

BATCH = cell("print(llm_batch(['one', 'two']))")


@pytest.fixture
def docs(isolated_env: Path) -> Path:
    (isolated_env / "docs").mkdir()
    (isolated_env / "docs/a.txt").write_text("the needle")
    (isolated_env / "docs/b.txt").write_text("hay")
    (isolated_env / "secret.txt").write_text("secret")
    (isolated_env / "docs/out.txt").symlink_to("../secret.txt")
    return isolated_env / "docs"


@asynccontextmanager
async def connected(model: Any, docs: Path, *arguments: str, **client: Any) -> AsyncIterator[Any]:
    command = [str(ROOT / "cli.py"), "mcp", "--root", str(docs), *options(model), *arguments]
    parameters = mcp.StdioServerParameters(command=sys.executable, args=command, env=dict(os.environ))
    async with mcp.Client(mcp.stdio_client(parameters), **client) as session:
        yield session


def texts(result: Any) -> list[str]:
    return [part.text for part in result.content if part.type == "text"]


async def test_documents_are_asked(scripted_model, docs):
    model = scripted_model({"root": [BATCH, answer("sorted(context.items())")], "sub": "yes"})
    told: list[tuple[float, str]] = []

    async def progress(step: float, total: float | None, message: str | None) -> None:
        told.append((step, message or ""))

    async with connected(model, docs) as client:
        (tool,) = (await client.list_tools()).tools
        assert tool.name == "ask_documents"
        assert str(docs) in tool.description
        assert tool.input_schema["properties"]["max_turns"]["maximum"] == 30
        wanted = {"question": "what is where?", "paths": ["a.txt", str(docs / "b.txt")], "max_turns": 5}
        result = await client.call_tool("ask_documents", wanted, progress_callback=progress)
        assert texts(result) == [str([("a.txt", "the needle"), ("b.txt", "hay")])]
        about = result.structured_content
        assert about["answer"] == texts(result)[0]
        assert (about["turns"], about["stop_reason"], about["usage"]["sub"]["calls"]) == (2, "answered", 2)
        assert "trace" not in about
        steps = [message for _, message in told]
        assert [step for step, _ in told] == sorted({step for step, _ in told})
        assert {"turn 1 of 5", "2 sub-calls", "sub-calls done: 2", "turn 2 of 5", "the answer is ready"} <= set(steps)

        (link,) = (part for part in result.content if part.type == "resource_link")
        assert link.uri == f"rlm://runs/{about['run_id']}"
        (listed,) = (await client.list_resources()).resources
        assert listed.uri == link.uri
        kept = json.loads((await client.read_resource(link.uri)).contents[0].text)
        assert (kept["answer"], kept["turns"]) == (about["answer"], 2)
        assert "trace" not in kept
        transcript = json.loads((await client.read_resource(f"{link.uri}/transcript")).contents[0].text)
        assert [message["role"] for message in transcript["messages"]] == [
            "system",
            "user",
            "assistant",
            "user",
            "assistant",
        ]
        for uri in ("rlm://runs/none", "rlm://runs/../..", f"{link.uri}/events", "file:///etc/passwd"):
            with pytest.raises(mcp.MCPError):
                await client.read_resource(uri)


async def test_what_cannot_be_asked_is_a_tool_error_and_costs_nothing(scripted_model, docs):
    model = scripted_model({"root": "never"})
    async with connected(model, docs, "--max-turns", "3") as client:
        for wanted, why in (
            ({"question": "q", "paths": ["../secret.txt"]}, "beneath the roots"),
            ({"question": "q", "paths": ["out.txt"]}, "beneath the roots"),
            ({"question": "q", "paths": ["/etc/passwd"]}, "beneath the roots"),
            ({"question": "q", "paths": "a.txt"}, "paths: a list"),
            ({"question": " "}, "question: a text"),
            ({"paths": []}, "question: a text"),
            ({"question": "q", "max_turns": 4}, "max_turns: at most 3"),
            ({"question": "q", "sandbox": "docker"}, "sandbox: not a limit"),
        ):
            result = await client.call_tool("ask_documents", wanted)
            assert result.is_error
            assert why in texts(result)[0]
        with pytest.raises(mcp.MCPError, match="ask_documents"):
            await client.session.call_tool("other_tool", {})
        assert (await client.list_resources()).resources == []
    assert model.request_count == 0


@pytest.mark.parametrize("mode", ["auto", pytest.param("legacy", marks=pytest.mark.slow)])
async def test_the_clients_roots_narrow_the_servers(scripted_model, docs, mode):
    model = scripted_model({"root": answer("context")})
    roots = [docs.parent / "elsewhere"]

    async def list_roots(_: Any) -> Any:
        return mcp.types.ListRootsResult(roots=[mcp.types.Root(uri=root.as_uri()) for root in roots])

    async with connected(model, docs, mode=mode, list_roots_callback=list_roots) as client:
        refused = await client.call_tool("ask_documents", {"question": "q", "paths": ["a.txt"]})
        assert refused.is_error
        assert model.request_count == 0
        roots[0] = docs.parent
        found = await client.call_tool("ask_documents", {"question": "q", "paths": ["a.txt"]})
        assert texts(found) == ["the needle"]
        still = await client.call_tool("ask_documents", {"question": "q", "paths": [str(docs.parent / "secret.txt")]})
        assert still.is_error


async def test_a_call_that_is_cancelled_cancels_its_run(scripted_model, docs, isolated_env):
    model = scripted_model({"root": [cell("answer['content'] = 'a draft'"), Fault.stall()]})
    async with connected(model, docs) as client:
        call = asyncio.create_task(client.call_tool("ask_documents", {"question": "q", "text": "some text"}))
        await asyncio.to_thread(wait_until, lambda: model.request_counts["root"] == 2)
        call.cancel()
        await asyncio.to_thread(wait_until, lambda: model.in_flight == 0)
        results = (isolated_env / "home/.local/state/rlm/runs").glob
        await asyncio.to_thread(wait_until, lambda: len(list(results("*/result.json"))) == 1)
        (run,) = (await client.list_resources()).resources
        assert run.description.startswith("interrupted after")
        assert json.loads((await client.read_resource(run.uri)).contents[0].text)["answer"] == "a draft"


async def test_a_run_that_fails_and_one_that_is_cut_off(scripted_model, docs):
    model = scripted_model({"root": [cell("answer['content'] = 'half'"), Fault.http(401, "no")]})
    async with connected(model, docs) as client:
        draft = await client.call_tool("ask_documents", {"question": "q", "max_turns": 1})
        assert texts(draft) == ["half", "[a draft: the run was stopped by max_turns]"]
        assert not draft.is_error
        failed = await client.call_tool("ask_documents", {"question": "q"})
        assert failed.is_error
        assert texts(failed)[0].startswith("AuthError: ")


def test_nothing_but_the_protocol_is_on_stdout_and_the_end_of_stdin_ends_it(start, scripted_model, docs):
    model = scripted_model({"root": answer("1")})
    process = start("mcp", "--root", str(docs), *options(model), stdin=-1)

    def send(**message: Any) -> None:
        process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        process.stdin.flush()

    info = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    send(id=1, method="initialize", params=info)
    assert json.loads(process.stdout.readline())["result"]["serverInfo"]["name"] == "rlm"
    send(method="notifications/initialized")
    process.stdin.write(b"this is no JSON\n")
    send(id=2, method="tools/call", params={"name": "ask_documents", "arguments": {"question": "q"}})
    replies = [json.loads(process.stdout.readline())]
    while replies[-1].get("id") != 2:
        replies.append(json.loads(process.stdout.readline()))
    assert replies[-1]["result"]["content"][0]["text"] == "1"
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, b"")
    assert b"no wall" in err
    assert b"Traceback" not in err


@pytest.mark.slow
def test_a_signal_ends_it_with_its_runs(start, scripted_model, docs, isolated_env):
    model = scripted_model({"root": [cell("answer['content'] = 'a draft'"), Fault.stall()]})
    process = start("mcp", "--root", str(docs), *options(model), stdin=-1)
    info = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    for message in (
        {"id": 1, "method": "initialize", "params": info},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": {"name": "ask_documents", "arguments": {"question": "q"}}},
    ):
        process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        process.stdin.flush()
    wait_until(lambda: model.request_counts["root"] == 2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 130
    (result,) = (isolated_env / "home/.local/state/rlm/runs").glob("*/result.json")
    assert json.loads(result.read_text())["stop_reason"] == "interrupted"


Rlm = Callable[..., Any]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--root", "nowhere", "--model", "m"], "not a folder"),
        (["--model", ""], "no model"),
        (["--sandbox", "x"], "sandbox"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(rlm: Rlm, arguments, told):
    ran = rlm("mcp", *arguments)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert told in ran.err
