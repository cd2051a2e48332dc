"""What a preview tells of tables: columns, the first rows, how many there are."""

from __future__ import annotations

import codecs
import csv
import itertools
import json
import os
from typing import Any

from rlm.documents.parser import ParseFailed, Parser

COUNTED = 64 << 20
"""Bytes of a table of text whose rows are counted; what is larger would take too long."""
MAX_SQLITE = 512 << 20
"""Bytes of a database that is looked into: it is read as a whole."""
COLUMNS, ROWS, TABLES = 50, 3, 20
LOOK_SECONDS = 20.0


def delimiter(line: str) -> str:
    """What separates the columns, by the first line."""
    return max(",\t;|", key=line.count)


def count_rows(fd: int, type_: str) -> int | None:
    """The rows of CSV or TSV below the first, the lines of JSON Lines; empty lines do not count.

    None where that cannot be told cheaply.
    """
    if os.fstat(fd).st_size > COUNTED:
        return None
    os.lseek(fd, 0, os.SEEK_SET)
    with open(os.dup(fd), encoding="utf-8", errors="replace", newline="") as lines:
        if type_ == "JSON Lines":
            return sum(1 for line in lines if line.strip())
        try:
            first = next(lines, "")
            rows = csv.reader(itertools.chain([first], lines), delimiter=delimiter(first))
            return max(0, sum(1 for row in rows if row) - 1)
        except csv.Error:
            return None


def look(kind: str, fd: int, parser: Parser) -> tuple[list[str], str]:
    """Lines about a Parquet file or an SQLite database, all quoted, and a problem if there is one."""
    if kind == "SQLite" and os.fstat(fd).st_size > MAX_SQLITE:
        return [], ""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    pieces: list[str] = []
    try:
        parser.run(
            kind.lower(),
            fd,
            lambda piece: pieces.append(decoder.decode(piece)),
            seconds=LOOK_SECONDS,
            columns=COLUMNS,
            rows=ROWS,
            tables=TABLES,
        )
        told = json.loads("".join(pieces))
        return (_parquet(told) if kind == "Parquet" else _sqlite(told)), ""
    except ParseFailed as error:
        if "No module named 'pyarrow'" in str(error):
            return [], "its columns are not shown: that needs the extra docs, pip install 'rlm-kernel[docs]'"
        return [], f"its columns cannot be told: {error}"
    except (ValueError, KeyError, TypeError):
        return [], "its columns cannot be told"


def _parquet(told: dict[str, Any]) -> list[str]:
    width = int(told["width"])
    columns = ", ".join(f"{_quoted(name)} {_plain(kind)}" for name, kind in told["columns"])
    more = f", … {width - len(told['columns']):,} more" if width > len(told["columns"]) else ""
    return [f"  {int(told['rows']):,} rows of {width:,} columns: {columns}{more}", *_head(told["head"])]


def _sqlite(told: dict[str, Any]) -> list[str]:
    lines = [f"  {int(told['count']):,} tables:"]
    for table in told["tables"]:
        columns = ", ".join(f"{_quoted(name)} {_plain(kind)}".rstrip() for name, kind in table["columns"])
        rows = "an unknown number of" if table["rows"] is None else f"{int(table['rows']):,}"
        lines += [f"  {_quoted(table['name'])}: {rows} rows; {columns}", *_head(table["head"])]
    if told["count"] > len(told["tables"]):
        lines.append(f"  … and {told['count'] - len(told['tables']):,} more tables")
    return lines


def _head(rows: list[list[str]]) -> list[str]:
    return [f"    {_one_line(', '.join(map(str, row)))}" for row in rows]


def _quoted(value: object) -> str:
    return repr(str(value)[:80]).encode("utf-8", "backslashreplace").decode()


def _plain(kind: object) -> str:
    """A type's name, which the file has chosen."""
    text = str(kind)[:60]
    return text if text.isprintable() else _quoted(text)


def _one_line(text: str) -> str:
    text = text[:300] + (" …" if len(text) > 300 else "")
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
