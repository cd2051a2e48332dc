"""What the root model is told about the input: types, sizes, and a look at both ends. All content is quoted."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from rlm.context.derive import Derived
from rlm.context.manifest import Item, Part
from rlm.context.peek import Peek
from rlm.context.scan import Scan
from rlm.context.shape import shape_of_head
from rlm.documents.tables import delimiter
from rlm.prompts import render

EXCERPT = 500
"""Characters of a text that are shown at each end."""
LISTED = 40
"""Paths of a directory that are shown."""
DETAILED = 16
"""With more inputs than this, each gets one line."""
SHOWN_ROWS = 3
"""Of a table of text."""


@dataclass(frozen=True, slots=True)
class Look:
    """One input with what there is to show of it: the ends of a file, or a listed directory."""

    item: Item
    peek: Peek | None = None
    """Of what is offered: of a document's text."""
    scan: Scan | None = None
    derived: Derived | None = None
    """What is offered in the file's place."""
    about: tuple[str, ...] = ()
    """Lines about a table."""
    rows: int | None = None
    """Of a table that is text."""


def preview(looks: Sequence[Look]) -> str:
    """A few lines about each input, under the expression that gives it in the REPL; no line of it is a prompt."""
    if not looks:
        return "`context` is None: no input was given."
    if len(looks) == 1:
        return _one("context", looks[0], EXCERPT)
    lines = [f"`context` is a dict of {len(looks)} inputs by name:"]
    excerpt = max(60, min(EXCERPT, 8 * EXCERPT // (2 * len(looks))))
    for look in looks:
        about = _one(f"context[{look.item.name!r}]", look, excerpt)
        lines.append(about if len(looks) <= DETAILED else about.split("\n", 1)[0])
    return "\n".join(lines)


def _one(expression: str, look: Look, excerpt: int) -> str:
    item = look.item
    size = f"{item.bytes:,} bytes"
    origin = "" if item.source == "context" else f", from {_quoted(item.source)}"
    if look.scan is not None or look.peek is None:
        first = f"`{expression}` is a `Files` mapping{origin}: {item.files:,} files, {size}."
        return "\n".join([first, f"  {render('about_files')}", *_about_files(look)])
    peek = look.peek
    beside = _beside(look)
    if item.kind == "path":
        first = (
            f"`{expression}` is a pathlib.Path of a readable file{origin}, {peek.size:,} bytes; format: {item.type}."
        )
        return "\n".join([first, *beside, *look.about])
    if item.kind == "json":
        told = shape_of_head(peek.text(), whole=peek.whole)
        lines = [f"`{expression}` is parsed JSON{origin}, {peek.size:,} bytes of JSON text.", *beside]
        return "\n".join([*lines, f"  Shape: {told}"] if told else [*lines, *_ends(peek, excerpt)])
    measure = f"{peek.size:,} bytes of UTF-8" if item.characters is None else f"{item.characters:,} characters"
    kind, about = ("a str", []) if item.kind == "str" else ("a `Text`", [f"  {render('about_text')}"])
    first = f"`{expression}` is {kind}{origin}: {measure}."
    return "\n".join([first, *about, *beside, *_table(look, peek), *_ends(peek, excerpt)])


def _beside(look: Look) -> list[str]:
    """Where the original of a converted file is."""
    if look.derived is None:
        return []
    original = f"`originals[{look.item.name!r}]`"
    return [f"  It is {look.derived.how}; {original} is the pathlib.Path of the original, {look.item.bytes:,} bytes."]


def _ends(peek: Peek, excerpt: int) -> list[str]:
    if not peek.size:
        return ["  It is empty."]
    if peek.whole and len(text := peek.text()) <= 2 * excerpt:
        return [f"  It reads: {_quoted(text)}"]
    return [f"  It begins: {_quoted(peek.begin(excerpt))}", f"  It ends: {_quoted(peek.end(excerpt))}"]


def _table(look: Look, peek: Peek) -> list[str]:
    """The columns of a table and its first rows, or the first record's shape, in formats that are lines of text."""
    type_ = look.item.type
    lines = peek.text()[:8192].split("\n")
    if type_ == "JSON Lines":
        count = "" if look.rows is None else f" of {look.rows:,} records"
        told = shape_of_head(lines[0], whole=True)
        return [f"  JSON Lines{count}; the first record's shape: {told}"] if told else []
    if type_ not in {"CSV", "TSV"}:
        return []
    try:
        rows = list(csv.reader(io.StringIO("\n".join(lines[: SHOWN_ROWS + 1])), delimiter=delimiter(lines[0])))
    except csv.Error:
        return []
    if not rows:
        return []
    count = "" if look.rows is None else f" of {look.rows:,} rows below the first"
    first = f"  Table{count}; the first row has {len(rows[0])} columns: {_quoted(rows[0][:50])}"
    return [first, *(f"    {_quoted(row[:20])[:300]}" for row in rows[1:])]


def _about_files(look: Look) -> list[str]:
    parts = look.item.parts
    if not parts:
        return ["  It is empty.", *_left_out(look.scan)]
    sizes: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for part in parts:
        suffix = PurePosixPath(part.name).suffix.lower() or "no suffix"
        counts[suffix] += 1
        sizes[suffix] += part.size
    types = [f"{count:,} {_plain(suffix)} ({sizes[suffix]:,} bytes)" for suffix, count in counts.most_common(12)]
    listed = [f"    {_quoted(part.name)} {part.size:,}{_of_text(part)}" for part in parts[:LISTED]]
    if len(parts) > LISTED:
        listed.append(f"    … and {len(parts) - LISTED:,} more")
    first = [f"  By type: {', '.join(types)}"]
    if converted := sum(bool(part.text) for part in parts):
        first.append(f"  {converted:,} documents are given as text; .path(p) is the original.")
    return [*first, "  Paths and bytes, sorted:", *listed, *_left_out(look.scan)]


def _of_text(part: Part) -> str:
    return f", as text {part.text_size:,}" if part.text else ""


def _left_out(scan: Scan | None) -> list[str]:
    if scan is None:
        return []
    reasons = [
        ("folders skipped by name", scan.skipped),
        ("left out by .gitignore", scan.ignored),
        ("links that lead out of the directory", scan.outside),
        ("not readable", scan.unreadable),
    ]
    return [
        f"  Not offered, {reason}: {', '.join(_quoted(name) for name in names[:10])}"
        + (f" … and {len(names) - 10:,} more" if len(names) > 10 else "")
        for reason, names in reasons
        if names
    ]


def _quoted(value: object) -> str:
    """As Python would write it: one line, no control characters, undecodable names included."""
    return repr(value).encode("utf-8", "backslashreplace").decode()


def _plain(suffix: str) -> str:
    return suffix if suffix.isprintable() and len(suffix) <= 16 else _quoted(suffix[:16])
