"""The command line in this process, and one real process of it where signals, pipes and terminals are the subject."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rlm.commands import app

ROOT = Path(__file__).resolve().parents[2]


class Ran(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("rlm: error: ")]


@pytest.fixture
def rlm(isolated_env: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs `rlm …` in this process, in an empty folder and without the user's settings."""

    def run(*arguments: object, **environ: str) -> Ran:
        with monkeypatch.context() as patch:
            for name, value in environ.items():
                patch.setenv(name, value)
            capfd.readouterr()
            code = app.run([str(argument) for argument in arguments])
        return Ran(code, *capfd.readouterr())

    return run


@pytest.fixture
def document(isolated_env: Path) -> Path:
    path = isolated_env / "hay.txt"
    path.write_text("hay\n" * 1000 + "a needle here\n" + "hay\n" * 1000)
    return path


def options(server: Any) -> tuple[str, ...]:
    """The options that make a server's scripts the models of a run."""
    base_url = server if isinstance(server, str) else server.base_url
    return ("--model", "root", "--sub-model", "sub", "--base-url", base_url, "--sandbox", "process")


@pytest.fixture
def ask(rlm: Callable[..., Ran], document: Path) -> Callable[..., Ran]:
    """Runs `rlm ask` to its end in this process."""

    def run(server: Any, *arguments: object, inputs: tuple[object, ...] = (document,), **environ: str) -> Ran:
        return rlm("ask", "where is the needle?", *inputs, *options(server), *arguments, **environ)

    return run


@pytest.fixture
def start(isolated_env: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts `rlm …` as a process in an empty folder; it is ended after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def popen(*arguments: object, **streams: Any) -> subprocess.Popen[bytes]:
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        environ = {name: streams.pop(name) for name in list(streams) if name.isupper()}
        command = [sys.executable, str(ROOT / "cli.py"), *map(str, arguments)]
        started.append(subprocess.Popen(command, cwd=isolated_env, env={**os.environ, **environ}, **streams))
        return started[-1]

    yield popen
    for process in started:
        process.kill()
        process.communicate()
