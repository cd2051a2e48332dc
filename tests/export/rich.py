"""A run in which nearly everything happens: children, tools, functions, failures, compaction, a dead kernel."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from rlm import RLM, RunResult, Settings
from rlm.testing import Fault, ScriptedModelServer, ScriptedRequest

SECRET = "ZEBRA-4711"
"""Stands in the document, and comes back in prompts, replies, outputs, tools and the answer; in no code."""
DOCUMENT = f"line one\nthe word is {SECRET}\n" + "filler\n" * 50


def cell(code: str, prose: str = "") -> str:
    return f"{prose}\n```repl\n{code}\n```"


ROOT: list[Any] = [
    cell("print(context[:40])\nout = llm_batch(['use a tool: ' + context[9:40], 'boom', 'plain'])", "I look first."),
    cell("kids = rlm_batch('what is it?', [context[9:40], 'nothing'])\nprint(kids, note(context[9:40], n=2))"),
    "Let me think about it, with no code.",
    {"tool_calls": [{"name": "python", "arguments": {"code": "print(1 / 0)"}}]},
    cell("import os\nos._exit(1)"),
    cell("llm_batch(['plain', 'again'])\nn = llm_query('a number', schema=int)\nbig = llm_query(context[9:40] * 800)"),
    Fault.http(400, "too long", code="context_length_exceeded"),
    f"Handover: the word is {SECRET}.",
    cell("answer['content'] = 'It is ' + context[21:31]\nanswer['ready'] = True", f"I know: {SECRET}"),
]

CHILD = cell(
    "print(context)\nanswer['content'] = 'child read ' + llm_query('sum up ' + context)\nanswer['ready'] = True"
)


def leaf(request: ScriptedRequest) -> Any:
    if request.stream:  # a turn of a child
        return CHILD
    if "a number" in request.prompt or "JSON" in request.prompt:
        return "I do not know" if request.turn == 0 else '{"value": 3}'
    if "boom" in request.prompt:
        return Fault.http(400, "no such thing")
    if "use a tool" in request.prompt:
        return {"tool_calls": [{"name": "lookup", "arguments": {"word": request.prompt[12:]}}]}
    if request.messages[-1]["role"] == "tool":
        return f"the tool said {request.prompt}"
    return f"read: {request.prompt[:40]}"


def lookup(word: str) -> str:
    """Looks a word up."""
    return f"{word} is an animal"


def note(text: str, n: int = 1) -> str:
    """Notes a text."""
    return text * n


def play(folder: Path, **options: Any) -> RunResult:
    """Play it, with its trace in `folder`."""
    replies = {"root": list(ROOT), "child": leaf, "leaf": leaf}
    (folder / "animals.txt").write_text(DOCUMENT)
    with ScriptedModelServer(replies) as server, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the process sandbox")
        settings = Settings(
            models=("root", "child", "leaf"),
            base_url=server.base_url,
            sandbox="process",
            depth=2,
            trace_dir=folder / "traces",
            tools=(lookup,),
            functions={"note": note},
            **options,
        )
        result = RLM(settings=settings).run("Which word is it?", inputs=[folder / "animals.txt"])
    assert server.errors == []
    assert result.stop_reason == "answered", result
    return result
