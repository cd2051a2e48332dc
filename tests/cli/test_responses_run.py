"""`rlm ask --api responses`: a whole run through the Responses API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlm.testing import Reply, ScriptedRequest, Turns

pytestmark = pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")

LOOK = """
counts = llm_batch(["how many?", "and now?"], schema={"n": int})
print(counts)
"""
FINISH = "answer.update(content=str(sum(c['n'] for c in counts)), ready=True)"


def turns(native: bool) -> Turns:
    cells = [LOOK, FINISH]
    if not native:
        return Turns([f"```repl\n{cell}\n```" for cell in cells])
    calls = [
        {"id": f"call_{number}", "name": "python", "arguments": {"code": cell}} for number, cell in enumerate(cells)
    ]
    return Turns([Reply(tool_calls=[call], reasoning=f"opaque {call['id']}") for call in calls])


@pytest.mark.parametrize("native", [False, True])
def test_a_run(ask, scripted_model, native, tmp_path):
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 64}}
    server = scripted_model({"root": turns(native), "sub": Reply(text='{"n": 4}', usage=usage)})
    told = ("--api", "responses", "--json", "--trace-dir", tmp_path / "runs", *(["--native-tools"] if native else []))
    ran = ask(server, *told)
    result = json.loads(ran.out)
    assert (ran.code, result["answer"], result["turns"]) == (0, "8", 2)
    assert (result["usage"]["sub"]["input_tokens"], result["usage"]["root"]["estimated"]) == (200, False)
    assert {(request.api, request.body["store"]) for request in server.requests} == {("responses", False)}
    roots = [request for request in server.requests if request.model == "root"]
    subs = [request for request in server.requests if request.model == "sub"]
    assert all(request.body["instructions"].startswith("You answer") for request in roots)
    assert all(request.body["text"]["format"]["type"] == "json_schema" for request in subs)
    thoughts = [item["encrypted_content"] for item in roots[1].body["input"] if item.get("type") == "reasoning"]
    assert thoughts == (["opaque call_0"] if native else [])
    (trace,) = Path(tmp_path / "runs").glob("*/*.jsonl")
    assert "opaque" not in trace.read_text()
    assert '"api": "responses"' in trace.read_text() or '"api":"responses"' in trace.read_text()


def test_tools_of_sub_llms(ask, scripted_model, isolated_env):
    (isolated_env / "lookup.py").write_text(
        'def lookup(name: str) -> str:\n    """Look up a name."""\n    return "bee"\n'
    )

    def sub(request: ScriptedRequest) -> Any:
        if request.turn == 0:
            return Reply(
                tool_calls=[{"id": "call_x", "name": "lookup", "arguments": {"name": "a"}}], reasoning="opaque"
            )
        return f"it is a {request.prompt}"

    root = "```repl\nanswer.update(content=llm_query('what is a?'), ready=True)\n```"
    server = scripted_model({"root": root, "sub": sub})
    ran = ask(server, "--api", "responses", "--tool", "lookup.py:lookup")
    assert (ran.code, ran.out) == (0, "it is a bee\n")
    second = [request for request in server.requests if request.model == "sub"][1]
    assert second.body["tools"][0]["name"] == "lookup"
    kinds = [item.get("type", item.get("role")) for item in second.body["input"]]
    assert kinds[-3:] == ["reasoning", "function_call", "function_call_output"]
