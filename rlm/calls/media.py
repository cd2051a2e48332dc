"""Images and sound of a prompt: hostile base64, checked, as the parts of a message."""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from rlm.protocols import Message

MAX_EACH = 50
"""Images, or recordings, of one prompt."""
MAX_IMAGE = 5 << 20
"""Bytes."""
MAX_AUDIO = 10 << 20
IMAGE_TOKENS = 1500
"""What an image is estimated to take."""
AUDIO_BYTES_PER_TOKEN = 800
"""Some ten tokens a second of speech, compressed: cautious for WAV."""
MIMES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
FORMATS = frozenset({"wav", "mp3"})


class Media(NamedTuple):
    """What a prompt carries beside its text."""

    parts: tuple[dict[str, Any], ...] = ()
    digest: bytes = b""
    tokens: int = 0
    """Estimated."""

    def attach(self, messages: list[Message]) -> None:
        """Put them behind the text of the last message of the user."""
        index = next((i for i in range(len(messages) - 1, -1, -1) if messages[i]["role"] == "user"), None)
        if index is None:
            raise ValueError("images and audio go with a message of the user, and there is none")
        text = {"type": "text", "text": messages[index]["content"]}
        messages[index] = {"role": "user", "content": [text, *self.parts]}


def parse_media(prompt: Mapping[str, Any]) -> Media:
    """`images`: `[{"mime", "data"}, …]`, and `audio`: `[{"format", "data"}, …]`, in base64. Raises `ValueError`."""
    digest = hashlib.blake2b(digest_size=20)
    parts: list[dict[str, Any]] = []
    tokens = 0
    for image in _listed(prompt, "images"):
        mime, data, _ = _checked(image, "image", "mime", MIMES, MAX_IMAGE)
        digest.update(f"{mime} {len(data)}\n{data}".encode())
        parts.append({"type": "image_url", "image_url": {"url": f"data:{mime};base64,{data}"}})
        tokens += IMAGE_TOKENS
    for recording in _listed(prompt, "audio"):
        form, data, size = _checked(recording, "recording", "format", FORMATS, MAX_AUDIO)
        digest.update(f"{form} {len(data)}\n{data}".encode())
        parts.append({"type": "input_audio", "input_audio": {"data": data, "format": form}})
        tokens += -(-size // AUDIO_BYTES_PER_TOKEN)
    return Media(tuple(parts), digest.digest(), tokens) if parts else Media()


def _listed(prompt: Mapping[str, Any], kind: str) -> list[Any]:
    found = prompt.get(kind)
    if found is None:
        return []
    if not isinstance(found, list) or len(found) > MAX_EACH:
        raise ValueError(f"{kind}: a list of at most {MAX_EACH}")
    return found


def _checked(found: Any, what: str, key: str, allowed: frozenset[str], limit: int) -> tuple[str, str, int]:
    """Its kind, its data, and how many bytes they are."""
    kind, data = (found.get(key), found.get("data")) if isinstance(found, Mapping) else (None, None)
    if not isinstance(kind, str) or kind not in allowed or not isinstance(data, str):
        raise ValueError(f"{what}: an object with base64 data, and a {key} of {', '.join(sorted(allowed))}")
    try:
        size = len(binascii.a2b_base64(data, strict_mode=True))
    except ValueError:
        raise ValueError(f"{what}: its data is not base64") from None
    if not 0 < size <= limit:
        raise ValueError(f"{what}: {size:,} bytes; the limit is {limit:,}")
    return kind, data, size


def messages_without_data(messages: list[Message]) -> list[Message]:
    """Messages for the trace: where an image or a recording was, its type and length are."""
    return [
        {**message, "content": [_part_without_data(part) for part in message["content"]]}
        if isinstance(message.get("content"), list)
        else message
        for message in messages
    ]


def _part_without_data(part: dict[str, Any]) -> dict[str, Any]:
    if part.get("type") == "image_url":
        kind, _, data = part["image_url"]["url"].partition(";base64,")
        return {"type": "image", "mime": kind.removeprefix("data:"), "characters": len(data)}
    if part.get("type") == "input_audio":
        audio = part["input_audio"]
        return {"type": "audio", "format": audio["format"], "characters": len(audio["data"])}
    return part


def without_data(prompt: Any) -> Any:
    """A prompt for the trace: what its images and recordings are, not what is in them."""
    if not isinstance(prompt, dict):
        return prompt
    told = {
        kind: [
            {key: str(item.get(key))[:40], "characters": len(str(item.get("data")))}
            for item in prompt[kind][:MAX_EACH]
            if isinstance(item, dict)
        ]
        for kind, key in (("images", "mime"), ("audio", "format"))
        if isinstance(prompt.get(kind), list)
    }
    return {**prompt, **told} if told else prompt
