"""`Files`: many files of the input as one read-only mapping, each read when it is asked for."""

from __future__ import annotations

import difflib
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from guest import values
from guest.text import Text
from guest.textre import TextPattern

Value = str | Text | Path


class Entry(NamedTuple):
    """Where one file lies that is read, and its size in bytes."""

    path: str
    size: int
    original: str = ""
    """The file that this text was made of."""


class Hit(NamedTuple):
    """A line that `Files.grep` found; `number` counts from 1."""

    path: str
    number: int
    line: str


class Files(Mapping[str, Value]):
    """A read-only mapping from path to text, sorted by path. Files are read when asked for, and kept while room is.

    files["a/b.py"]           the text: a str (a `Text` if the file is too large for memory);
                              for a file that is not text, its pathlib.Path; a document (PDF, DOCX …)
                              is given as the text that it was converted to
    len, in, iteration, .keys(), .values(), .items(), .get()      as in a dict
    files.paths()             all paths, as a list
    files.sizes               path -> bytes, without reading anything; files.size is their sum
    files.glob("**/*.py")     the paths that match: * and ? stay within one folder, ** crosses them
    files.grep(r"TODO", "*.py", limit=100)    lines that match: (path, number, line); a pattern
                              without "/" is matched against the file name alone
    files.path("a/b.py")      where the file really lies, as a pathlib.Path, for libraries that open files;
                              of a document, the original
    """

    def __init__(self, entries: Mapping[str, Entry], *, str_max: int, cache_bytes: int = 256 << 20) -> None:
        self._entries = dict(sorted(entries.items()))
        self._str_max = str_max
        self._cache: OrderedDict[str, Value] = OrderedDict()
        self._cached = 0
        self._cache_bytes = cache_bytes
        self._opened: set[str] = set()

    def __getitem__(self, path: str) -> Value:
        entry = self._entry(path)
        if path in self._cache:
            self._cache.move_to_end(path)
            return self._cache[path]
        value = values.read(entry.path, str_max=self._str_max)
        self._opened.add(path)
        if isinstance(value, str):
            self._remember(path, value, entry.size)
        return value

    def _entry(self, path: str) -> Entry:
        entry = self._entries.get(path)
        if entry is None:
            close = difflib.get_close_matches(str(path), self._entries, n=3)
            raise KeyError(f"{path!r}: no such file" + (f"; did you mean {', '.join(close)}?" if close else ""))
        return entry

    def _remember(self, path: str, value: Value, size: int) -> None:
        if size > self._cache_bytes:
            return
        self._cache[path] = value
        self._cached += size
        while self._cached > self._cache_bytes:
            oldest, _ = self._cache.popitem(last=False)
            self._cached -= self._entries[oldest].size

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, path: object) -> bool:
        return path in self._entries

    def __eq__(self, other: object) -> bool:
        # Mapping would read every file of both.
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"<Files: {len(self):,} files, {self.size:,} bytes; a mapping from path to text>"

    def paths(self) -> list[str]:
        return list(self._entries)

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes by path."""
        return {path: entry.size for path, entry in self._entries.items()}

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self._entries.values())

    @property
    def opened(self) -> int:
        """Bytes of the files that were read, or asked for, so far."""
        return sum(self._entries[path].size for path in self._opened)

    def path(self, path: str) -> Path:
        """Where the file lies in the sandbox; of a document, the original."""
        entry = self._entry(path)
        place = Path(entry.original or entry.path)
        self._opened.add(path)
        return place

    def path_of(self, value: object) -> str | None:
        """Where the file lies whose text, as it was handed out and not a copy, this is; None if it is none."""
        for path, kept in self._cache.items():
            if kept is value:
                return self._entries[path].path
        return None

    def glob(self, pattern: str) -> list[str]:
        """The paths that match. `*`, `?` and `[…]` stay within one folder; `**/` stands for any folders or none."""
        matches = re.compile(_glob_to_regex(pattern)).fullmatch
        return [path for path in self._entries if matches(path)]

    def grep(
        self,
        pattern: str | re.Pattern[str] | TextPattern,
        glob: str = "**",
        *,
        flags: int = 0,
        limit: int | None = 1000,
    ) -> list[Hit]:
        """The lines of text files in which `pattern` is found, in order; at most `limit` of them."""
        compiled = pattern.compiled if isinstance(pattern, TextPattern) else re.compile(pattern, flags)
        hits: list[Hit] = []
        for path in self.glob(glob if "/" in glob or glob == "**" else f"**/{glob}"):
            value = self._cache.get(path) or values.read(self._entries[path].path, str_max=self._str_max)
            self._opened.add(path)
            if isinstance(value, Path):
                continue
            lines = value.lines() if isinstance(value, Text) else value.splitlines()
            for number, line in enumerate(lines, 1):
                if len(hits) == limit:
                    return hits
                if compiled.search(line):
                    hits.append(Hit(path, number, line))
        return hits


def _glob_to_regex(pattern: str) -> str:
    parts = []
    for piece in re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]/]+\])", pattern):
        if piece == "**/":
            parts.append("(?:.*/)?")
        elif piece == "**":
            parts.append(".*")
        elif piece == "*":
            parts.append("[^/]*")
        elif piece == "?":
            parts.append("[^/]")
        elif piece.startswith("["):
            parts.append("[" + re.sub(r"^!", "^", piece[1:-1].replace("\\", r"\\").replace("[", r"\[")) + "]")
        else:
            parts.append(re.escape(piece))
    return f"(?s:{''.join(parts)})"
