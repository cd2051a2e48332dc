"""The demonstration: its scripted models, its input, and the whole of it."""

import shutil
import sysconfig
from pathlib import Path
from types import SimpleNamespace

import pytest

from rlm.demo.script import describe
from rlm.demo.sources import stage_sources

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


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A part of the standard library in place of all of it."""
    real, folder = Path(sysconfig.get_path("stdlib")), tmp_path / "lib"
    (folder / "site-packages").mkdir(parents=True)
    (folder / "json").mkdir()
    for name in ("contextlib.py", "tempfile.py", "threading.py", "socket.py", "this.py", "json/decoder.py"):
        shutil.copy(real / name, folder / name)
    (folder / "site-packages" / "other.py").write_text("x = 1")
    (folder / "data.bin").write_bytes(b"0")
    (folder / "link.py").symlink_to("/etc/passwd")
    monkeypatch.setattr("rlm.demo.sources.sysconfig", SimpleNamespace(get_path=lambda _: str(folder)))
    return folder


def test_the_input_is_sources_only(library, tmp_path):
    sources = stage_sources(tmp_path / "staged")
    names = {str(path.relative_to(sources.path)) for path in sources.path.rglob("*") if path.is_file()}
    assert names == {"contextlib.py", "tempfile.py", "threading.py", "socket.py", "this.py", "json/decoder.py"}
    assert sources.files == 6
    assert sources.bytes > 50_000


@pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")
def test_the_demo(rlm, library, tmp_path):
    ran = rlm(
        "demo", "--sandbox", "process", "--trace-dir", tmp_path / "t",
        RLM_MAX_TURNS="1", OPENAI_BASE_URL="http://127.0.0.1:9",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert "context manager classes:" in ran.out
    assert "\n- contextlib.py (" in ran.out
    assert "): Utilities for with-statement contexts." in ran.out
    for told in ("scripted model: fixed replies, no LLM", "turn 3/30", "sub-calls to scripted-sub", "tokens: root"):
        assert told in ran.err
    assert str(next((tmp_path / "t").glob("*/events.jsonl"))) in ran.err
