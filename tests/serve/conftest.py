"""Servers of runs on loopback, with scripted models behind them and real clients before them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from rlm import Settings
from rlm.serve.keys import Keys
from rlm.serve.options import ServeOptions
from rlm.serve.server import RlmServer
from rlm.testing import ScriptedModelServer
from tests.cli.conftest import rlm as rlm
from tests.cli.conftest import start as start

FIELDS = set(ServeOptions.__dataclass_fields__)


def cell(code: str) -> str:
    return f"```repl\n{code}\n```"


def answer(expression: str) -> str:
    """A turn that answers with the value of an expression."""
    return cell(f"answer['content'] = str({expression})\nanswer['ready'] = True")


class Served:
    """A server that goes on in a thread."""

    def __init__(self, server: RlmServer, model: ScriptedModelServer, log: list[str]) -> None:
        self.server = server
        self.model = model
        """The scripted endpoint."""
        self.log = log
        self.failures: list[BaseException] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait(60)
        if self.failures:
            raise self.failures[0]
        self.base = server.url.removesuffix("/v1")

    def _run(self) -> None:
        try:
            asyncio.run(self.server.serve(ready=self._ready.set))
        except BaseException as error:
            self.failures.append(error)
            self._ready.set()

    def openai(self, key: str = "none", **options: Any) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.server.url, api_key=key, max_retries=0, **options)

    def http(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.base, trust_env=False, timeout=60, **options)

    def post(self, body: Any, **options: Any) -> httpx.Response:
        """One completion."""
        with self.http() as client:
            return client.post("/v1/chat/completions", json=body, **options)

    def figure(self, name: str) -> float:
        """One line of the metrics."""
        with self.http() as client:
            lines = client.get("/metrics").text.splitlines()
        return float(next(line.rpartition(" ")[2] for line in lines if line.startswith(name)))

    def end(self) -> None:
        self.server.end()
        self.join()

    def join(self) -> None:
        self._thread.join(40)
        assert not self._thread.is_alive()


Serve = Callable[..., Served]


@pytest.fixture
def serve(isolated_env: Path, scripted_model: Callable[..., ScriptedModelServer]) -> Iterator[Serve]:
    """`serve(replies, **options)`: the options are those of `ServeOptions` and of `Settings`, and `keys`."""
    started: list[Served] = []

    def begin(replies: Any = "ok", *, keys: tuple[str, ...] = (), **options: Any) -> Served:
        model = scripted_model(replies)
        own = {name: options.pop(name) for name in list(options) if name in FIELDS}
        given = {"model": "root", "sub_model": "sub", "sandbox": "process", "trace_dir": isolated_env / "runs"}
        settings = Settings(**{**given, "base_url": model.base_url, "api_key": "sk-upstream-key", **options})
        log: list[str] = []
        server = RlmServer(settings, ServeOptions(port=0, **own), keys=Keys(keys), log=log.append)
        started.append(Served(server, model, log))
        return started[-1]

    yield begin
    for served in started:
        served.server.end()
    for served in started:
        served.join()
        assert served.failures == []


def question(text: Any = "what is it?", **more: Any) -> dict[str, Any]:
    return {"model": "rlm", "messages": [{"role": "user", "content": text}], **more}


def wait_until(true: Callable[[], bool], seconds: float = 45) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
