"""The framing: what both ends agree on, and what a hostile stream cannot do."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm.bridge import frames
from rlm.errors import ProtocolError
from tests.guestpath import guest_module

wire = guest_module("wire")

payloads = st.binary(max_size=300)
agent_frames = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 65535), payloads), max_size=8)


def cut(data: bytes, points: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(p % (len(data) + 1) for p in points)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(agent_frames, st.lists(st.integers(0, 10_000), max_size=20))
def test_agent_frames_survive_any_chunking(sent, points):
    stream = b"".join(frames.agent_frame(*frame) for frame in sent)
    decoder = frames.AgentDecoder()
    assert [frame for chunk in cut(stream, points) for frame in decoder.feed(chunk)] == sent


@given(agent_frames)
def test_both_ends_write_and_read_the_same_agent_stream(sent):
    ours = b"".join(frames.agent_frame(*frame) for frame in sent)
    assert ours == b"".join(wire.agent_frame(*frame) for frame in sent)
    assert list(wire.AgentDecoder().feed(ours)) == sent


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.lists(st.tuples(st.integers(0, 2**53 - 1), st.text(min_size=1), json_values), max_size=6), st.data())
def test_bridge_messages_of_the_guest_are_read_in_any_chunking(sent, data):
    stream = b"".join(wire.bridge_frame({"id": i, "op": op, "x": x}) for i, op, x in sent)
    points = data.draw(st.lists(st.integers(0, 10_000), max_size=20))
    decoder = frames.BridgeDecoder()
    received = [message for chunk in cut(stream, points) for message, _ in decoder.feed(chunk)]
    clean = lambda value: json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))  # noqa: E731
    assert received == [{"v": 1, "id": i, "op": clean(op), "x": clean(x)} for i, op, x in sent]


@given(st.binary(max_size=2000), st.lists(st.integers(0, 2000), max_size=10))
def test_garbage_is_a_protocol_error_or_nothing(data, points):
    for decoder in (frames.AgentDecoder(), frames.BridgeDecoder()):
        try:
            for chunk in cut(data, points):
                list(decoder.feed(chunk))
        except ProtocolError:
            pass  # the only error that may come out


@given(st.binary(max_size=500))
def test_multipart_garbage_is_a_protocol_error_or_parts(data):
    try:
        parts = frames.unpack_parts(data)
    except ProtocolError:
        return
    assert frames.pack_parts(parts) == data


def test_an_oversized_frame_is_refused_from_its_header_alone():
    for decoder, head in (
        (frames.AgentDecoder(), frames.HEADER.pack(0xFFFFFFFF, 0, 0)),
        (frames.BridgeDecoder(), frames.LENGTH.pack(0xFFFFFFFF)),
    ):
        with pytest.raises(ProtocolError, match="limit"):
            list(decoder.feed(head))


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'"text"',
        b"{}",
        b'{"v": 2, "id": 1, "op": "x"}',
        b'{"v": 1, "id": true, "op": "x"}',
        b'{"v": 1, "id": -1, "op": "x"}',
        b'{"v": 1, "id": 1e3, "op": "x"}',
        b'{"v": 1, "id": 90071992547409920, "op": "x"}',
        b'{"v": 1, "id": 1, "op": 5}',
        b'{"v": 1, "id": 1',
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"v": 1, "op": "x", "id": ' + b"9" * 10_000 + b"}",
    ],
)
def test_a_broken_message_is_a_protocol_error(body):
    with pytest.raises(ProtocolError):
        frames.parse_message(body)


RECORDED = [
    (b'\x00\x00\x00\x0d\x00\x00\x00{"op":"ready"}'[:7] + b'{"op":"ready"}'[:13], None),
    (b'\x00\x00\x00\x0e\x00\x00\x00{"op":"ready"}', (0, 0, b'{"op":"ready"}')),
    (b"\x00\x00\x00\x03\x02\x00\x01abc", (2, 1, b"abc")),
]


@pytest.mark.parametrize(("stream", "frame"), RECORDED)
def test_recorded_agent_frames_still_read_the_same_on_both_sides(stream, frame):
    expected = [frame] if frame else [(0, 0, b'{"op":"ready"')]
    assert list(frames.AgentDecoder().feed(stream)) == expected
    assert list(wire.AgentDecoder().feed(stream)) == expected


def test_recorded_bridge_frame_still_reads_the_same():
    recorded = b'\x00\x00\x00\x47{"v":1,"op":"answer","id":0,"content":"h\xc3\xa9","ready":false,"version":1}'
    assert wire.bridge_frame(
        {"op": "answer", "id": 0, "content": "hé", "ready": False, "version": 1}
    ) == recorded.replace(recorded[:4], len(recorded[4:]).to_bytes(4, "big"))
    [(message, size)] = frames.BridgeDecoder().feed(len(recorded[4:]).to_bytes(4, "big") + recorded[4:])
    assert message["content"] == "hé"
    assert size == len(recorded)
