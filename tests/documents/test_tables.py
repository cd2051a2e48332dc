"""Tables stay as they are; the preview tells their columns, first rows and how many rows there are."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from rlm.documents import tables
from tests import needs


def test_text_tables_show_columns_rows_and_counts(desk):
    desk.write("a.csv", 'id,note\n1,"two\nlines"\n2,x\n\n3,y\n')
    desk.write("b.tsv", "id\tnote\n1\tx\n")
    desk.write("c.csv", "id;note\n1;x\n2;y\n")
    desk.write("d.jsonl", '{"id": 1, "tags": ["x"]}\n\n{"id": 2, "tags": []}\n')
    built = desk.build("a.csv", "b.tsv", "c.csv", "d.jsonl")
    preview = built.prepared.preview
    assert built.context["a.csv"].startswith("id,note")
    assert "Table of 3 rows below the first; the first row has 2 columns: ['id', 'note']" in preview
    assert r"['1', 'two\nlines']" in preview
    assert "Table of 1 rows below the first; the first row has 2 columns: ['id', 'note']" in preview
    assert "Table of 2 rows below the first" in preview
    assert 'JSON Lines of 2 records; the first record\'s shape: {"id": int, "tags": [str]}' in preview
    assert [each["type"] for each in built.prepared.manifest] == ["CSV", "TSV", "CSV", "JSON Lines"]


def test_a_table_too_large_to_count_says_no_number(desk, monkeypatch):
    monkeypatch.setattr(tables, "COUNTED", 10)
    desk.write("a.csv", "id,note\n1,x\n")
    assert "  Table; the first row has 2 columns" in desk.build("a.csv").prepared.preview


def test_parquet_is_told_from_its_footer(desk):
    pyarrow = needs.module("pyarrow")
    parquet = needs.module("pyarrow.parquet")
    columns = {"id": list(range(1000)), "note": ["hello\n`x`"] * 1000}
    parquet.write_table(pyarrow.table(columns), desk.folder / "a.parquet")
    built = desk.build("a.parquet")
    assert isinstance(built.context, Path)
    assert "format: Parquet" in built.prepared.preview
    assert "1,000 rows of 2 columns: 'id' int64, 'note' string" in built.prepared.preview
    assert r"    0, 'hello\n`x`'" in built.prepared.preview
    assert not built.prepared.notices


def test_sqlite_is_told_and_not_touched(desk):
    path = desk.folder / "a.db"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute('CREATE TABLE "odd ""name" (id INTEGER, note TEXT)')
        database.executemany('INSERT INTO "odd ""name" VALUES (?, ?)', [(n, f"note {n}") for n in range(500)])
        database.execute("CREATE TABLE other (x)")
    database.close()
    path.chmod(0o600)
    before = path.read_bytes()
    built = desk.build("a.db")
    assert "2 tables:" in built.prepared.preview
    assert "'odd \"name': 500 rows; 'id' INTEGER, 'note' TEXT" in built.prepared.preview
    assert "    0, 'note 0'" in built.prepared.preview
    assert "'other': 0 rows; 'x'" in built.prepared.preview
    assert path.read_bytes() == before
    assert sorted(each.name for each in desk.folder.iterdir()) == ["a.db"]


@pytest.mark.parametrize("head", [b"PAR1", b"SQLite format 3\0"])
def test_a_damaged_one_is_a_path_and_a_notice(desk, head):
    if head == b"PAR1":
        needs.module("pyarrow")
    desk.write("a.bin", head + b"\0garbage\x1b[31m" * 500)
    built = desk.build("a.bin")
    assert isinstance(built.context, Path)
    assert built.prepared.notices[0].startswith("a.bin: its columns cannot be told: ")
