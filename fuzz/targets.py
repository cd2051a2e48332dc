"""What the fuzzers call: each takes bytes, the first of which say where the rest is cut into pieces.

They raise for what must never be. `tests/fuzz` runs the same functions under hypothesis, where `atheris` cannot
be had.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

Target = Callable[[bytes], None]

CUTS = 4
"""Bytes that say where the others are cut."""


def frames(data: bytes) -> None:
    """The agent's stream, a kernel's bridge, and multipart messages."""
    from rlm.bridge import frames
    from rlm.errors import ProtocolError

    whole, pieces = _cut(data)
    for decoder in (frames.AgentDecoder, frames.BridgeDecoder):
        at_once, bit_by_bit = _decoded(decoder(), [whole]), _decoded(decoder(), pieces)
        if at_once != bit_by_bit:
            raise AssertionError(f"{decoder.__name__}: {at_once} in one piece, {bit_by_bit} in {len(pieces)}")
    try:
        parts = frames.unpack_parts(whole)
    except ProtocolError:
        return
    if frames.pack_parts(parts) != whole:
        raise AssertionError("a multipart message is not what was packed")


def blocks(data: bytes) -> None:
    """Replies in text, and native tool calls."""
    from rlm.blocks import ToolCallParser, tool_code

    whole, pieces = _cut(data)
    text = whole.decode("utf-8", "replace")
    chunks = [piece.decode("utf-8", "replace") for piece in pieces]
    if "".join(chunks) != text:  # a character was cut in two
        chunks = list(text)
    at_once, bit_by_bit = _parsed([text]), _parsed(chunks)
    if at_once != bit_by_bit:
        raise AssertionError(f"{at_once} in one piece, {bit_by_bit} in {len(chunks)}")
    tool_code(text)
    calls = ToolCallParser()
    for number, chunk in enumerate(chunks):
        if calls.feed({"index": number % 2 if number > 8 else 0, "name": "python", "arguments": chunk}):
            return
    calls.finish()


def _cut(data: bytes) -> tuple[bytes, list[bytes]]:
    """The bytes as a whole, and cut into pieces."""
    whole = data[CUTS:]
    edges = sorted({0, len(whole), *(point * len(whole) // 256 for point in data[:CUTS])})
    return whole, [whole[start:end] for start, end in itertools.pairwise(edges)]


def _decoded(decoder: object, pieces: Sequence[bytes]) -> list[object]:
    from rlm.errors import ProtocolError

    found: list[object] = []
    try:
        for piece in pieces:
            found.extend(repr(each) for each in decoder.feed(piece))  # type: ignore[attr-defined]
    except ProtocolError as error:
        found.append(str(error))
    return found


def _parsed(pieces: Sequence[str]) -> object:
    from rlm.blocks import BlockParser

    parser = BlockParser()
    for piece in pieces:
        if block := parser.feed(piece):
            return block
    return parser.finish(), parser.broken


def fuzz(target: Target, arguments: Sequence[str]) -> None:
    """Run a target under `atheris` until it raises, or the options say that it is enough."""
    import atheris

    with atheris.instrument_imports(include=["rlm.blocks", "rlm.bridge.frames", "json"]):
        target(bytes(8))
    atheris.Setup(list(arguments), target)
    atheris.Fuzz()
