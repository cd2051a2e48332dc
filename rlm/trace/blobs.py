"""Large texts of a trace, kept once each in files that are named by their content.

An event that holds one keeps an excerpt in its place and says at its top level where the whole lies:

    {"type": "call.completed", "prompt": "Read this: …", "blobs": {"/prompt": "9f86d08…"}, …}

The key is a JSON pointer into the event. What a sandbox or a model sends can never be a field of that name,
so that nobody but the host decides which files are read.
"""

from __future__ import annotations

import copy
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rlm.events import Event
from rlm.trace.store import private_dir

LARGE = 1 << 14
"""Characters; longer texts become blobs."""
EXCERPT = 200
"""Characters that stay in the event."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Blobs:
    """The folder of a run's large texts; made on first use. `redact` takes the secrets out of what is written."""

    def __init__(self, folder: Path, *, redact: Callable[[bytes], bytes] = bytes) -> None:
        self._folder = folder
        self._redact = redact
        self._written: set[str] = set()

    def lift(self, event: Event) -> Event:
        """`event`, its large texts written to files and replaced by excerpts. Raises `OSError`."""
        return lift(event, self._write)

    def _write(self, text: str) -> str:
        data = self._redact(text.encode("utf-8", "backslashreplace"))
        digest = hashlib.sha256(data).hexdigest()
        if digest not in self._written:
            private_dir(self._folder)
            draft = self._folder / f".{digest}.part"
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(data)
            draft.replace(self._folder / digest)
            self._written.add(digest)
        return digest


def lift(event: Event, keep: Callable[[str], str]) -> Event:
    """`event`, its large texts replaced by excerpts; `keep` takes each and returns the name that it is kept under."""
    large = [(path, text) for path, text in _strings(event, ()) if len(text) > LARGE]
    if not large:
        return event
    lifted = {**event, "blobs": {}}
    for path, text in large:
        lifted["blobs"]["".join(f"/{_escape(str(step))}" for step in path)] = keep(text)
        _replace(lifted, path, f"{text[:EXCERPT]}…")
    return lifted


def restore(event: Event, folder: Path) -> Event:
    """`event` as it was before `Blobs.lift`; a text whose file is gone stays an excerpt."""
    blobs = event.pop("blobs", None)
    for pointer, digest in blobs.items() if isinstance(blobs, dict) else ():
        text = read(folder, digest)
        if text is not None:
            _replace(event, [_unescape(step) for step in pointer.split("/")[1:]], text)
    return event


def read(folder: Path, digest: str) -> str | None:
    """The text of a blob; None if there is no such file, or it is not what it was."""
    if not _DIGEST.fullmatch(digest):
        return None
    try:
        data = (folder / digest).read_bytes()
    except OSError:
        return None
    return data.decode("utf-8", "replace") if hashlib.sha256(data).hexdigest() == digest else None


def _strings(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """All texts in `value` with the way to them."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _strings(inner, (*path, key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _strings(inner, (*path, index))


def _replace(event: Any, path: Any, text: str) -> None:
    """Put `text` where `path` leads; what is on the way is copied, since others may hold it."""
    *way, last = path
    for step in way:
        step = int(step) if isinstance(event, list) else step
        inner = event[step]
        event[step] = list(inner) if isinstance(inner, tuple) else copy.copy(inner)
        event = event[step]
    event[int(last) if isinstance(event, list) else last] = text


def _escape(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")


def _unescape(step: str) -> str:
    return step.replace("~1", "/").replace("~0", "~")
