"""Patterns of files as `.gitignore` writes them. They come with a stranger's folder, so matching takes linear time."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from rlm.context import beneath

NAME = ".gitignore"
MAX_BYTES = 1 << 20
"""Of a file of patterns."""
MAX_LINE = 1024
"""Characters of a pattern; longer ones are left out."""


class _Pattern(NamedTuple):
    regex: re.Pattern[str]
    negated: bool
    folders_only: bool


class Patterns:
    """The patterns of one file. `base` is the folder that it lies in, relative to the root of the listing.

    A pattern without a slash, but at its end, matches names; with one, paths below `base`. The last match decides.
    """

    def __init__(self, lines: Iterable[str], base: str = "") -> None:
        self._base = f"{base}/" if base else ""
        self._by_name: list[tuple[int, _Pattern]] = []
        self._by_path: list[tuple[int, _Pattern]] = []
        for number, line in enumerate(lines):
            if (parsed := _parse(line)) is not None:
                pattern, by_path = parsed
                (self._by_path if by_path else self._by_name).append((number, pattern))
        self._by_name.reverse()
        self._by_path.reverse()
        self._of_name = lru_cache(65_536)(self._match_name)

    def __bool__(self) -> bool:
        return bool(self._by_name or self._by_path)

    def match(self, path: str, *, folder: bool) -> bool | None:
        """Whether the last pattern that matches this path selects it (True) or, with a `!`, does not; None: none does.

        `path` is relative to the root of the listing; its parents are asked about apart.
        """
        number, selected = self._of_name(path[path.rfind("/") + 1 :], folder)
        if self._by_path and path.startswith(self._base):
            below = path[len(self._base) :]
            for other, pattern in self._by_path:
                if other < number:
                    break
                if (folder or not pattern.folders_only) and pattern.regex.match(below):
                    return not pattern.negated
        return selected

    def _match_name(self, name: str, folder: bool) -> tuple[int, bool | None]:
        for number, pattern in self._by_name:
            if (folder or not pattern.folders_only) and pattern.regex.match(name):
                return number, not pattern.negated
        return -1, None


def read(root: str, path: str) -> list[str]:
    """The lines of the file of patterns at `path` beneath `root`; none if it cannot be read, or is a link."""
    try:
        with beneath.file(root, path) as fd:
            data = os.pread(fd, MAX_BYTES, 0)
    except OSError:
        return []
    return data.decode("utf-8", "surrogateescape").removeprefix("\ufeff").split("\n")


def _parse(line: str) -> tuple[_Pattern, bool] | None:
    """One line; None for what is none, or is malformed."""
    line = line.removesuffix("\r")
    line = _without_blanks(line)
    if not line or line.startswith("#"):
        return None
    if negated := line.startswith("!"):
        line = line[1:]
    if folders_only := line.endswith("/"):
        line = line[:-1]
    by_path = "/" in line
    line = line.removeprefix("/")
    if not line or len(line) > MAX_LINE:
        return None
    try:
        source = _path_regex(line.split("/")) if by_path else _name_regex(line)
        return _Pattern(re.compile(source + r"\Z", re.DOTALL), negated, folders_only), by_path
    except re.error:
        return None


def _without_blanks(line: str) -> str:
    """Blanks at the end do not count, unless quoted by a backslash."""
    stripped = line.rstrip(" ")
    backslashes = len(stripped) - len(stripped.rstrip("\\"))
    return stripped + " " if backslashes % 2 and len(stripped) < len(line) else stripped


def _path_regex(parts: list[str]) -> str:
    """`a/**/b*` as one expression: `**` is any folders or none, at the end everything below.

    What stands between two of them takes its nearest match, for good, as in a name.
    """
    pieces: list[list[str]] = [[]]
    for part in parts[:-1]:
        if part != "**":
            pieces[-1].append(_name_regex(part) + "/")
        elif pieces[-1] or len(pieces) == 1:
            pieces.append([])
    pieces[-1].append("[^/].*" if parts[-1] == "**" else _name_regex(parts[-1]))
    first, *rest = ("".join(piece) for piece in pieces)
    if not rest:
        return first
    middle = "".join(f"(?>(?:[^/]++/)*?{piece})" for piece in rest[:-1])
    return f"{first}{middle}(?:[^/]++/)*{rest[-1]}"


def _name_regex(part: str) -> str:
    r"""One name with `*`, `?`, `[…]` and backslashes. Each `*` takes the nearest match of what follows, for good.

    That is right, since the last piece alone is bound to the end; and it takes linear time.
    """
    pieces: list[str] = [""]
    at = 0
    while at < len(part):
        char = part[at]
        at += 1
        if char == "*":
            if pieces[-1] or len(pieces) == 1:
                pieces.append("")
        elif char == "?":
            pieces[-1] += "[^/]"
        elif char == "[" and (closed := _set_end(part, at)):
            pieces[-1] += _set(part[at:closed])
            at = closed + 1
        elif char == "[":
            return "(?!)"  # never closed: matches nothing
        else:
            if char == "\\":
                if at == len(part):
                    return "(?!)"
                char, at = part[at], at + 1
            pieces[-1] += re.escape(char)
    first, *rest = pieces
    if not rest:
        return first
    middle = "".join(f"(?>[^/]*?{piece})" for piece in rest[:-1])
    return f"{first}{middle}[^/]*{rest[-1]}"


def _set_end(part: str, at: int) -> int:
    """Where the `]` of a set is; 0 if there is none. One that comes first is part of it."""
    start = end = at + (part[at : at + 1] in ("!", "^"))
    while end < len(part):
        if part[end] == "\\":
            end += 1
        elif part.startswith("[:", end) and (inner := part.find(":]", end)) > 0:
            end = inner + 1
        elif part[end] == "]" and end > start:
            return end
        end += 1
    return 0


_CLASSES = {
    "alpha": "a-zA-Z",
    "digit": "0-9",
    "alnum": "a-zA-Z0-9",
    "upper": "A-Z",
    "lower": "a-z",
    "xdigit": "0-9a-fA-F",
    "space": r"\s",
    "blank": r" \t",
    "punct": r"!-/:-@\[-`{-~",
}


def _set(inner: str) -> str:
    negated = inner[:1] in ("!", "^")
    out, at = "", int(negated)
    while at < len(inner):
        if inner.startswith("[:", at) and (end := inner.find(":]", at)) > 0:
            out += _CLASSES.get(inner[at + 2 : end], "")
            at = end + 2
            continue
        if inner[at] == "\\" and at + 1 < len(inner):
            at += 1
            out += "\\" + inner[at] if not inner[at].isalnum() else inner[at]
        elif inner[at] == "-":
            out += "-" if out and at + 1 < len(inner) else r"\-"
        else:
            out += inner[at] if inner[at].isalnum() else "\\" + inner[at]
        at += 1
    return f"(?!/)[{'^' if negated else ''}{out}]" if out else "(?!)"
