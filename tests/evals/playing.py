"""Tasks played by the scripted models of their environment, on a real kernel."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlm import RLM, Settings
from rlm.evals.task import Environment, Task
from rlm.testing import ScriptedModelServer, ScriptedRequest


def answered(environment: Environment, task: Task, folder: Path, *, bad: bool = False) -> str:
    """What the run answers; `bad`: with the root that fails."""
    oracle = environment.oracle
    with ScriptedModelServer({"root": oracle.bad_root if bad else oracle.root, "sub": oracle.sub}) as server:
        settings = Settings(
            model="root",
            sub_model="sub",
            base_url=server.base_url,
            sandbox="process",
            trace_dir=folder / "traces",
            tools=task.tools,
        )
        result = RLM(settings=settings).run(task.question, task.context)
    assert server.errors == []
    assert result.stop_reason == "answered"
    return str(result.answer)


def talked(model: Callable[[ScriptedRequest], Any], prompt: str, tools: Any = (), turns: int = 32) -> str:
    """What a scripted model says in the end; its tools are called as an endpoint's client would."""
    by_name = {tool.__name__: tool for tool in tools}
    messages: list[dict[str, Any]] = [{"role": "user", "content": prompt}]
    for _ in range(turns):
        reply = model(ScriptedRequest(model="m", messages=messages, body={}, headers={}, index=0))
        if isinstance(reply, str):
            return reply
        calls = reply["tool_calls"]
        shown = [{"id": c["id"], "function": {**c, "arguments": json.dumps(c["arguments"])}} for c in calls]
        messages.append({"role": "assistant", "content": "", "tool_calls": shown})
        for call in calls:
            said = by_name[call["name"]](**call["arguments"])
            messages.append({"role": "tool", "content": said if isinstance(said, str) else json.dumps(said)})
    raise AssertionError("it never came to an answer")
