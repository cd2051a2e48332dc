"""Images for sub-LLMs: from a path, bytes, or a PIL image to what goes over the bridge, made smaller where need be."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from typing import Any

MAX_IMAGE = 5 << 20
"""Bytes of one image: what endpoints take."""
MAX_SIDE = 2048
"""Pixels of the longer side: models see no more of an image, and are paid for what they are sent."""
JPEG_QUALITY = 85

_FORMATS = ((b"\x89PNG\r\n", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF8", "gif"))


def encode(image: Any) -> dict[str, str]:
    """`{"mime", "data"}`, base64. Raises `TypeError` or `ValueError` for what is no image, or cannot be sent."""
    data = _small_enough(_bytes(image))
    if not _format(data):
        raise ValueError("an image must be PNG, JPEG, GIF or WebP, or of another format that PIL reads")
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


def _small_enough(data: bytes) -> bytes:
    """The image as it is if endpoints take it, or it cannot be read; else a smaller one of the same picture."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        return data
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if max(picture.size) <= MAX_SIDE and len(data) <= MAX_IMAGE and _format(data):
                return data
            return _scaled(picture)
    except UnidentifiedImageError:
        return data
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"an image that cannot be made smaller: {error}") from error


def _scaled(picture: Any) -> bytes:
    from PIL import ImageOps

    # JPEG is decoded at an eighth, a quarter or a half where that is enough: far quicker for photographs.
    picture.draft("RGB", (MAX_SIDE, MAX_SIDE))
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    upright = ImageOps.exif_transpose(picture)
    out = io.BytesIO()
    if upright.mode in ("1", "L", "P", "LA", "RGBA", "PA"):
        upright.save(out, format="PNG", optimize=False)
        if out.tell() <= MAX_IMAGE:
            return out.getvalue()
        out = io.BytesIO()
    upright.convert("RGB").save(out, format="JPEG", quality=JPEG_QUALITY)
    return out.getvalue()


def _format(data: bytes) -> str:
    for magic, name in _FORMATS:
        if data.startswith(magic):
            return name
    return "webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else ""
