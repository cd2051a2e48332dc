"""`rlm batch --engine ray` on a real cluster of several raylets, one of which is killed in the middle."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rlm.testing import ScriptedModelServer
from tests.batches.conftest import Models, answer_of, line
from tests.batches.test_batch_command import ROOT, journal, result, start, until
from tests.needs import module

ray = module("ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


KEY = "sk-a-key-that-nobody-may-see"


class Machines:
    """The cluster's machines; the driver's, the head, runs nothing."""

    def __init__(self, folder: Path, *cpus: int) -> None:
        with (folder / "cluster.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.batches.cluster", "0", *map(str, cpus)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.commands: list[subprocess.Popen[bytes]] = []
        self.address = self._said()
        self.folder = Path(self._said())
        """Of Ray's logs."""

    def kill(self, number: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{number}\n")
        self._process.stdin.flush()
        assert self._said() == "killed"

    def close(self) -> None:
        for each in self.commands:
            each.kill()
            each.communicate()
        self._process.communicate(timeout=60)

    def _said(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@pytest.fixture
def machines(isolated_env: Path) -> Iterator[Machines]:
    found = Machines(isolated_env, 2, 2)
    yield found
    found.close()


def on_ray(server: ScriptedModelServer, folder: Path, machines: Machines, *options: object) -> Any:
    machines.commands.append(start(server, folder, "--engine", "ray", "--ray-address", machines.address, *options))
    return machines.commands[-1]


def test_a_lost_machine_loses_nothing(
    tasks: Callable[..., Path],
    models: Models,
    server: ScriptedModelServer,
    isolated_env: Path,
    machines: Machines,
) -> None:
    names = [f"t{number}" for number in range(10)]
    path = tasks(*names)
    (isolated_env / "input.txt").write_text("u")
    path.write_text(path.read_text() + line("u", context=None, inputs=["input.txt"]) + "\n")
    models.delay = 1.0
    process = on_ray(server, isolated_env, machines, "--workers", 4, "--json", "--concurrency", 6)
    # Four runs are going on, two on each machine, and all of their first turns have been answered.
    until(lambda: sum(text.startswith("part 0") for text in models.seen) >= 4, 90)
    machines.kill(0)
    in_flight = Counter(models.seen)
    models.delay = 0.2
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err.decode()
    assert json.loads(out)["stop_reasons"] == {"answered": 11}, "and nothing else is on stdout"
    assert all(result(name)["answer"] == answer_of(name) for name in [*names, "u"])
    assert err.decode().count("rlm: [") == 11, "results come back one by one"
    begun = Counter(each["id"] for each in journal() if "id" in each)
    assert set(begun.values()) == {1}, "a run that goes on elsewhere is the same run"
    again = {text: n for text, n in models.seen.items() if n > 1}
    assert set(again) <= set(in_flight), again
    # Two runs were lost: each with at most three calls in flight, and with none that was answered.
    assert again
    assert sum(again.values()) - len(again) <= 6, again
    assert not any(text.startswith("root") and text.endswith(" 0") for text in again), again
    assert server.max_in_flight <= 6 + 6, "those of the lost machine, which the server still answers, and the others"


def test_a_clusters_runs_keep_to_one_cap_and_one_limit(
    tasks: Callable[..., Path],
    models: Models,
    server: ScriptedModelServer,
    isolated_env: Path,
    machines: Machines,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    price = {"input": 0, "output": 1000}
    monkeypatch.setenv("RLM_API_KEY", KEY)  # of the command alone: the cluster is up already
    monkeypatch.setenv("RLM_PRICES", json.dumps({"root": price, "sub": price}))
    tasks(*(f"t{number}" for number in range(12)))
    models.delay = 0.3
    cap = 2.5
    options = ("--workers", 4, "--json", "--concurrency", 4, "--sub-max-tokens", 20, "--param", "max_tokens=50")
    process = on_ray(server, isolated_env, machines, *options, "--max-cost", cap)
    out, err = process.communicate(timeout=180)
    assert process.returncode == 3, err.decode()
    summary = json.loads(out)
    assert 0 < summary["cost"] <= cap
    assert summary["without_result"]
    assert server.max_in_flight <= 4
    process = on_ray(server, isolated_env, machines, *options, "--retry-failed")
    out, err = process.communicate(timeout=180)
    assert (process.returncode, json.loads(out)["stop_reasons"]) == (0, {"answered": 12}), err.decode()
    assert server.max_in_flight <= 4
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {KEY}"}
    written = [path for path in machines.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert written
    assert not [path for path in written if KEY.encode() in path.read_bytes()], "Ray's logs hold no key"
    assert KEY not in err.decode()


def test_a_run_that_fits_no_machine_is_refused(
    tasks: Callable[..., Path], server: ScriptedModelServer, isolated_env: Path, machines: Machines
) -> None:
    tasks("a")
    process = on_ray(server, isolated_env, machines, "--ray-cpus", 8)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, b"no machine of the cluster has 8 CPUs" in err) == (2, True), err
