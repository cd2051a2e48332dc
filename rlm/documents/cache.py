"""What documents were converted to, by the hash of their bytes and of the converter: in the user's own cache folder."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import platformdirs

KEEP_SECONDS = 30 * 24 * 3600
"""A text that nobody asked for in so long is removed."""


class TextCache:
    """Texts by key; each is one file, complete or not there. `folder` is made when something is kept, mode 0700."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or Path(platformdirs.user_cache_dir("rlm")) / "documents"

    def get(self, key: str) -> tuple[Path, int] | None:
        """Where the text lies, and its characters."""
        place = self.folder / f"{key}.md"
        try:
            told = json.loads((self.folder / f"{key}.json").read_bytes())
            if place.stat().st_size != told["bytes"]:
                return None
            os.utime(place)
            return place, int(told["chars"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @contextmanager
    def writing(self) -> Iterator[BinaryIO]:
        """A file for a text that is being made. What is not handed to `put` is gone afterwards. Raises `OSError`."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".", delete=False) as file:  # mode 0600
            try:
                yield cast("BinaryIO", file)
            finally:
                Path(file.name).unlink(missing_ok=True)

    def put(self, key: str, file: BinaryIO, chars: int) -> Path:
        """Keep what was written to a file of `writing`, whole; returns its place."""
        file.flush()
        place = self.folder / f"{key}.md"
        told = json.dumps({"bytes": os.fstat(file.fileno()).st_size, "chars": chars})
        with self.writing() as about:
            about.write(told.encode())
            about.flush()
            os.replace(file.name, place)
            os.replace(about.name, self.folder / f"{key}.json")
        return place

    def prune(self) -> None:
        """Remove what nobody has asked for in a month, and what killed processes left."""
        oldest = time.time() - KEEP_SECONDS
        for path in self.folder.glob("*.md"):
            # Another process may prune as well.
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()
                    path.with_suffix(".json").unlink()
        for path in self.folder.glob(".*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()
