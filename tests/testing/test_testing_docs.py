"""The examples of docs/testing.md work as they are written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.S | re.M)


@pytest.mark.filterwarnings("ignore:the process sandbox has no wall")
@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_example(number, scripted_model, isolated_env):
    names: dict[str, Any] = {}
    exec(compile(EXAMPLES[number], f"{PAGE.name}, example {number}", "exec"), names)
    for name, test in list(names.items()):
        if name.startswith("test_"):
            test(scripted_model, isolated_env)


def test_the_page_has_examples():
    assert len(EXAMPLES) == 3
