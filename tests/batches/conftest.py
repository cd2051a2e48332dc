"""Batches of tasks whose scripted models count what they are asked."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rlm.testing import ScriptedModelServer

FIRST = """```repl
r = llm_batch([f"part {k} of {context}" for k in range(3)])
print(r)
```"""
LAST = """```repl
answer["content"] = context + ": " + ", ".join(r)
answer["ready"] = True
```"""


def answer_of(name: str) -> str:
    return f"{name}: " + ", ".join(f"part {k} of {name}!" for k in range(3))


class Models:
    """A root that asks three sub-calls in its first turn and answers in its second; `seen` counts requests by text."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.delay = 0.0
        self.broken: set[str] = set()
        """Names of contexts whose sub-calls fail."""

    def script(self) -> dict[str, Any]:
        return {"root": self._root, "sub": self._sub}

    def _root(self, request: Any) -> Any:
        question = re.search(r"a question about (\S+) \?", json.dumps(list(request.messages)))
        name = question[1] if question else "?"
        self.seen[f"root {name} {request.turn}"] += 1
        if name in self.broken:
            return {"status": 401}
        return {"text": (FIRST, LAST)[min(request.turn, 1)], "delay": self.delay}

    def _sub(self, request: Any) -> Any:
        self.seen[request.prompt] += 1
        return {"text": f"{request.prompt}!", "delay": self.delay}


@pytest.fixture
def models() -> Models:
    return Models()


@pytest.fixture
def server(models: Models) -> Iterator[ScriptedModelServer]:
    with ScriptedModelServer(models.script()) as running:
        yield running


def line(name: str, **values: Any) -> str:
    return json.dumps({"id": name, "question": f"a question about {name} ?", "context": name, **values})


@pytest.fixture
def tasks(isolated_env: Path) -> Callable[..., Path]:
    """Writes the file of tasks with these names."""

    def write(*names: str) -> Path:
        path = isolated_env / "tasks.jsonl"
        path.write_text("".join(line(name) + "\n" for name in names), encoding="utf-8")
        return path

    return write
