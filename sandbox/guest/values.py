"""What a file of the input becomes in the user's namespace.

A text is UTF-8, with or without a mark. The files of a directory may be in other encodings, which nobody has looked at
before: UTF-16 is known by its mark, and what is not UTF-8 at all is read as western text of one byte a character.
"""

from __future__ import annotations

import codecs
import mmap
import os
from pathlib import Path

from guest.text import Text

SNIFF = 8 << 10
"""Bytes at the head of a file among which a NUL makes it binary."""


def read_text(path: str, *, str_max: int) -> str | Text:
    """The text of a file: a `str` of up to `str_max` bytes of UTF-8, else a `Text`. Malformed bytes read as U+FFFD."""
    if os.path.getsize(path) > str_max:
        return open_text(path)
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return ""
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
            return str(view[mark_length(view[:3]) :], "utf-8", "replace")


def open_text(path: str) -> Text:
    """A `Text` of the file, without its mark."""
    with open(path, "rb") as file:
        return Text.open(path, mark_length(file.read(3)))


def mark_length(head: bytes | memoryview) -> int:
    """Bytes of the mark with which some programs begin UTF-8."""
    return 3 if bytes(head) == codecs.BOM_UTF8 else 0


def read(path: str, *, str_max: int) -> str | Text | Path:
    """The text of a file of a directory, or the path of one that is not text."""
    with open(path, "rb") as file:
        head = file.read(SNIFF)
    small = os.path.getsize(path) <= str_max
    if small and head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        with open(path, "rb") as file:
            return str(file.read(), "utf-16", "replace")
    if b"\0" in head:
        return Path(path)
    text = read_text(path, str_max=str_max)
    return _western(path) if isinstance(text, str) and _is_not_utf8(text) else text


def _is_not_utf8(text: str) -> bool:
    """Whether there are more wrong bytes than characters beyond ASCII: else it is UTF-8 with some damage."""
    wrong = 0 if text.isascii() else text.count("\ufffd")
    return wrong > 0 and len(text) - len(text.encode("ascii", "ignore")) < 2 * wrong


def _western(path: str) -> str:
    with open(path, "rb") as file:
        return str(file.read(), "cp1252", "replace")
