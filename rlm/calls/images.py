"""Images of a prompt: hostile base64, checked, as the image parts of a message."""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from rlm.protocols import Message

MAX_IMAGES = 50
MAX_IMAGE = 5 << 20
"""Bytes."""
IMAGE_TOKENS = 1500
"""What an image is estimated to take."""
_MIMES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


class Images(NamedTuple):
    """The images of one prompt."""

    parts: tuple[dict[str, Any], ...] = ()
    digest: bytes = b""

    def attach(self, messages: list[Message]) -> None:
        """Put them behind the text of the last message of the user."""
        index = next((i for i in range(len(messages) - 1, -1, -1) if messages[i]["role"] == "user"), None)
        if index is None:
            raise ValueError("images go with a message of the user, and there is none")
        text = {"type": "text", "text": messages[index]["content"]}
        messages[index] = {"role": "user", "content": [text, *self.parts]}


def parse_images(found: Any) -> Images:
    """`[{"mime", "data"}, …]` with the data in base64. Raises `ValueError`."""
    if found is None or found == []:
        return Images()
    if not isinstance(found, list) or len(found) > MAX_IMAGES:
        raise ValueError(f"images: a list of at most {MAX_IMAGES}")
    digest = hashlib.blake2b(digest_size=20)
    parts = []
    for image in found:
        mime, data = _checked(image)
        digest.update(f"{mime} {len(data)}\n{data}".encode())
        parts.append({"type": "image_url", "image_url": {"url": f"data:{mime};base64,{data}"}})
    return Images(tuple(parts), digest.digest())


def _checked(image: Any) -> tuple[str, str]:
    mime, data = (image.get("mime"), image.get("data")) if isinstance(image, Mapping) else (None, None)
    if not isinstance(mime, str) or mime not in _MIMES or not isinstance(data, str):
        raise ValueError("an image is an object with a mime type of PNG, JPEG, GIF or WebP, and base64 data")
    try:
        size = len(binascii.a2b_base64(data, strict_mode=True))
    except ValueError:
        raise ValueError("an image whose data is not base64") from None
    if not 0 < size <= MAX_IMAGE:
        raise ValueError(f"an image of {size:,} bytes; the limit is {MAX_IMAGE:,}")
    return mime, data


def messages_without_data(messages: list[Message]) -> list[Message]:
    """Messages for the trace: where an image was, its type and length are."""
    return [
        {**message, "content": [_part_without_data(part) for part in message["content"]]}
        if isinstance(message.get("content"), list)
        else message
        for message in messages
    ]


def _part_without_data(part: dict[str, Any]) -> dict[str, Any]:
    if part.get("type") != "image_url":
        return part
    kind, _, data = part["image_url"]["url"].partition(";base64,")
    return {"type": "image", "mime": kind.removeprefix("data:"), "characters": len(data)}


def without_data(prompt: Any) -> Any:
    """A prompt for the trace: what its images are, not what is in them."""
    if not isinstance(prompt, dict) or not isinstance(prompt.get("images"), list):
        return prompt
    told = [
        {"mime": str(image.get("mime"))[:40], "characters": len(str(image.get("data")))}
        for image in prompt["images"][:MAX_IMAGES]
        if isinstance(image, dict)
    ]
    return {**prompt, "images": told}
