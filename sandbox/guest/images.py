"""Images for sub-LLMs: from a path, bytes, or a PIL image to what goes over the bridge."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

MAX_IMAGE = 5 << 20
"""Bytes of one image: what endpoints take."""
MAX_IMAGES = 50
"""Of one prompt."""

_FORMATS = ((b"\x89PNG\r\n", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF8", "gif"))


def encode(images: Any) -> list[dict[str, str]]:
    """`{"mime", "data"}` each, base64. Raises `TypeError` or `ValueError` for what is no image, or too large a one."""
    if isinstance(images, (str, bytes, os.PathLike)) or hasattr(images, "save") or not isinstance(images, Iterable):
        images = [images]
    found = [_encode(image) for image in images]
    if len(found) > MAX_IMAGES:
        raise ValueError(f"{len(found)} images; a prompt takes at most {MAX_IMAGES}")
    return found


def _encode(image: Any) -> dict[str, str]:
    data = _bytes(image)
    if len(data) > MAX_IMAGE:
        raise ValueError(f"an image of {len(data):,} bytes; the limit is {MAX_IMAGE:,}: make it smaller")
    return {"mime": f"image/{_format(data)}", "data": base64.b64encode(data).decode()}


def _bytes(image: Any) -> bytes:
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image)
    if isinstance(image, (str, os.PathLike)):
        return Path(image).read_bytes()
    if hasattr(image, "save"):
        out = io.BytesIO()
        image.save(out, format="PNG")
        return out.getvalue()
    raise TypeError(f"an image is a path, bytes, or a PIL image, not {type(image).__name__}")


def _format(data: bytes) -> str:
    for magic, name in _FORMATS:
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    raise ValueError("an image must be PNG, JPEG, GIF or WebP")
