"""What the model may install during a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlm.installs import InstallHandler
from rlm.kernels.packages import Target


def handler(folder: Path, *, allow: tuple[str, ...] = (), confirm: Any = None) -> InstallHandler:
    return InstallHandler(folder, Target(), allow=allow, confirm=confirm, emit=lambda type_, /, **fields: None)


@pytest.mark.parametrize("names", [None, "polars", [], [1], ["x"] * 21])
async def test_hostile_requests_are_refused(tmp_path: Path, names: Any) -> None:
    with pytest.raises(ValueError, match=r"packages|names"):
        await handler(tmp_path, allow=("polars", "x"))({"names": names})


@pytest.mark.parametrize("name", ["--index-url=http://evil", "git+http://evil/x", "./x", "x @ http://evil", "x.whl"])
async def test_what_is_no_name_is_refused_even_with_a_yes(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a package"):
        await handler(tmp_path, confirm=lambda names: True)({"names": [name]})


async def test_only_allowed_names_leave_the_machine(tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def refuse(names: list[str]) -> bool:
        asked.append(names)
        return False

    with pytest.raises(ValueError, match="not allowed in this run: evil-package"):
        await handler(tmp_path, allow=("polars",), confirm=refuse)({"names": ["polars", "Evil_Package==1"]})
    assert asked == [["evil-package"]]
