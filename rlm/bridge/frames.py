"""Framing of the two streams that come out of a sandbox; everything in them is hostile.

Agent stream (the sandbox's stdin and stdout): `>I` payload length, `B` channel, `H` kernel, payload.
Bridge stream (inside channel BRIDGE, end to end with one kernel): `>I` length, UTF-8 JSON object
`{"v": 1, "id": int, "op": str, …}`.

The guest's half is `sandbox/guest/wire.py`; recorded frames in the tests hold the two together.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from rlm.errors import ProtocolError

VERSION = 1
CONTROL, SHELL, BRIDGE = 0, 1, 2
CHANNELS = frozenset({CONTROL, SHELL, BRIDGE})
HEADER = struct.Struct(">IBH")
LENGTH = struct.Struct(">I")
MAX_FRAME = 16 << 20
"""Bytes of one frame's payload, on either stream."""
MAX_PARTS = 64
"""Parts of one Jupyter message."""
MAX_ID = 1 << 53


class AgentDecoder:
    """Cuts the agent stream into `(channel, kernel, payload)`. Raises `ProtocolError` and is then unusable."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= HEADER.size:
                length, channel, kernel = HEADER.unpack_from(buffer, start)
                if length > MAX_FRAME:
                    raise ProtocolError(f"a frame of {length:,} bytes; the limit is {MAX_FRAME:,}")
                if channel not in CHANNELS:
                    raise ProtocolError(f"a frame on channel {channel}, which does not exist")
                end = start + HEADER.size + length
                if len(buffer) < end:
                    return
                payload = bytes(memoryview(buffer)[start + HEADER.size : end])
                start = end
                yield channel, kernel, payload
        finally:
            del buffer[:start]


class BridgeDecoder:
    """Cuts one kernel's bridge stream into messages with the bytes that each took.

    Raises `ProtocolError` and is then unusable.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[dict[str, Any], int]]:
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= LENGTH.size:
                (length,) = LENGTH.unpack_from(buffer, start)
                if length > MAX_FRAME:
                    raise ProtocolError(f"a bridge frame of {length:,} bytes; the limit is {MAX_FRAME:,}")
                end = start + LENGTH.size + length
                if len(buffer) < end:
                    return
                body = bytes(memoryview(buffer)[start + LENGTH.size : end])
                start = end
                yield parse_message(body), LENGTH.size + length
        finally:
            del buffer[:start]


def parse_json(body: bytes) -> Any:
    """Hostile JSON; any way in which it cannot be read is a `ProtocolError`."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not JSON: {type(error).__name__}: {str(error)[:200]}") from None


def parse_message(body: bytes) -> dict[str, Any]:
    """One bridge message, with its envelope checked."""
    message = parse_json(body)
    if not isinstance(message, dict):
        raise ProtocolError(f"a bridge message must be an object, not {type(message).__name__}")
    if message.get("v") != VERSION:
        raise ProtocolError(f"wire version {str(message.get('v'))[:20]!r}; this host speaks {VERSION}")
    number = message.get("id")
    if type(number) is not int or not 0 <= number < MAX_ID:
        raise ProtocolError("a bridge message needs an id: an integer from 0 to 2^53")
    if not isinstance(message.get("op"), str):
        raise ProtocolError("a bridge message needs an op")
    return message


def agent_frame(channel: int, kernel: int, payload: bytes) -> bytes:
    return HEADER.pack(len(payload), channel, kernel) + payload


def control_frame(op: str, **fields: Any) -> bytes:
    return agent_frame(CONTROL, 0, json.dumps({"op": op, **fields}, separators=(",", ":")).encode())


def bridge_frame(message: Mapping[str, Any]) -> bytes:
    text = json.dumps({"v": VERSION, **message}, separators=(",", ":"), ensure_ascii=False)
    body = text.encode("utf-8", "surrogatepass")
    return LENGTH.pack(len(body)) + body


def pack_parts(parts: list[bytes]) -> bytes:
    """A multipart Jupyter message as one payload."""
    return b"".join(LENGTH.pack(len(part)) + part for part in parts)


def unpack_parts(payload: bytes) -> list[bytes]:
    """Raises `ProtocolError`."""
    parts: list[bytes] = []
    at = 0
    while at < len(payload):
        if len(payload) - at < LENGTH.size or len(parts) == MAX_PARTS:
            raise ProtocolError("a broken multipart message")
        (length,) = LENGTH.unpack_from(payload, at)
        at += LENGTH.size
        if len(payload) - at < length:
            raise ProtocolError("a broken multipart message")
        parts.append(payload[at : at + length])
        at += length
    return parts
