"""Listing a directory: what the guest is offered, and what is left out and why. Reads no file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from rlm.context import beneath, ignore
from rlm.context.choice import AS_IS, Choice
from rlm.context.ignore import Patterns
from rlm.errors import InputError

SKIPPED = frozenset(
    {".git", ".hg", ".svn", ".bzr", "__pycache__", "node_modules", ".venv"}
    | {".tox", ".nox", ".mypy_cache", ".pytest_cache", ".ruff_cache"}
)
"""Folders of version control, caches and installed packages: not listed unless they are the input itself."""
MAX_FILES = 200_000


@dataclass(frozen=True, slots=True)
class Found:
    """One file: the name that it is offered by, where it lies beneath the root, and what `stat` says."""

    name: str
    path: str
    size: int
    mtime_ns: int
    inode: int
    open_to_all: bool
    """Readable by any user who sees the root: its mode and those of all folders on the way allow it."""


@dataclass(slots=True)
class Scan:
    """A listed directory; `files` is sorted by name."""

    root: str
    files: list[Found] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """Folders left out by name."""
    ignored: list[str] = field(default_factory=list)
    """Files and folders (these end with `/`) that a `.gitignore` leaves out."""
    unwanted: int = 0
    """Files, or folders with all that is in them, that the caller did not want."""
    outside: list[str] = field(default_factory=list)
    """Links that lead out of the directory."""
    unreadable: list[str] = field(default_factory=list)
    has_doors: bool = False
    """It holds a socket, pipe or device that the sandbox could talk through if the directory were mounted."""


def scan(root: str, *, foreign_uid: bool, choice: Choice = AS_IS) -> Scan:
    """List all regular files beneath `root` (a real path), links to files within it included.

    `foreign_uid` says that the reader is another user than this process. Raises `InputError` for a
    directory that cannot be read, or has more than 200,000 files.
    """
    return _Walk(root, foreign_uid, choice).run()


class _Folder(NamedTuple):
    """One that is to be listed."""

    path: str
    parent_open: bool
    offered: bool
    included: bool
    """A folder above it is one that the caller wants, with all that is in it."""
    rules: tuple[Patterns, ...]
    """The `.gitignore` files above, the outermost first."""


class _Walk:
    def __init__(self, root: str, foreign_uid: bool, choice: Choice) -> None:
        self.result = Scan(root)
        self.foreign = foreign_uid
        self.ignores = choice.ignore
        self.include, self.exclude = Patterns(choice.include), Patterns(choice.exclude)
        self.open_folders: dict[str, bool] = {}
        self.links: list[str] = []
        self.names: set[str] = set()

    def run(self) -> Scan:
        pending = [_Folder("", True, True, not self.include, ())]
        while pending:
            at = pending.pop()
            try:
                with beneath.folder(self.result.root, at.path) as fd:
                    is_open = at.parent_open and (not self.foreign or os.fstat(fd).st_mode & 0o005 == 0o005)
                    self.open_folders[at.path] = is_open
                    pending += self._list(at, fd, is_open)
            except OSError as error:
                if not at.path:
                    raise InputError(f"cannot read {self.result.root}: {error.strerror}") from error
                self.result.unreadable.append(at.path)
        for link in self.links:
            self._resolve(link)
        self.result.files.sort(key=lambda found: found.name)
        for names in (self.result.skipped, self.result.outside, self.result.unreadable, self.result.ignored):
            names.sort()
        return self.result

    def _list(self, at: _Folder, fd: int, is_open: bool) -> Iterator[_Folder]:
        """Take the files of one folder; returns the folders in it."""
        with os.scandir(fd) as scanned:
            entries = list(scanned)
        rules = at.rules
        if self.ignores and at.offered and any(entry.name == ignore.NAME for entry in entries):
            lines = ignore.read(self.result.root, f"{at.path}/{ignore.NAME}" if at.path else ignore.NAME)
            rules = (*rules, Patterns(lines, at.path))
        for entry in entries:
            inner = f"{at.path}/{entry.name}" if at.path else entry.name
            is_folder = entry.is_dir(follow_symlinks=False)
            offered = at.offered and not self._left_out(inner, rules, folder=is_folder)
            if is_folder:
                offered = offered and not self._skip(entry.name, inner)
                included = at.included or bool(self.include.match(inner, folder=True))
                yield _Folder(inner, is_open, offered, included, rules)
                continue
            if offered and not (at.included or self.include.match(inner, folder=False)):
                self.result.unwanted += 1
                offered = False
            self._meet(entry, inner, fd, is_open, offered)

    def _left_out(self, path: str, rules: tuple[Patterns, ...], *, folder: bool) -> bool:
        if self.exclude and self.exclude.match(path, folder=folder):
            self.result.unwanted += 1
            return True
        for patterns in reversed(rules):
            if (selected := patterns.match(path, folder=folder)) is not None:
                if selected:
                    self.result.ignored.append(f"{path}/" if folder else path)
                return selected
        return False

    def _skip(self, name: str, path: str) -> bool:
        if name in SKIPPED:
            self.result.skipped.append(path)
        return name in SKIPPED

    def _meet(self, entry: os.DirEntry[str], path: str, fd: int, is_open: bool, offered: bool) -> None:
        if entry.is_symlink():
            if offered:
                self.links.append(path)
        elif entry.is_file(follow_symlinks=False):
            if offered:
                info = entry.stat(follow_symlinks=False)
                if info.st_mode & 0o004 or os.access(entry.name, os.R_OK, dir_fd=fd):
                    self._add(path, path, info, is_open)
                else:
                    self.result.unreadable.append(path)
        elif is_open and self._is_door(entry.stat(follow_symlinks=False).st_mode):
            self.result.has_doors = True

    def _is_door(self, mode: int) -> bool:
        """Whether the sandbox's user could talk through this socket, pipe or device, in a folder open to it."""
        return not self.foreign or bool(mode & (0o002 if stat.S_ISSOCK(mode) else 0o006))

    def _resolve(self, link: str) -> None:
        """Offer the file that a link leads to, by its own place: an absolute link means nothing in the sandbox."""
        root = self.result.root
        real = os.path.realpath(os.path.join(root, link))
        inside = os.path.relpath(real, root)
        if inside == ".." or inside.startswith("../"):
            self.result.outside.append(link)
            return
        try:
            info = os.stat(real, follow_symlinks=False)
        except OSError:
            self.result.unreadable.append(link)
            return
        # A linked folder is listed where it really is.
        if stat.S_ISREG(info.st_mode):
            self._add(link, inside, info, self.open_folders.get(os.path.dirname(inside), False))

    def _add(self, link: str, path: str, info: os.stat_result, is_open: bool) -> None:
        if len(self.result.files) >= MAX_FILES:
            raise InputError(f"{self.result.root} has more than {MAX_FILES:,} files; name a part of it, or use a glob")
        readable = is_open and (not self.foreign or bool(info.st_mode & 0o004))
        name = unique(printable(link), self.names)
        self.result.files.append(Found(name, path, info.st_size, info.st_mtime_ns, info.st_ino, readable))


def printable(path: str) -> str:
    """A path as text: bytes that are not UTF-8 read as U+FFFD."""
    return os.fsencode(path).decode("utf-8", "replace")


def unique(name: str, taken: set[str]) -> str:
    """`name`, or `name (2)`, `name (3)` …, whichever is first not in `taken`, to which it is added."""
    choice, number = name, 1
    while choice in taken:
        number += 1
        choice = f"{name} ({number})"
    taken.add(choice)
    return choice
