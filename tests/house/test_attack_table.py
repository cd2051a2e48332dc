"""docs/security.md tells what the suite of attacks tries, and how each of them ends."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest

from tests.attacks import table
from tests.attacks.attack import Case, Outcome


def test_the_table_is_what_the_suite_holds():
    ran = subprocess.run(
        [sys.executable, "-m", "tests.attacks.table", "--check"], cwd=table.ROOT, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr


def test_every_outcome_is_explained():
    text = table.PAGE.read_text(encoding="utf-8")
    assert not [outcome for outcome in get_args(Outcome) if f"*{outcome}*" not in text]


def test_a_missing_cell_needs_a_reason():
    case = Case("an attack", "refused")
    tried = [table.Tried(case, "docker", "tests/attacks/test_host.py::test_x[docker]")]
    with pytest.raises(RuntimeError, match="nothing says why"):
        table.section(tried)
    case.missing["bwrap"] = "there is none"
    assert "not tried: there is none" in table.section(tried)
