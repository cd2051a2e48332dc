"""One rich run, played once for all tests that look at traces."""

from __future__ import annotations

import pytest

from rlm import RunResult
from tests.export import rich


@pytest.fixture(scope="session")
def rich_result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return rich.play(tmp_path_factory.mktemp("rich"))
