"""`rlm doctor` on the strength of a sandbox, which it tries, and `--runtime`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rlm import ConfigError, Settings
from rlm.layers import load_settings
from tests.tree.conftest import Stage

NAMES = ["network", "files of the host", "root file system", "user", "capabilities", "system calls", "memory"]
NAMES += ["processes", "processor time", "disk", "environment"]


def properties(rlm: Any, *arguments: str) -> dict[str, tuple[str, str]]:
    """Status and detail by property, of the sandbox that the doctor tried."""
    ran = rlm("doctor", "--json", *arguments)
    return {
        check["name"].partition(", ")[2]: (check["status"], check["detail"])
        for check in json.loads(ran.out)["checks"]
        if ", " in check["name"]
    }


@pytest.mark.docker
def test_a_container_holds_all(rlm: Any, sandbox_image: str) -> None:
    for options in (["--sandbox", "docker"], ["--runtime", "runc"]):
        found = properties(rlm, *options)
        assert list(found) == NAMES
        assert {name: each for name, each in found.items() if each[0] != "ok"} == {}


@pytest.mark.bwrap
@pytest.mark.skipif(os.geteuid() != 0, reason="without root it depends on the machine")
def test_bubblewrap_holds_all_but_the_number_of_files(rlm: Any, sandbox_env: Any) -> None:
    found = properties(rlm, "--sandbox", "bwrap")
    assert list(found) == NAMES
    weaker = {name: detail for name, (status, detail) in found.items() if status != "ok"}
    assert weaker == {"disk": "weaker: the size of /tmp is limited; the number of files by memory alone"}


def test_a_process_holds_nothing(rlm: Any, sandbox_env: Any) -> None:
    found = properties(rlm, "--sandbox", "process")
    assert list(found) == NAMES
    held = {name for name, (status, _) in found.items() if status == "ok"}
    assert held - {"processor time"} == {"environment"}  # a machine that is very busy limits it too
    assert found["network"][1] == "none: a server on this machine's loopback was reached"


@pytest.mark.docker
async def test_a_runtime_that_the_engine_does_not_know_is_one_line(stage: Stage, sandbox_image: str) -> None:
    for sandbox in ("auto", "docker"):
        result = await stage.run("x", sandbox=sandbox, runtime="nothing-like-this")
        assert result.error is not None
        assert "no runtime 'nothing-like-this'; there are: " in result.error.message
        assert (result.exit_code, stage.of("root.completed")) == (5, [])


def test_only_docker_has_runtimes_and_no_project_chooses_one(tmp_path: Path, rlm: Any) -> None:
    with pytest.raises(ValueError, match="only the docker sandbox has runtimes"):
        Settings(sandbox="bwrap", runtime="runsc")
    (tmp_path / "rlm.toml").write_text('runtime = "runc"')
    with pytest.raises(ConfigError, match="'runtime' may only be set by flags"):
        load_settings(project=tmp_path, user=tmp_path / "none.toml", environ={})
    ran = rlm("doctor", "--runtime", "runsc", "--sandbox", "process")
    assert (ran.code, len(ran.errors)) == (2, 1)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)
