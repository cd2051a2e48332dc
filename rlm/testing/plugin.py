"""The pytest plugin: fixtures that play a model and isolate the environment. None is automatic."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rlm.testing.server import ScriptedModelServer

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture
def scripted_model() -> Iterator[Callable[..., ScriptedModelServer]]:
    """Starts scripted model servers: `scripted_model(replies, **options)`; all stop after the test.

    The arguments are those of `rlm.testing.ScriptedModelServer`.
    """
    servers: list[ScriptedModelServer] = []

    def start(*args: Any, **options: Any) -> ScriptedModelServer:
        from rlm.testing.server import ScriptedModelServer

        server = ScriptedModelServer(*args, **options).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def isolated_env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A process environment without the user's settings: no `RLM_*`, `OPENAI_*` or proxy variables,
    home and XDG folders under a temporary directory, which is also the working directory.

    The cache folder stays: it holds no settings, and what rlm keeps there takes long to build.
    Returns the temporary directory.
    """
    for name in list(os.environ):
        if name.startswith(("RLM_", "OPENAI_")) or name.upper() in _PROXIES:
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    monkeypatch.setenv("XDG_CACHE_HOME", os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"))
    for variable, folder in (
        ("HOME", home),
        ("XDG_CONFIG_HOME", home / ".config"),
        ("XDG_DATA_HOME", home / ".local/share"),
        ("XDG_STATE_HOME", home / ".local/state"),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv(variable, str(folder))
    monkeypatch.chdir(tmp_path)
    return tmp_path
