"""How much of the input was read, as the trace tells it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tree.conftest import FINISH, Stage, cell
from tests.tree.conftest import sandbox as sandbox  # the fixture
from tests.tree.conftest import stage as stage  # the fixture

pytestmark = pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")

PAGES = 64 << 10
"""What is read of a file's mapping around the place that was asked for; a page of memory is less."""


async def read(stage: Stage, sandbox: str, code: str, **given: Any) -> int | None:
    await stage.run({"root": cell(f"{code}\nanswer['content'] = 'x'\n{FINISH}")}, sandbox=sandbox, **given)
    assert not stage.of("protocol.error")
    told = [event["bytes"] for event in stage.of("context.read")]
    return max(told, default=None)


TEXT = "some words of it, " * 100_000


async def test_of_a_str(stage: Stage, sandbox: str) -> None:
    assert await read(stage, sandbox, "1", context=TEXT) in range(PAGES)
    assert await read(stage, sandbox, "x = context[900_000:1_000_000]", context=TEXT) in range(100_000, 100_000 + PAGES)
    assert await read(stage, sandbox, "context.count('q')", context=TEXT) in range(len(TEXT) - PAGES, len(TEXT) + 1)


async def test_of_a_text_that_stays_in_its_file(stage: Stage, sandbox: str, tmp_path: Path) -> None:
    large = tmp_path / "large.txt"
    size = 65 << 20
    with large.open("wb") as file:
        file.write(b"a line of words\n" * (size // 16))
    size = large.stat().st_size
    some = await read(stage, sandbox, "x = context[900_000:1_000_000]", inputs=[large])
    # To know where a character lies, all before it has been looked at.
    assert some in range(100_000, 4_000_000)
    assert await read(stage, sandbox, "context.find('q')", inputs=[large]) in range(size - PAGES, size + 1)


async def test_of_a_folder(stage: Stage, sandbox: str, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.txt").write_text("x" * 1000 * (number + 1))
    assert await read(stage, sandbox, "x = context['1.txt'], context['3.txt']", inputs=[folder]) == 6000
    assert await read(stage, sandbox, "x = context.grep('y')", inputs=[folder]) == 10_000


@pytest.mark.parametrize("context", ["a small text", {"parsed": [1, 2]}, None])
async def test_nothing_is_said_of_what_cannot_be_watched(stage: Stage, context: Any) -> None:
    assert await read(stage, "process", "x = str(context)", context=context) is None


async def test_a_guest_says_it_once_for_each_cell_and_not_whatever_it_likes(stage: Stage) -> None:
    flood = "for _ in range(200): get_ipython().kernel.guest.bridge.request('read', cell=_ % 7, bytes=_)"
    await read(stage, "process", flood, context=TEXT)
    assert len(stage.of("context.read")) == 1
