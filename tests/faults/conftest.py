"""Runs in which something outside of rlm fails: retries that take milliseconds, and the parts of a scripted run."""

from __future__ import annotations

import gc
import json
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rlm import RLM, RunResult, Settings, root
from rlm.commands import app
from rlm.models import transport
from rlm.models.retry import RetryPolicy
from rlm.testing import ScriptedModelServer

PATIENCE = 0.4
"""Seconds, in the place of minutes, after which an endpoint is given up."""


def cell(code: str) -> str:
    return f"```repl\n{code}\n```"


DRAFT = cell("answer['content'] = 'the draft'\nprint('one')")
FINISH = cell("answer['content'] = 'the answer'\nanswer['ready'] = True")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same retries as ever, on a shorter scale; the client is loaded, which takes longer than these."""
    from openai import AsyncOpenAI, DefaultAioHttpClient  # noqa: F401

    scale: dict[str, Any] = {
        "base_delay": 0.002,
        "max_delay": 0.01,
        "patience": PATIENCE,
        "unreachable_patience": PATIENCE,
    }
    monkeypatch.setattr(transport, "RetryPolicy", partial(RetryPolicy, **scale))
    monkeypatch.setattr(root, "REASK_AFTER", (0.01, 0.01))


class Told(NamedTuple):
    """What a run came to, and its trace."""

    result: RunResult
    events: list[dict[str, Any]]

    def of(self, type_: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == type_]


def read(path: Path) -> list[dict[str, Any]]:
    """Every whole event of a trace."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


Play = Callable[..., Told]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """`play(server_or_url, context, resume=False, **settings)` plays one run to its end."""

    def run(server: ScriptedModelServer | str, context: Any = "c", *, resume: bool = False, **options: Any) -> Told:
        base_url = server if isinstance(server, str) else server.base_url
        chosen: dict[str, Any] = {"model": "root", "sub_model": "sub", "sandbox": "process"}
        settings = Settings(**{**chosen, "base_url": base_url, "trace_dir": tmp_path / "traces", **options})
        rlm = RLM(settings=settings)
        result = rlm.resume() if resume else rlm.run("q", context)
        assert result.trace is not None
        if not isinstance(server, str):
            assert server.errors == []
        return Told(result, read(result.trace))

    return run


def ended_well_recorded(told: Told) -> None:
    """The trace ends with the very result, and numbers all that it tells."""
    assert told.events[-1]["type"] == "run.completed"
    assert told.events[-1]["result"] == told.result.to_dict()
    numbers = [event["seq"] for event in told.events]
    assert numbers == sorted(set(numbers))


@pytest.fixture
def cli(isolated_env: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`cli(server, *options)` runs `rlm ask` on a small document; its exit code, stdout and stderr."""

    def ask(server: ScriptedModelServer | str, *options: object) -> tuple[int, str, str]:
        base_url = server if isinstance(server, str) else server.base_url
        document = isolated_env / "document.txt"
        document.write_text("a document", encoding="utf-8")
        models = ("--model", "root", "--sub-model", "sub", "--base-url", base_url, "--sandbox", "process")
        capfd.readouterr()
        code = app.run(["ask", "q", str(document), *models, *map(str, options)])
        return (code, *capfd.readouterr())

    return ask


@pytest.fixture(autouse=True)
def left_to_the_collector() -> Iterator[None]:
    """docker-py leaves the sockets of connections that fail to the garbage collector: here, and not in a later test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
