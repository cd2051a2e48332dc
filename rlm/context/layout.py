"""Where everything lies for the sandbox: mounted from its own place, or staged in the run's spool.

Mounted is what the sandbox's user can read there. Staged, by hard link or copy, is what it cannot, what has
a path that no engine takes, more single files than one wants mounts for, and the files of a directory that
holds doors to the host (sockets, pipes, devices).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from rlm.context import beneath
from rlm.context.manifest import Item, Kind, Part
from rlm.context.peek import Peek, peek
from rlm.context.preview import Look
from rlm.context.scan import Found, Scan, printable, scan, unique
from rlm.context.sources import FileSource, FolderSource, Source
from rlm.context.spool import Spool
from rlm.errors import InputError
from rlm.protocols import Mount

VERSION = 1
"""Of the guest's configuration."""
STR_MAX = 512 << 20
STR_COST = 6
"""A str must fit the memory limit this many times over."""
JSON_MAX = 64 << 20
JSON_COST = 10
MIN_MEMORY = 2 << 30
SINGLE_MOUNTS = 64
"""More files than this become one mapping, staged in one folder."""


class Layout:
    """Lays out one run's input; `mounts`, `notices` and `memory` are complete after `lay_out`."""

    def __init__(self, spool: Spool, *, foreign_uid: bool) -> None:
        self.spool = spool
        self.foreign = foreign_uid
        self.mounts: list[Mount] = []
        self.notices: list[str] = []
        self.memory = MIN_MEMORY
        self._entries: list[dict[str, Any]] = []
        self._spool_root: int | None = None
        self._claimed = 0

    def lay_out(self, sources: list[Source], memory: int | None) -> list[Look]:
        """Mount or stage every source, in order; `memory` is the sandbox's limit in bytes, if it is given."""
        files = [source for source in sources if isinstance(source, FileSource)]
        folders = {source for source in sources if isinstance(source, FolderSource)}
        scans = {folder: scan(folder.path, foreign_uid=self.foreign) for folder in folders}
        total = sum(file.info.st_size for file in files)
        total += sum(found.size for listed in scans.values() for found in listed.files)
        self.memory = memory or max(MIN_MEMORY, 3 * total)
        looks: list[Look] = []
        names = _names(sources)
        grouped = len(files) > SINGLE_MOUNTS
        if grouped:
            named = list(zip(names, sources, strict=True))
            taken = {name for name, source in named if isinstance(source, FolderSource)}
            single = [(name, source) for name, source in named if isinstance(source, FileSource)]
            looks.append(self._group(single, unique("files", taken)))
        for source, name in zip(sources, names, strict=True):
            if isinstance(source, FolderSource):
                looks.append(self._folder(source, name, scans[source]))
            elif not grouped:
                looks.append(self._file(source, name))
        return looks

    def config(self, looks: list[Look]) -> dict[str, Any]:
        """What `guest.inputs` builds `context` from."""
        return {
            "v": VERSION,
            "str_max": self._str_max,
            "roots": [mount.target for mount in self.mounts],
            "single": len(looks) == 1,
            "inputs": self._entries,
        }

    @property
    def _str_max(self) -> int:
        return min(STR_MAX, self.memory // STR_COST)

    # --- one file ---------------------------------------------------------------------------

    def _file(self, source: FileSource, name: str) -> Look:
        root, inside = os.path.split(source.path)
        seen = _peek(root, inside, source.given)
        kind = self._kind(source, seen)
        if source.spooled:
            number, path = self._spool_mount(), source.spooled
        elif _mountable(source.path) and (not self.foreign or source.info.st_mode & 0o004):
            number, path = self._mount(source.path, inside), ""
        else:
            number, path = self._spool_mount(), f"{len(self._entries)}/{_safe(inside)}"
            self._stage(path, root, inside, source)
        self._entries.append({"name": name, "as": kind, "root": number, "path": path})
        part = _part(name, root, inside, source.info)
        return Look(Item(name, kind, source.given, seen.size, (part,)), peek=seen)

    def _kind(self, source: FileSource, seen: Peek) -> Kind:
        """Decided here and not in the guest, so that the preview says what is so."""
        if source.origin == "bytes" or (seen.binary and source.origin in {"path", "stdin"}):
            return "path"
        is_json = source.origin == "json" or (source.given.lower().endswith(".json") and 0 < seen.size <= JSON_MAX)
        if is_json and self._claim(JSON_COST * seen.size):
            return "json"
        return "str" if seen.size <= STR_MAX and self._claim(STR_COST * seen.size) else "text"

    def _claim(self, cost: int) -> bool:
        """Several inputs share the memory: what no longer fits stays in its file."""
        if self._claimed + cost > self.memory:
            return False
        self._claimed += cost
        return True

    def _stage(self, path: str, root: str, inside: str, source: FileSource) -> None:
        try:
            with beneath.file(root, inside) as fd:
                self.spool.stage(path, fd, link=bool(source.info.st_mode & 0o004) or not self.foreign)
        except OSError as error:
            raise InputError(f"cannot copy {source.given}: {error.strerror}") from error

    # --- many files -------------------------------------------------------------------------

    def _group(self, files: list[tuple[str, FileSource]], name: str) -> Look:
        """Many single files as one mapping."""
        parts, rows = [], []
        self._spool_mount()
        for number, (inner, source) in enumerate(files):
            root, inside = os.path.split(source.path)
            path = source.spooled or f"{len(self._entries)}/{number}/{_safe(inside)}"
            if not source.spooled:
                self._stage(path, root, inside, source)
            parts.append(_part(inner, root, inside, source.info))
            rows.append([inner, source.info.st_size, self._spool_mount(), path])
        return self._listed(name, name, self._spool_mount(), sorted(rows), parts)

    def _folder(self, source: FolderSource, name: str, listed: Scan) -> Look:
        mounted = _mountable(source.path) and not listed.has_doors
        if listed.has_doors:
            self.notices.append(f"{source.given} holds sockets, pipes or devices: its files are linked or copied")
        mounted = mounted and any(found.open_to_all for found in listed.files)
        number = self._mount(source.path, "") if mounted else self._spool_mount()
        rows: list[list[Any]] = []
        parts: list[Part] = []
        for found in listed.files:
            row: list[Any] = [found.name, found.size]
            if not (mounted and found.open_to_all):
                path = f"{len(self._entries)}/{found.path}"
                if not self._stage_found(path, listed, found):
                    continue
                row += [self._spool_mount(), path]
            elif found.path != found.name:
                row += [number, found.path]
            rows.append(row)
            parts.append(Part(found.name, source.path, found.path, found.size, found.mtime_ns, found.inode))
        look = self._listed(name, source.given, number, rows, parts, listed)
        for reason, left_out in (("links that lead out of it", listed.outside), ("unreadable", listed.unreadable)):
            if left_out:
                self.notices.append(f"{source.given}: {len(left_out):,} not offered, {reason}: {_some(left_out)}")
        return look

    def _stage_found(self, path: str, listed: Scan, found: Found) -> bool:
        try:
            with beneath.file(listed.root, found.path) as fd:
                mode = os.fstat(fd).st_mode
                self.spool.stage(path, fd, link=bool(mode & 0o004) or not self.foreign)
        except PermissionError:
            listed.unreadable.append(found.name)
            return False
        except OSError as error:
            raise InputError(f"cannot copy {found.name} of {listed.root}: {error.strerror}") from error
        return True

    def _listed(
        self, name: str, given: str, root: int, rows: list[Any], parts: list[Part], listed: Scan | None = None
    ) -> Look:
        listing = f"{len(self._entries)}.files.json"
        self.spool.write_json(listing, {"files": rows})
        self._entries.append(
            {"name": name, "as": "files", "root": self._spool_mount(), "path": listing, "files_root": root}
        )
        parts.sort(key=lambda part: part.name)
        item = Item(name, "files", given, sum(part.size for part in parts), tuple(parts))
        return Look(item, scan=listed)

    # --- mounts -----------------------------------------------------------------------------

    def _mount(self, source: str, name: str) -> int:
        number = len(self.mounts)
        target = f"/input/{number}/{_safe(name)}" if name else f"/input/{number}"
        self.mounts.append(Mount(source, target))
        return number

    def _spool_mount(self) -> int:
        if self._spool_root is None:
            self._spool_root = len(self.mounts)
            self.mounts.append(Mount(str(self.spool.root), "/input/spool"))
        return self._spool_root


def _peek(root: str, path: str, given: str) -> Peek:
    try:
        return peek(root, path)
    except OSError as error:
        raise InputError(f"cannot read {given}: {error.strerror}") from error


def _part(name: str, root: str, path: str, info: os.stat_result) -> Part:
    return Part(name, root, path, info.st_size, info.st_mtime_ns, info.st_ino)


def _names(sources: Sequence[Source]) -> list[str]:
    """Base names where they are unique, else the paths as given, else numbered."""
    bases = [os.path.basename(source.given.rstrip("/")) or source.given for source in sources]
    taken: set[str] = set()
    return [
        unique(base if bases.count(base) == 1 else os.path.normpath(source.given), taken)
        for base, source in zip(bases, sources, strict=True)
    ]


def _mountable(path: str) -> bool:
    """Whether an engine can be told the path: its protocol is JSON, which holds UTF-8 only."""
    return printable(path) == path


def _safe(name: str) -> str:
    """A file name for the sandbox: one path component, printable."""
    safe = "".join(char if char.isprintable() and char not in "/:," else "_" for char in printable(name))
    if len(safe.encode()) > 255:
        safe = safe.encode()[-200:].decode("utf-8", "ignore")
    return safe if safe.strip(".") else "file"


def _some(names: Sequence[str]) -> str:
    return ", ".join(printable(name) for name in names[:5]) + (" …" if len(names) > 5 else "")
