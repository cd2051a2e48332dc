"""The input as text for a prompt, where it is small enough and text."""

from __future__ import annotations

import os
from collections.abc import Iterable

from rlm.context import beneath
from rlm.context.manifest import Item, Part
from rlm.errors import InputError


def pasted(items: Iterable[Item], limit: int) -> list[tuple[str, str]] | None:
    """The texts of an input by name, of at most `limit` characters in all; None if it is more, or not all text.

    Malformed UTF-8 reads as U+FFFD. Blocks; raises `InputError` for a file that cannot be read any more.
    """
    items = list(items)
    # No character takes more than four bytes: what is larger need not be read.
    if any(item.kind == "path" for item in items) or _size(items) > 4 * limit:
        return None
    texts: list[tuple[str, str]] = []
    for item in items:
        for part in item.parts:
            data = _read(part)
            if b"\0" in data:
                return None
            name = f"{item.name}/{part.name}" if item.kind == "files" else item.name
            texts.append((name, data.decode("utf-8", "replace").removeprefix("\ufeff")))
    return texts if sum(len(text) for _, text in texts) <= limit else None


def _size(items: Iterable[Item]) -> int:
    return sum(part.offered[2] for item in items for part in item.parts)


def _read(part: Part) -> bytes:
    root, path, _ = part.offered
    try:
        with beneath.file(root, path) as fd, os.fdopen(os.dup(fd), "rb") as file:
            return file.read()
    except OSError as error:
        raise InputError(f"cannot read {part.name}: {error.strerror}") from error
