"""The examples run as they are shown: offline, from a checkout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "sandbox",
    [
        pytest.param("docker", marks=pytest.mark.docker),
        pytest.param("bwrap", marks=pytest.mark.bwrap),
        "process",
    ],
)
def test_deep_research(isolated_env, sandbox, sandbox_env) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "examples.deep_research", "--sandbox", sandbox]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert ran.returncode == 0, ran.stderr
    assert "The Solway, under Margaret Keir: 82 degrees 3 minutes north." in ran.stdout
    assert ran.stdout.count("  child 0.") == 6
    assert "tools were called 24 times: {'search': 12, 'open_page': 12}" in ran.stdout


def test_custom_loader(isolated_env, sandbox_env) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "examples.custom_loader", "--sandbox", "process"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("bob@example.org, cem@example.org; 3 messages in ")


def test_the_transcript_of_the_live_display(isolated_env) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "examples.display_transcript"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert ran.returncode == 0, ran.stderr
    prose, writing, children, end = ran.stdout.split("\n## ")
    assert (ROOT / "docs" / "display.md").read_text(encoding="utf-8").startswith(prose)
    assert "  turn 1/30: the model writes, " in writing
    assert "/12 children\n" in children
    assert "Chapters [2, 5, 9]: the lamp is lit at the harbour." in end
