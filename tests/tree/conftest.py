"""Runs with a scripted root, children and leaves, in every sandbox."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlm import RLM, RunResult, Settings
from rlm.testing import ScriptedModelServer

SANDBOXES = [
    pytest.param("docker", marks=pytest.mark.docker),
    pytest.param("bwrap", marks=pytest.mark.bwrap),
    "process",
]


def cell(code: str) -> str:
    return f"```repl\n{code}\n```"


FINISH = "answer['ready'] = True\n"


class Stage:
    """A scripted endpoint and the run that is asked of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.server: ScriptedModelServer | None = None
        self.events: list[dict[str, Any]] = []

    async def run(self, replies: Any, *, context: Any = None, inputs: Any = None, **options: Any) -> RunResult:
        """Play a run to its end; `options` are settings, `server_…` those of the server."""
        served = {name[7:]: options.pop(name) for name in list(options) if name.startswith("server_")}
        options = {"sandbox": "process", "trace_dir": self._folder / "traces", "model": "root", **options}
        if options.get("models"):
            del options["model"]
        elif options.get("sub_model") is None:
            options["sub_model"] = "sub"
        with ScriptedModelServer(replies, **served) as self.server:
            settings = Settings(base_url=self.server.base_url, **options)
            result = await RLM(settings=settings).arun("the question", context, inputs=inputs)
        assert self.server.errors == []
        assert result.trace is not None
        self.events = [json.loads(line) for line in result.trace.read_text().splitlines()]
        return result

    def of(self, type_: str, rollout: str | None = None) -> list[dict[str, Any]]:
        return [e for e in self.events if e["type"] == type_ and rollout in (None, e.get("rollout"))]

    def prompts(self, model: str) -> list[str]:
        assert self.server is not None
        return [request.prompt for request in self.server.requests if request.model == model]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture(params=SANDBOXES)
def sandbox(request: pytest.FixtureRequest) -> str:
    if request.param == "docker":
        request.getfixturevalue("sandbox_image")
    elif request.param == "bwrap":
        request.getfixturevalue("sandbox_env")
    return str(request.param)


Script = Callable[[Any], Any]
