"""The demonstration: its scripted models, its input, and the whole of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlm.demo.script import describe
from rlm.demo.sources import stage_sources

ROOT = Path(__file__).resolve().parents[2]

DESCRIPTIONS = [
    ('"""Read and write ZIP files.\n\nXXX references\n"""', "Read and write ZIP files."),
    ("# licence\n#\n\nr'''One \\d thing. Another one.'''\nimport x\n", "One \\d thing."),
    ("'single quotes without an end mark'", "single quotes without an end mark."),
    ('"""This begins and the source brea', "m has no docstring."),
    ("import os\n\nclass A:\n    pass\n\ndef b(): pass\n", "Has no docstring; begins with A, b."),
    ("", "m has no docstring."),
]


@pytest.mark.parametrize(("source", "sentence"), DESCRIPTIONS)
def test_the_sub_model_computes_its_replies(source, sentence):
    assert describe("m", source) == sentence


def test_the_input_is_sources_only(tmp_path):
    sources = stage_sources(tmp_path)
    assert sources.files > 400
    assert sources.bytes > 5_000_000
    assert {path.suffix for path in sources.path.rglob("*") if path.is_file()} == {".py"}
    assert not list(sources.path.rglob("site-packages"))


def test_the_demo(tmp_path):
    ran = subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), "demo", "--sandbox", "process", "--trace-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "RLM_MAX_TURNS": "1", "OPENAI_BASE_URL": "http://127.0.0.1:9"},
        timeout=110,
    )
    assert ran.returncode == 0, ran.stderr
    assert "context manager classes:" in ran.stdout
    assert "\n- contextlib.py (" in ran.stdout
    assert "): Utilities for with-statement contexts." in ran.stdout
    for told in ("scripted model: fixed replies, no LLM", "turn 3/30", "sub-calls to scripted-sub", "tokens: root"):
        assert told in ran.stderr
    assert str(next(tmp_path.glob("*/events.jsonl"))) in ran.stderr
