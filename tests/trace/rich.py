"""A scripted run in which everything occurs that a run may consist of. Its replies depend on what is asked alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rlm.config import Settings
from rlm.testing import Fault, ScriptedModelServer, ScriptedRequest

QUESTION = "What does the input say?"
CONTEXT = "The first half is about bees. " * 20 + "The second half is about wasps. " * 20
ANSWER = "bees and wasps; 7; 42; 3 votes; 1 failed"


REQUESTS = 29
"""That it takes."""


def cell(code: str) -> str:
    return f"Let me see.\n```repl\n{code}\n```"


ROOT = [
    "I should look at it first.",
    cell("r = llm_batch(['a', 'b', 'refused', 'long ' * 4000] + [f'part {i}' for i in range(5)])\nprint(r[:2])"),
    cell("n = llm_query('count it', schema={'type': 'integer'})\nfound = llm_query('find it')\nprint(n, found)"),
    cell("kids = rlm_batch(['which insect?'] * 2, contexts=[context[:300], context[700:]])\nprint(kids)"),
    cell(
        "v = llm_batch(['vote'] * 3, cache=False)\nagain = llm_batch(['a', 'b'])\nd = double(21)\n"
        "answer['content'] = f'{kids[0]} and {kids[1]}'\nprint(v, d, [x.cached for x in again])"
    ),
    cell("1 / 0"),
    cell(
        f"answer['content'] += f'; {{n}}; {{d}}; {{len(v)}} votes; {{len([x for x in r if not x])}} failed'\n"
        f"assert answer['content'] == {ANSWER!r}\nanswer['ready'] = True"
    ),
]
CHILD = [
    cell("print(context[:40])"),
    cell("w = llm_query('which? ' + context[-8:])\nanswer['content'] = w\nanswer['ready'] = True"),
]


def search(query: str) -> str:
    """Search the archive."""
    return f"nothing but bees for {query}"


def double(number: int) -> int:
    """Twice the number."""
    return 2 * number


def sub(request: ScriptedRequest) -> Any:
    if request.turn == 0:
        asked = request.prompt
    else:
        asked = next(str(m["content"]) for m in request.messages if m["role"] == "user")
    if "count it" in asked:
        return "7" if request.turn else "rather many"
    if "find it" in asked:
        return (
            "found" if request.turn else {"text": "", "tool_calls": [{"name": "search", "arguments": {"query": "x"}}]}
        )
    if asked == "refused":
        return Fault.http(400, "no")
    if asked.startswith("which? "):
        return "bees" if "bees" in asked else "wasps"
    return f"reply to {asked[:20]}"


def rollout(replies: list[str], request: ScriptedRequest) -> str:
    return replies[min(request.turn, len(replies) - 1)]


def replies() -> dict[str, Any]:
    # A child's turns are streamed, a plain call is not.
    return {"root": lambda request: rollout(ROOT, request), "sub": lambda r: rollout(CHILD, r) if r.stream else sub(r)}


def server(**options: Any) -> ScriptedModelServer:
    return ScriptedModelServer(replies(), **options)


def settings(base_url: str, trace_dir: Path, **options: Any) -> Settings:
    chosen: dict[str, Any] = {
        "model": "root",
        "sub_model": "sub",
        "depth": 2,
        "sandbox": "process",
        "tools": ("tests.trace.rich:search",),
        "functions": {"double": "tests.trace.rich:double"},
    }
    return Settings(**{**chosen, "base_url": base_url, "trace_dir": trace_dir, **options})


def events(folder: Path) -> list[dict[str, Any]]:
    """All whole events in a run's folder; none if it has no trace yet."""
    try:
        lines = (folder / "events.jsonl").read_text().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if line.endswith("\n")]
