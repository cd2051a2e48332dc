"""The frames between the host and the agent, and between a kernel's bridge and the host.

Agent stream (stdin/stdout of PID 1): `>I` payload length, `B` channel, `H` kernel number, payload.
Bridge stream (inside channel BRIDGE, end to end between guest and host): `>I` length, UTF-8 JSON.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from typing import Any

VERSION = 1

CONTROL, SHELL, BRIDGE = 0, 1, 2
HEADER = struct.Struct(">IBH")
LENGTH = struct.Struct(">I")
MAX_FRAME = 16 << 20
"""Bytes of one frame's payload, on either stream."""


class WireError(Exception):
    """A peer broke the framing."""


class AgentDecoder:
    """Cuts the agent stream into `(channel, kernel, payload)`."""

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
                    raise WireError(f"frame of {length} bytes")
                end = start + HEADER.size + length
                if len(buffer) < end:
                    break
                payload = bytes(memoryview(buffer)[start + HEADER.size : end])
                start = end
                yield channel, kernel, payload
        finally:
            del buffer[:start]


def agent_frame(channel: int, kernel: int, payload: bytes) -> bytes:
    return HEADER.pack(len(payload), channel, kernel) + payload


def control_frame(op: str, **fields: Any) -> bytes:
    return agent_frame(CONTROL, 0, json.dumps({"op": op, **fields}, separators=(",", ":")).encode())


def bridge_frame(message: dict[str, Any]) -> bytes:
    """Lone surrogates, which no endpoint could take either, become `?`."""
    body = json.dumps({"v": VERSION, **message}, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    if len(body) > MAX_FRAME:
        raise WireError(f"a message of {len(body):,} bytes exceeds the frame limit of {MAX_FRAME:,}")
    return LENGTH.pack(len(body)) + body


def pack_parts(parts: Sequence[bytes]) -> bytes:
    """A multipart Jupyter message as one payload."""
    return b"".join(LENGTH.pack(len(part)) + part for part in parts)


def unpack_parts(payload: bytes) -> list[bytes]:
    parts, at = [], 0
    while at < len(payload):
        if at + LENGTH.size > len(payload):
            raise WireError("half a part length")
        (length,) = LENGTH.unpack_from(payload, at)
        at += LENGTH.size
        if at + length > len(payload):
            raise WireError("half a part")
        parts.append(payload[at : at + length])
        at += length
    return parts
