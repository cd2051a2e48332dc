"""Kernels and sandboxes that end under a run: what was paid for stays, and the run goes on or says why not."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from rlm.kernels import engine
from rlm.testing import ScriptedModelServer, ScriptedRequest
from tests.faults.conftest import Play, cell, ended_well_recorded
from tests.tree.conftest import SANDBOXES

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")]
WALLED = [each for each in SANDBOXES if each != "process"]

DEATHS = {
    "segfault": ("import ctypes\nctypes.string_at(0)", "crash"),
    "os._exit": ("import os\nos._exit(7)", "crash"),
    "abort": ("import os\nos.abort()", "crash"),
    "the zygote is killed too": ("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nos._exit(1)", "crash"),
}
PAID = "answer['content'] = ' '.join(llm_batch(['a', 'b', 'c']))\n"
AGAIN = cell(
    "again = llm_batch(['a', 'b', 'c'])\n"
    "answer['content'] += '; ' + str([r.cached for r in again])\n"
    "answer['ready'] = True"
)


def replies(second: str) -> dict[str, Any]:
    return {"root": lambda request: cell(PAID + second) if request.turn == 0 else AGAIN, "sub": "paid"}


@pytest.fixture(params=SANDBOXES)
def sandbox(request: pytest.FixtureRequest) -> str:
    return _built(request)


@pytest.fixture(params=WALLED)
def walled(request: pytest.FixtureRequest) -> str:
    return _built(request)


def _built(request: pytest.FixtureRequest) -> str:
    if request.param == "docker":
        request.getfixturevalue("sandbox_image")
    else:
        request.getfixturevalue("sandbox_env")
    return str(request.param)


@pytest.mark.parametrize("name", DEATHS)
def test_a_kernel_that_dies_costs_its_variables_only(name: str, sandbox: str, play: Play) -> None:
    code, reason = DEATHS[name]
    with ScriptedModelServer(replies(code)) as server:
        told = play(server, sandbox=sandbox)
        assert server.request_counts == {"root": 2, "sub": 3}, "what the dead kernel had asked is not asked again"
    assert told.result.answer == "paid paid paid; [True, True, True]"
    assert (told.result.stop_reason, told.result.exit_code) == ("answered", 0)
    assert [event["reason"] for event in told.of("kernel.died")] == [reason]
    assert [event["status"] for event in told.of("cell.completed")] == ["died", "ok"]
    ended_well_recorded(told)


def test_out_of_memory_costs_the_kernel_only(walled: str, play: Play) -> None:
    hog = "hog = []\nwhile True: hog.append(bytearray(16 << 20))"
    with ScriptedModelServer(replies(hog)) as server:
        told = play(server, sandbox=walled, memory="300m")
        assert server.request_counts == {"root": 2, "sub": 3}
    assert told.result.answer == "paid paid paid; [True, True, True]"
    assert [event["reason"] for event in told.of("kernel.died")] == ["oom"]


def test_a_kernel_that_dies_every_time_ends_the_run_at_its_limit_with_the_draft(play: Play) -> None:
    deadly = lambda request: cell(PAID + f"import os\nos._exit({request.turn})")  # noqa: E731
    with ScriptedModelServer({"root": deadly, "sub": "paid"}) as server:
        told = play(server, max_turns=4)
    assert (told.result.answer, told.result.ready) == ("paid paid paid", False)
    assert told.result.exit_code == 3
    assert told.result.stop_reason in {"max_turns", "loop"}


def remove(run_id: str) -> list[str]:
    """Remove the containers of one run from outside, as somebody who tidies up would; returns their names."""
    names = subprocess.run(
        ["docker", "ps", "--quiet", "--filter", f"label={engine.RUN_LABEL}={run_id}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    subprocess.run(["docker", "rm", "-f", *names], capture_output=True, check=True)
    return names


@pytest.mark.docker
@pytest.mark.parametrize("when", ["between cells", "in a cell"])
def test_a_container_that_is_removed_from_outside_is_replaced(
    when: str, sandbox_image: str, play: Play, tmp_path: Any
) -> None:
    removed: list[str] = []

    def root(request: ScriptedRequest) -> str:
        (folder,) = (tmp_path / "traces").iterdir()
        if request.turn == 0:
            return cell(PAID + ("llm_query('remove')\nimport time\ntime.sleep(30)" if when == "in a cell" else ""))
        if when == "between cells" and not removed:
            removed.extend(remove(folder.name))
        return AGAIN

    def sub(request: ScriptedRequest) -> str:
        if request.prompt == "remove":
            (folder,) = (tmp_path / "traces").iterdir()
            removed.extend(remove(folder.name))
        return "paid"

    with ScriptedModelServer({"root": root, "sub": sub}) as server:
        told = play(server, sandbox="docker")
    assert len(removed) == 1
    assert told.result.answer == "paid paid paid; [True, True, True]"
    assert (told.result.stop_reason, told.result.exit_code) == ("answered", 0)
    assert [event["sandbox_lost"] for event in told.of("kernel.restarted")] == [True]
    ended_well_recorded(told)
