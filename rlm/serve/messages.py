"""The messages of a request, read and checked: texts by role, and the documents that came with them."""

from __future__ import annotations

import base64
import binascii
import mimetypes
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rlm.serve.failures import ApiError, invalid
from rlm.serve.files import clean, safe_name

MOST_MESSAGES = 10_000
MOST_DOCUMENTS = 1000
_DATA_URL = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)?(?:;[\w.+-]+=[^;,]{1,100})*;base64,", re.ASCII)
AUDIO = ("wav", "mp3")
_HEAD = 1000
"""Characters in which the head of a data URL has to end."""
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A document that was uploaded before."""

    file_id: str


@dataclass(frozen=True, slots=True)
class Inline:
    """A document within the message."""

    name: str
    content: bytes


Document = Uploaded | Inline


@dataclass(frozen=True, slots=True)
class Message:
    """`role` is system, user or assistant."""

    role: str
    text: str
    documents: tuple[Document, ...] = field(default=())


def read_messages(raw: Any, *, max_file: int) -> list[Message]:
    """The messages of a request's body. Raises `ApiError`, which says at which place what is wrong."""
    if not isinstance(raw, list) or not raw:
        raise invalid("messages: a list that is not empty", "messages")
    if len(raw) > MOST_MESSAGES:
        raise invalid(f"messages: at most {MOST_MESSAGES:,}", "messages")
    found = [_message(each, f"messages[{number}]", max_file) for number, each in enumerate(raw)]
    if sum(len(each.documents) for each in found) > MOST_DOCUMENTS:
        raise invalid(f"at most {MOST_DOCUMENTS:,} documents", "messages")
    return found


def _message(raw: Any, place: str, max_file: int) -> Message:
    if not isinstance(raw, Mapping):
        raise invalid(f"{place}: an object with a role and content", place)
    role = raw.get("role")
    if role in ("tool", "function") or raw.get("tool_calls") or raw.get("function_call"):
        raise invalid("this model calls no tools of the client's", place, "unsupported_value")
    if not isinstance(role, str) or role not in ROLES:
        raise invalid(f"{place}.role: one of {', '.join(ROLES)}", f"{place}.role")
    content = raw.get("content")
    if isinstance(content, str):
        return Message(ROLES[role], clean(content))
    if content is None and role == "assistant":
        return Message(ROLES[role], "")
    if not isinstance(content, list) or not content:
        raise invalid(f"{place}.content: a text, or a list of parts", f"{place}.content")
    parts = list(_parts(content, f"{place}.content", ROLES[role], max_file))
    texts = [part for part in parts if isinstance(part, str)]
    return Message(ROLES[role], "\n\n".join(texts), tuple(part for part in parts if not isinstance(part, str)))


def _parts(content: list[Any], where: str, role: str, max_file: int) -> Iterator[str | Document]:
    for number, part in enumerate(content):
        place = f"{where}[{number}]"
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind in ("text", "refusal"):
            yield clean(_string(part, kind, place))
        elif kind == "file" and role == "user":
            yield _file(part.get("file"), f"{place}.file", max_file)
        elif kind == "image_url" and role == "user":
            yield _image(part.get("image_url"), f"{place}.image_url", number, max_file)
        elif kind == "input_audio" and role == "user":
            yield _audio(part.get("input_audio"), f"{place}.input_audio", number, max_file)
        else:
            kinds = "text, file, image_url or input_audio"
            raise invalid(f"{place}: a part of type {kinds}", place, "unsupported_value")


def _file(raw: Any, place: str, max_file: int) -> Document:
    if not isinstance(raw, Mapping):
        raise invalid(f"{place}: an object with file_id, or with file_data and filename", place)
    if raw.get("file_id") is not None:
        return Uploaded(_string(raw, "file_id", place))
    data = _string(raw, "file_data", place)
    content, media_type = _decoded(data, f"{place}.file_data", max_file)
    given = raw.get("filename")
    if given is not None and not isinstance(given, str):
        raise invalid(f"{place}.filename: a text", f"{place}.filename")
    return Inline(safe_name(given or f"file{_suffix(media_type)}"), content)


def _image(raw: Any, place: str, number: int, max_file: int) -> Inline:
    url = _string(raw if isinstance(raw, Mapping) else {}, "url", place)
    if not url.startswith("data:"):
        raise invalid(
            "images are taken as data: URLs; this server fetches nothing", f"{place}.url", "unsupported_value"
        )
    content, media_type = _decoded(url, f"{place}.url", max_file)
    return Inline(f"image-{number + 1}{_suffix(media_type)}", content)


def _audio(raw: Any, place: str, number: int, max_file: int) -> Inline:
    recording = raw if isinstance(raw, Mapping) else {}
    form = _string(recording, "format", place)
    if form not in AUDIO:
        raise invalid(f"{place}.format: one of {', '.join(AUDIO)}", f"{place}.format", "unsupported_value")
    content, _ = _decoded(_string(recording, "data", place), f"{place}.data", max_file)
    return Inline(f"audio-{number + 1}.{form}", content)


def _decoded(data: str, place: str, max_file: int) -> tuple[bytes, str]:
    """The bytes of a data URL, or of base64 alone, and their media type."""
    found = _DATA_URL.match(data, 0, _HEAD)
    if found is None and data.startswith("data:"):
        raise invalid(f"{place}: a data URL in base64", place)
    body = data[found.end() :] if found else data
    if len(body) // 4 * 3 > max_file + 3:
        raise ApiError(413, f"a document has at most {max_file:,} bytes", param=place, code="file_too_large")
    try:
        content = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise invalid(f"{place}: not base64", place) from None
    return content, (found["type"] or "") if found else ""


def _suffix(media_type: str) -> str:
    return mimetypes.guess_extension(media_type) or ""


def _string(raw: Mapping[str, Any], name: str, place: str) -> str:
    value = raw.get(name)
    if not isinstance(value, str):
        raise invalid(f"{place}.{name}: a text", f"{place}.{name}")
    return value
