"""Where everything lies for the sandbox: mounted from its own place, or staged in the run's spool.

Mounted is what the sandbox's user can read there. Staged, by hard link or copy, is what it cannot, what has
a path that no engine takes, more single files than one wants mounts for, and the files of a directory that
holds doors to the host (sockets, pipes, devices).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rlm.context import beneath
from rlm.context.choice import Choice
from rlm.context.derive import Derived, Deriver
from rlm.context.manifest import Item, Kind, Part
from rlm.context.peek import Peek, peek
from rlm.context.preview import DETAILED, Look
from rlm.context.scan import Found, Scan, printable, scan, unique
from rlm.context.sources import FileSource, FolderSource, Source
from rlm.context.spool import Spool
from rlm.documents import tables
from rlm.documents.formats import type_of
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

    def __init__(self, spool: Spool, *, foreign_uid: bool, choice: Choice) -> None:
        self.spool = spool
        self.choice = choice
        self.foreign = foreign_uid
        self.mounts: list[Mount] = []
        self.notices: list[str] = []
        self.memory = MIN_MEMORY
        self._entries: list[dict[str, Any]] = []
        self._spool_root: int | None = None
        self._claimed = 0
        self._deriver = Deriver(spool, choice)
        self._derived: dict[str, Derived] = {}

    def lay_out(self, sources: list[Source], memory: int | None) -> list[Look]:
        """Mount or stage every source, in order; `memory` is the sandbox's limit in bytes, if it is given."""
        files = [source for source in sources if isinstance(source, FileSource)]
        folders = {source for source in sources if isinstance(source, FolderSource)}
        scans = {folder: self._scan(folder) for folder in folders}
        with self._deriver.parser:
            self._derived = self._deriver.derive(files, [(folder.given, scans[folder]) for folder in folders])
            self.notices += self._deriver.notices
            total = sum(file.info.st_size for file in files)
            total += sum(found.size for listed in scans.values() for found in listed.files)
            total += sum(derived.bytes for derived in self._derived.values())
            self.memory = memory or max(MIN_MEMORY, 3 * total)
            return self._laid_out(sources, files, scans)

    def _laid_out(self, sources: list[Source], files: list[FileSource], scans: dict[FolderSource, Scan]) -> list[Look]:
        looks: list[Look] = []
        names = self._names(sources)
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
                looks.append(self._file(source, name, detailed=len(sources) <= DETAILED))
        return looks

    def _scan(self, folder: FolderSource) -> Scan:
        listed = scan(folder.path, foreign_uid=self.foreign, choice=self.choice)
        if listed.unwanted and not listed.files:
            raise InputError(f"{folder.given}: --include and --exclude leave no file of it")
        if count := len(listed.ignored):
            some = _some(listed.ignored)
            self.notices.append(f"{folder.given}: {count:,} left out by .gitignore (--no-ignore offers them): {some}")
        return listed

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

    def _file(self, source: FileSource, name: str, *, detailed: bool) -> Look:
        root, inside = os.path.split(source.path)
        original = _peek(root, inside, source.given)
        type_ = "JSON" if source.origin == "json" else type_of(source.base, original.head)
        number, path = self._placed(source, root, inside)
        derived = self._derived.get(source.path)
        part = _part(name, root, inside, source.info, self._text(derived))
        if derived is None:
            kind = self._kind(source, original)
            lines, rows = self._about_table(source, type_, root, inside) if detailed else ([], None)
            self._entries.append({"name": name, "as": kind, "root": number, "path": path})
            item = Item(name, kind, source.given, original.size, (part,), type_, _characters(kind, original))
            return Look(item, peek=original, about=tuple(lines), rows=rows)
        text = _peek(str(self.spool.root), derived.place, source.given)
        kind = self._kind_of_derived(source, derived)
        entry = {"name": name, "as": kind, "root": self._spool_mount(), "path": derived.place}
        self._entries.append({**entry, "original": [number, path]})
        item = Item(name, kind, source.given, original.size, (part,), type_, derived.characters)
        return Look(item, peek=text, derived=derived)

    def _about_table(self, source: FileSource, type_: str, root: str, inside: str) -> tuple[list[str], int | None]:
        """Lines of the preview, and the rows of a table that is text."""
        if type_ not in ("Parquet", "SQLite", "CSV", "TSV", "JSON Lines"):
            return [], None
        try:
            with beneath.file(root, inside) as fd:
                if type_ in ("Parquet", "SQLite"):
                    lines, problem = tables.look(type_, fd, self._deriver.parser)
                    self.notices += [f"{source.given}: {problem}"] if problem else []
                    return lines, None
                return [], tables.count_rows(fd, type_)
        except OSError as error:
            raise InputError(f"cannot read {source.given}: {error.strerror}") from error

    def _text(self, derived: Derived | None) -> tuple[str, int]:
        return (str(self.spool.root / derived.place), derived.bytes) if derived else ("", 0)

    def _placed(self, source: FileSource, root: str, inside: str) -> tuple[int, str]:
        """Where the sandbox finds the file as it is."""
        if source.spooled:
            number, path = self._spool_mount(), source.spooled
        elif _mountable(source.path) and (not self.foreign or source.info.st_mode & 0o004):
            number, path = self._mount(source.path, inside), ""
        else:
            number, path = self._spool_mount(), f"{len(self._entries)}/{_safe(inside)}"
            self._stage(path, root, inside, source)
        return number, path

    def _kind(self, source: FileSource, seen: Peek) -> Kind:
        """Decided here and not in the guest, so that the preview says what is so."""
        if source.origin == "bytes" or (seen.binary and source.origin in {"path", "stdin", "url"}):
            return "path"
        is_json = source.origin == "json" or (source.base.lower().endswith(".json") and 0 < seen.size <= JSON_MAX)
        if is_json and self._claim(JSON_COST * seen.size):
            return "json"
        return self._as_text(seen.size)

    def _kind_of_derived(self, source: FileSource, derived: Derived) -> Kind:
        if derived.kind == "path":
            return "path"
        is_json = derived.kind == "json" or source.base.lower().endswith(".json")
        if is_json and derived.bytes <= JSON_MAX and self._claim(JSON_COST * derived.bytes):
            return "json"
        return self._as_text(derived.bytes)

    def _as_text(self, size: int) -> Kind:
        return "str" if size <= STR_MAX and self._claim(STR_COST * size) else "text"

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
            derived = self._derived.get(source.path)
            parts.append(_part(inner, root, inside, source.info, self._text(derived)))
            rows.append([inner, source.info.st_size, self._spool_mount(), path, *self._read_instead(derived)])
        return self._listed(name, name, self._spool_mount(), sorted(rows), parts)

    def _folder(self, source: FolderSource, name: str, listed: Scan) -> Look:
        mounted = _mountable(source.path) and not listed.has_doors and not source.spooled
        if listed.has_doors:
            self.notices.append(f"{source.given} holds sockets, pipes or devices: its files are linked or copied")
        mounted = mounted and any(found.open_to_all for found in listed.files)
        number = self._mount(source.path, "") if mounted else self._spool_mount()
        rows: list[list[Any]] = []
        parts: list[Part] = []
        for found in listed.files:
            row: list[Any] = [found.name, found.size]
            derived = self._derived.get(os.path.join(source.path, found.path))
            if source.spooled:
                row += [self._spool_mount(), f"{source.spooled}/{found.path}"]
            elif not (mounted and found.open_to_all):
                path = f"{len(self._entries)}/{found.path}"
                if not self._stage_found(path, listed, found):
                    continue
                row += [self._spool_mount(), path]
            elif found.path != found.name or derived:
                row += [number, found.path]
            rows.append([*row, *self._read_instead(derived)])
            facts = (found.size, found.mtime_ns, found.inode)
            parts.append(Part(found.name, source.path, found.path, *facts, *self._text(derived)))
        look = self._listed(name, source.given, number, rows, parts, listed, source.container)
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

    def _read_instead(self, derived: Derived | None) -> list[Any]:
        """The end of a listing's row: what the guest reads in the file's place."""
        if derived is None or derived.kind == "path":
            return []
        return [derived.bytes, self._spool_mount(), derived.place]

    def _listed(
        self,
        name: str,
        given: str,
        root: int,
        rows: list[Any],
        parts: list[Part],
        listed: Scan | None = None,
        archive: FileSource | None = None,
    ) -> Look:
        listing = f"{len(self._entries)}.files.json"
        self.spool.write_json(listing, {"files": rows})
        self._entries.append(
            {"name": name, "as": "files", "root": self._spool_mount(), "path": listing, "files_root": root}
        )
        parts.sort(key=lambda part: part.name)
        size = sum(part.size for part in parts)
        if archive is None:
            return Look(Item(name, "files", given, size, tuple(parts), "directory" if listed else "files"), scan=listed)
        container = _part(name, *os.path.split(archive.path), archive.info)
        return Look(Item(name, "files", given, size, tuple(parts), "archive", container=container), scan=listed)

    def _names(self, sources: Sequence[Source]) -> list[str]:
        """Base names where they are unique, else the paths as given, else numbered."""
        bases = [self._renamed(source) or source.base for source in sources]
        counts = Counter(bases)
        taken: set[str] = set()
        return [
            unique(base if counts[base] == 1 else os.path.normpath(source.given), taken)
            for base, source in zip(bases, sources, strict=True)
        ]

    def _renamed(self, source: Source) -> str:
        derived = self._derived.get(source.path)
        return derived.name if derived else ""

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


def _part(name: str, root: str, path: str, info: os.stat_result, text: tuple[str, int] = ("", 0)) -> Part:
    return Part(name, root, path, info.st_size, info.st_mtime_ns, info.st_ino, *text)


def _characters(kind: Kind, seen: Peek) -> int | None:
    return len(seen.text()) if seen.whole and kind != "path" else None


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
