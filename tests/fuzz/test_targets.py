"""The targets of `make fuzz` under hypothesis: what a fuzzer once found, and a short search of their own."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rlm.bridge.frames import CONTROL, agent_frame, bridge_frame, pack_parts

FUZZ = Path(__file__).resolve().parents[2] / "fuzz"


def load() -> ModuleType:
    """`fuzz/targets.py`, which is started by its path and belongs to no package."""
    spec = importlib.util.spec_from_file_location("fuzz_targets", FUZZ / "targets.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
    return module


targets = load()
CUTS = st.binary(min_size=targets.CUTS, max_size=targets.CUTS)
FRAMES = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.builds(agent_frame, st.integers(0, 4), st.integers(0, 3), st.binary(max_size=30)),
        st.builds(lambda op, x: bridge_frame({"id": 1, "op": op, "x": x}), st.text(max_size=5), st.text(max_size=9)),
        st.lists(st.binary(max_size=9), max_size=4).map(pack_parts),
    ),
    max_size=6,
).map(b"".join)
LINES = st.sampled_from(
    [
        *("```repl", "```python", "```", "````", "~~~py", "~~~", "   ```", "<think>", "</think>", "é\u2028\r"),
        *("<tool_call>", "</tool_call>", '{"name": "python", "arguments": {"code": "1"}}', "x = '''", '"""', "1 \\"),
    ]
)
REPLIES = st.lists(LINES | st.text(max_size=20), max_size=14).map(
    lambda lines: "\n".join(lines).encode("utf-8", "replace")
)


@given(CUTS, FRAMES)
@example(bytes(4), agent_frame(CONTROL, 0, b"[" * 100_000))
@example(b"\x10\x20\x80\xff", b"\xff" * 64)
def test_frames(cuts: bytes, stream: bytes) -> None:
    targets.frames(cuts + stream)


@given(CUTS, REPLIES)
@example(bytes(4), b"```repl\n" + b"(" * 3000 + b"\n```\n")
@example(bytes(4), b"<tool_call>" + b"[" * 100_000 + b"</tool_call>")
@example(bytes(4), b"```repl\nx = '''\n" + b"```\n" * 300)
def test_blocks(cuts: bytes, reply: bytes) -> None:
    targets.blocks(cuts + reply)


@pytest.mark.parametrize("name", ["frames", "blocks"])
def test_a_fuzzer_has_its_script_and_its_words(name: str) -> None:
    script = (FUZZ / f"fuzz_{name}.py").read_text(encoding="utf-8")
    assert f"targets.fuzz(targets.{name}" in script
    words = (FUZZ / f"{name}.dict").read_text(encoding="utf-8").splitlines()
    assert all(json.loads(word.replace("\\x", "\\u00")) for word in words if "\\\\" not in word)


def test_a_target_notices_what_must_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """The targets are no tests that cannot fail."""
    from rlm import blocks

    feed = blocks.BlockParser.feed
    monkeypatch.setattr(blocks.BlockParser, "feed", lambda self, text: feed(self, text.strip()))
    with pytest.raises(AssertionError, match="in one piece"):
        targets.blocks(b"\x80\x80\x80\x80" + b"```repl\nx = 1\n```\n")
