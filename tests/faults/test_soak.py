"""A short soak: many runs of every kind in one process leave nothing. The long one is `python -m benchmarks.soak`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import soak
from rlm import RLM
from rlm.testing import ScriptedModelServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(200),
    pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning"),
]


@pytest.mark.parametrize("sandbox", [pytest.param("docker", marks=pytest.mark.docker), "process"])
def test_twenty_runs_leave_nothing(sandbox: str, isolated_env: Path, request: pytest.FixtureRequest) -> None:
    if sandbox == "docker":
        request.getfixturevalue("sandbox_image")
    with ScriptedModelServer({"root": soak.root, "sub": soak.sub}, record=1) as server:
        rlm = RLM(model="root", sub_model="sub", base_url=server.base_url, sandbox=sandbox, depth=2, max_turns=8)
        before, after, ends = asyncio.run(soak.soak(rlm, runs=21, warm_up=7))
        assert server.errors == []
    assert ends == dict.fromkeys(soak.SCRIPTS, 3)
    # So few runs say nothing of memory, nor of threads: the loop's pool of them fills up as they are needed.
    few = {"rss": 0, "threads": 0}
    assert soak.grown(replace(before, **few), replace(after, **few)) == []


def test_what_has_grown_is_named() -> None:
    before = soak.Held(
        descriptors=5, threads=2, tasks=1, processes=0, leases=0, scratch=0, cgroups=0, containers=0, rss=100
    )
    assert soak.grown(before, replace(before, rss=110, threads=1)) == []
    assert soak.grown(before, replace(before, rss=111)) == ["memory: 100 KiB -> 111 KiB"]
    assert soak.grown(before, replace(before, descriptors=6, leases=1)) == ["descriptors: 5 -> 6", "leases: 0 -> 1"]
