"""What a file of the input becomes in the user's namespace."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from guest.text import Text

SNIFF = 8 << 10
"""Bytes at the head of a file among which a NUL makes it binary."""


def read_text(path: str, *, str_max: int) -> str | Text:
    """The text of a file: a `str` of up to `str_max` bytes of UTF-8, else a `Text`. Malformed bytes read as U+FFFD."""
    if os.path.getsize(path) > str_max:
        return Text.open(path)
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return ""
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            return str(mapped, "utf-8", "replace")


def is_binary(path: str) -> bool:
    with open(path, "rb") as file:
        return b"\0" in file.read(SNIFF)


def read(path: str, *, str_max: int) -> str | Text | Path:
    """The text of a file as `read_text` has it, or the path of one that is not text."""
    return Path(path) if is_binary(path) else read_text(path, str_max=str_max)
