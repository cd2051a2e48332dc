"""The scripted model server, seen through a plain HTTP client and through the official one."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
import time

import aiohttp
import pytest
from openai import AsyncOpenAI, OpenAI

from rlm.testing import Fault, Reply, ScriptedModelServer, ScriptedRequest, Turns


async def post(server, model="m", prompt="hello", **body):
    payload = {"model": model, "messages": [{"role": "user", "content": prompt}], **body}
    url = f"{server.base_url}/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, json=payload) as response:
        return response.status, response.headers, await response.text()


def content(text):
    return json.loads(text)["choices"][0]["message"]["content"]


async def test_replies_by_model_in_order_and_the_last_repeats(scripted_model):
    server = scripted_model({"root": ["first", "second"], "sub": "always"})
    texts = [content((await post(server, model))[2]) for model in ("root", "sub", "root", "root", "sub")]
    assert texts == ["first", "always", "second", "second", "always"]
    assert server.request_counts == {"root": 3, "sub": 2}
    status, _, body = await post(server, "other")
    assert status == 404
    assert json.loads(body)["error"]["code"] == "model_not_found"


async def test_turns_go_by_the_conversation(scripted_model):
    server = scripted_model({"root": Turns(["one", "two"])})
    said = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "one"}, {"role": "user", "content": "r"}]
    for _ in range(2):
        assert content((await post(server, "root"))[2]) == "one"
        assert content((await post(server, "root", messages=said))[2]) == "two"


async def test_computed_replies_sync_and_async(scripted_model):
    async def slow(request: ScriptedRequest):
        await asyncio.sleep(0.01)
        return {"text": f"{request.model}:{request.prompt}:{request.index}"}

    server = scripted_model({"a": slow, "*": lambda request: request.prompt.upper()})
    assert content((await post(server, "a", "x"))[2]) == "a:x:0"
    assert content((await post(server, "b", "y"))[2]) == "Y"


async def test_a_callable_that_raises_is_kept_for_the_test(scripted_model):
    server = scripted_model(lambda request: 1 / 0)
    status, _, body = await post(server)
    assert status == 400
    assert "ZeroDivisionError" in body
    assert isinstance(server.errors[0], ZeroDivisionError)


def test_the_official_client_reads_replies_streams_tools_and_usage(scripted_model):
    call = {"name": "python", "arguments": {"code": "print(1)"}}
    server = scripted_model({"m": Reply(text="x" * 40, tool_calls=[call]), "n": {"text": "abc", "usage": False}})
    with OpenAI(api_key="k", base_url=server.base_url) as client:
        assert [model.id for model in client.models.list()] == ["m", "n"]
        ask = client.chat.completions.create
        whole = ask(model="m", messages=[{"role": "user", "content": "y" * 400}]).model_dump()
        arguments = '{"code": "print(1)"}'
        assert whole["usage"]["prompt_tokens"] == 100
        assert whole["usage"]["completion_tokens"] == (40 + len(arguments)) // 4
        assert whole["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == arguments

        stream = ask(
            model="m",
            messages=[{"role": "user", "content": "y"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk.model_dump() for chunk in stream]
        deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
        assert "".join(delta["content"] or "" for delta in deltas) == "x" * 40
        pieces = [call["function"]["arguments"] for delta in deltas for call in delta["tool_calls"] or []]
        assert "".join(pieces) == arguments
        assert chunks[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
        assert ask(model="n", messages=[]).usage is None


async def test_no_usage_event_unless_asked(scripted_model):
    _, _, body = await post(scripted_model(), stream=True)
    assert "usage" not in body
    assert body.rstrip().endswith("[DONE]")


async def test_delays_and_chunking(scripted_model):
    server = scripted_model(Reply(text="abcdef", chunk_size=2, chunk_delay=0.02, delay=0.05))
    begun = time.perf_counter()
    _, _, body = await post(server, stream=True)
    assert time.perf_counter() - begun >= 0.05 + 5 * 0.02
    assert body.count('"content": "') == 4


async def test_faults(scripted_model):
    server = scripted_model(
        [
            Fault.rate_limit(7),
            Fault.http(500),
            Fault.malformed(),
            Fault.empty_choices(),
            Fault.null_content(),
        ]
    )
    status, headers, body = await post(server)
    assert (status, headers["Retry-After"]) == (429, "7")
    assert json.loads(body)["error"]["code"] == "rate_limit_exceeded"
    assert (await post(server))[0] == 500
    with pytest.raises(ValueError, match="Expecting"):
        json.loads((await post(server))[2])
    assert json.loads((await post(server))[2])["choices"] == []
    assert content((await post(server))[2]) is None


@pytest.mark.parametrize("stream", [False, True])
async def test_broken_connections(scripted_model, stream):
    server = scripted_model([Fault.drop(), Fault.drop(mid_body=True), Fault.truncated()])
    with pytest.raises(aiohttp.ClientConnectionError):
        await post(server, stream=stream)
    with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientConnectionError)):
        await post(server, stream=stream)
    if stream:
        _, _, body = await post(server, stream=True)
        assert "[DONE]" not in body
        assert "half a reply" in body
    else:
        with pytest.raises(aiohttp.ClientPayloadError):
            await post(server)


async def test_a_stall_ends_with_the_client(scripted_model):
    server = scripted_model(Fault.stall())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await post(server)
    for _ in range(100):
        if server.in_flight == 0:
            break
        await asyncio.sleep(0.01)
    assert server.in_flight == 0


async def test_key_unsupported_params_and_concurrency_limit(scripted_model):
    server = scripted_model(api_key="secret")
    assert (await post(server))[0] == 401
    async with AsyncOpenAI(api_key="secret", base_url=server.base_url) as client:
        assert (await client.chat.completions.create(model="m", messages=[])).choices[0].message.content == "ok"

    status, _, body = await post(scripted_model(unsupported_params=["max_tokens"]), max_tokens=3)
    assert status == 400
    assert "max_completion_tokens" in body

    narrow = scripted_model(delay=0.2, max_concurrency=3, retry_after=1)
    outcomes = await asyncio.gather(*(post(narrow) for _ in range(8)))
    assert sorted(status for status, _, _ in outcomes) == [200] * 3 + [429] * 5
    assert (narrow.max_in_flight, narrow.rejected_count) == (3, 5)


async def test_it_bears_256_at_once_and_records_within_bounds(scripted_model):
    server = scripted_model(delay=1.5, record=10)
    small = json.dumps({"model": "m", "messages": []}).encode()
    large = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 3_000_000}]}).encode()

    async def one(session, body):
        async with session.post(f"{server.base_url}/chat/completions", data=io.BytesIO(body)) as response:
            return response.status

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        statuses = await asyncio.gather(one(session, large), *(one(session, small) for _ in range(255)))
    assert statuses == [200] * 256
    assert server.max_in_flight == 256
    assert len(server.requests) == 10


def test_bad_scripts_are_refused_at_once():
    with pytest.raises(TypeError, match="unexpected keyword"):
        ScriptedModelServer({"m": {"text": "x", "colour": "red"}})
    with pytest.raises(TypeError, match="not int"):
        ScriptedModelServer({"m": ["x", 3]})
    with pytest.raises(ValueError, match="empty"):
        ScriptedModelServer({"m": []})


def test_a_taken_port_is_an_error_and_closing_twice_is_not():
    with ScriptedModelServer() as server:
        port = int(server.base_url.split(":")[2].split("/")[0])
        with pytest.raises(OSError, match="in use"):
            ScriptedModelServer(port=port).start()
    server.close()


def test_the_plugin_imports_nothing_heavy():
    heavy = ("aiohttp", "openai", "pydantic", "docker", "jupyter_client")
    code = f"import sys, rlm.testing.plugin; print(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_isolated_env(monkeypatch, isolated_env, tmp_path):
    import os
    from pathlib import Path

    assert isolated_env == tmp_path == Path.cwd()
    assert not [name for name in os.environ if name.startswith(("RLM_", "OPENAI_"))]
    assert Path.home().is_relative_to(tmp_path)
