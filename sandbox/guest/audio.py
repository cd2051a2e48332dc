"""Sound for sub-LLMs: WAV and MP3, from a path or bytes to what goes over the bridge."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

MAX_AUDIO = 10 << 20
"""Bytes of one recording: as base64 it has to fit a frame."""


def encode(audio: Any) -> dict[str, str]:
    """`{"format", "data"}`, base64. Raises `TypeError` or `ValueError` for what cannot be sent."""
    if isinstance(audio, (str, os.PathLike)):
        data = Path(audio).read_bytes()
    elif isinstance(audio, (bytes, bytearray, memoryview)):
        data = bytes(audio)
    else:
        raise TypeError(f"a recording is a path or bytes, not {type(audio).__name__}")
    if len(data) > MAX_AUDIO:
        raise ValueError(f"a recording of {len(data):,} bytes; the limit is {MAX_AUDIO:,}: cut it into parts")
    return {"format": _format(data), "data": base64.b64encode(data).decode()}


def _format(data: bytes) -> str:
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "wav"
    # An ID3 tag, or the eleven set bits that begin a frame of MPEG audio, layer III.
    if data[:3] == b"ID3" or (len(data) > 1 and data[0] == 0xFF and data[1] & 0xE6 == 0xE2):
        return "mp3"
    raise ValueError("a recording must be WAV or MP3")
