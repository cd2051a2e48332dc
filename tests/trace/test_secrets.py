"""Nothing secret is ever in a run's folder, whoever says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlm import RLM
from rlm.testing import ScriptedModelServer
from tests.trace import rich

pytestmark = pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")

SECRETS = {
    "key": "sk-root-0123456789",
    "sub key": "sk-sub-9876543210",
    "header": "token-in-a-header-77",
}


def test_no_secret_reaches_a_runs_folder(tmp_path: Path) -> None:
    everything = " ".join(SECRETS.values())
    said = everything + " filler" * 4000  # long enough to be kept in a file of its own
    root = [
        rich.cell(f"x = llm_query({everything!r})\ny = llm_query({said!r} + x)\nprint(x, {everything!r})"),
        rich.cell(f"answer['content'] = x + {everything!r}\nanswer['ready'] = True"),
    ]
    with ScriptedModelServer({"root": root, "sub": said}) as server:
        settings = rich.settings(
            server.base_url,
            tmp_path,
            depth=1,
            api_key=SECRETS["key"],
            sub_api_key=SECRETS["sub key"],
            headers={"X-Auth-Token": SECRETS["header"], "X-Plain": "harmless-value"},
            tools=(),
            functions={},
        )
        result = RLM(settings=settings).run(f"what? {everything}", said)
        assert server.errors == []
    assert result.stop_reason == "answered"
    files = [path for path in tmp_path.rglob("*") if path.is_file() and "shared" not in path.parts]
    written = {path: path.read_bytes() for path in files}
    assert any("blobs" in path.parts for path in written)
    for what, secret in SECRETS.items():
        for path, content in written.items():
            assert secret.encode() not in content, f"the {what} is in {path.name}"
    assert any(b"[redacted]" in content for content in written.values())


def test_what_is_kept_is_the_users_alone(tmp_path: Path) -> None:
    with rich.server() as server:
        RLM(settings=rich.settings(server.base_url, tmp_path / "runs")).run(rich.QUESTION, rich.CONTEXT)
    for path in (tmp_path / "runs").rglob("*"):
        if "shared" in path.parts:
            continue  # the sandbox's user reads it, through a folder that nobody else can enter
        assert path.stat().st_mode & 0o077 == 0, path
