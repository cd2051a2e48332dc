"""The examples of the documentation work as they are written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"
COUNTS = {"testing.md": 3, "tools.md": 4}


def examples(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text("utf-8"), re.S | re.M)


@pytest.mark.filterwarnings("ignore:the process sandbox has no wall")
@pytest.mark.parametrize(("page", "number"), [(page, n) for page, count in COUNTS.items() for n in range(count)])
def test_example(page, number, scripted_model, isolated_env):
    names: dict[str, Any] = {}
    exec(compile(examples(page)[number], f"{page}, example {number}", "exec"), names)
    for name, test in list(names.items()):
        if name.startswith("test_"):
            test(scripted_model, isolated_env)


def test_the_pages_have_their_examples():
    assert {page: len(examples(page)) for page in COUNTS} == COUNTS
