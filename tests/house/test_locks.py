"""The locks: every dependency pinned and hashed, and no word of where a file is fetched from."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from rlm.kernels.pins import normalised, read

ROOT = Path(__file__).resolve().parents[2]
EVERYTHING = ROOT / "requirements.lock"
TO_RUN = ROOT / "requirements-run.lock"
SANDBOX = ROOT / "sandbox" / "requirements.txt"


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        declared: dict[str, Any] = tomllib.load(file)["project"]
    return declared


def requested(requirements: list[str]) -> set[str]:
    names = (re.match(r"[A-Za-z0-9][\w.-]*", each) for each in requirements)
    return {normalised(name[0]) for name in names if name}


def test_the_locks_cover_what_the_project_declares(project):
    runtime = requested(project["dependencies"])
    assert "pydantic" in runtime
    assert runtime <= set(read(TO_RUN))
    assert runtime | requested(project["optional-dependencies"]["dev"]) <= set(read(EVERYTHING))


def test_pins_are_within_the_declared_ranges(project):
    requirement = pytest.importorskip("packaging.requirements", reason="comes with pytest").Requirement
    pins = read(EVERYTHING)
    for text in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        wanted = requirement(text)
        assert wanted.specifier.contains(pins[normalised(wanted.name)]), text


def test_users_run_what_is_tested():
    everything, to_run = read(EVERYTHING), read(TO_RUN)
    assert to_run == {name: everything[name] for name in to_run}
    assert "pytest" not in to_run


@pytest.mark.parametrize("lock", [EVERYTHING, TO_RUN, SANDBOX], ids=lambda path: path.name)
def test_each_pin_has_hashes_and_none_a_place(lock):
    text = lock.read_text(encoding="utf-8")
    pins = re.split(r"\n(?=\S)", "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")))
    assert len(pins) > 10
    assert not [
        pin for pin in pins if not re.match(r"[a-z0-9][\w.-]*==\S+( ;[^\n]*)? \\\n +--hash=sha256:[0-9a-f]{64}", pin)
    ]
    assert not re.search(r"://|--\w*-?(index|links|host)|file:|^\s*(-|/|@)(?!-hash)", text, re.MULTILINE)
