"""Kernels with an input, for the attacks: one for each module and sandbox, that all its attacks share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from rlm.context import prepare
from tests.attacks.attack import SIZE
from tests.kernels.conftest import MakeRig, Rig, rigs
from tests.tree.conftest import Stage

MEMORY = 400 << 20
TMP = 64 << 20
PIDS = 128
SECRET = "host-secret-7c1f"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of the host with a secret in it, in the environment too, and an input that has a link to it."""
    folder = tmp_path_factory.mktemp("host")
    (folder / "secret.txt").write_text(SECRET, encoding="utf-8")
    (folder / "input").mkdir()
    (folder / "input/input.txt").write_text("héllo\n" * (SIZE // 6), encoding="utf-8")
    (folder / "input/link.txt").symlink_to(folder / "secret.txt")
    (folder / "input/up").symlink_to("../..")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLM_API_KEY", SECRET)
        patch.setenv("A_SECRET_OF_THE_HOST", SECRET)
        yield folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def make(request: pytest.FixtureRequest, host: Path) -> AsyncIterator[MakeRig]:
    """`await make(sandbox, **spec)`: a kernel with the input; all are ended with the module."""
    spool = host.parent / "spool"
    spool.mkdir(exist_ok=True)
    prepared = prepare([str(host / "input")], spool_dir=spool, memory=MEMORY)
    async with rigs(request) as plain:

        async def with_input(sandbox: str, **spec: Any) -> Rig:
            spec = {"memory": MEMORY, "tmp_bytes": TMP, "pids": PIDS, **spec}
            rig: Rig = await plain(sandbox, mounts=prepared.mounts, config={"input": prepared.config}, **spec)
            return rig

        yield with_input


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(make: MakeRig) -> Callable[[str], Any]:
    """The kernel of this module in a sandbox."""
    made: dict[str, Rig] = {}

    async def get(sandbox: str) -> Rig:
        if sandbox not in made:
            made[sandbox] = await make(sandbox)
        rig = made[sandbox]
        rig.delay = 0.0
        for kept in (rig.events, rig.answers, rig.batches, rig.open):
            kept.clear()
        return rig

    return get


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make test` is short: it tries most attacks under bubblewrap alone, `make test-attacks` under Docker as well."""
    here = Path(__file__).parent
    for item in items:
        if item.path.parent == here and item.path.name != "test_host.py" and "docker" in item.name:
            item.add_marker("slow_attack")
