"""Documents and tables in real sandboxes: the text, its original, and queries by duckdb and pyarrow."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from rlm import RLM, Settings
from rlm.testing import ScriptedModelServer
from tests import needs
from tests.documents import samples

pytestmark = pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")

SANDBOXES = [
    pytest.param("docker", marks=pytest.mark.docker),
    pytest.param("bwrap", marks=pytest.mark.bwrap),
    "process",
]


@pytest.fixture(params=SANDBOXES)
def sandbox(request: pytest.FixtureRequest) -> str:
    request.getfixturevalue("sandbox_image" if request.param == "docker" else "sandbox_env")
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "in"
    folder.mkdir(mode=0o755)
    monkeypatch.chdir(folder)
    return folder


async def ask(sandbox: str, tmp_path: Path, code: str, inputs: list[Any]) -> str:
    reply = f"```repl\n{code}\nanswer['ready'] = True\n```"
    with ScriptedModelServer({"root": [reply]}) as server:
        options: dict[str, Any] = {"sandbox": sandbox, "trace_dir": tmp_path / "traces"}
        settings = Settings(base_url=server.base_url, model="root", **options)
        result = await RLM(settings=settings).arun("the question", inputs=inputs)
    assert result.stop_reason == "answered", result
    return result.answer


async def test_a_text_and_its_original_beside_it(sandbox, folder, tmp_path):
    needs.module("markitdown")
    (folder / "a.pdf").write_bytes(samples.pdf())
    (folder / "a.pdf").chmod(0o600)
    (folder / "docs").mkdir()
    (folder / "docs/b.docx").write_bytes(samples.docx())
    code = (
        "import os\n"
        "original = originals['a.pdf']\n"
        "inner = context['docs'].path('b.docx')\n"
        "answer['content'] = repr([context['a.pdf'].strip(), original.read_bytes()[:5], "
        "context['docs']['b.docx'].strip(), inner.read_bytes()[:2], os.access(original, os.W_OK)])"
    )
    answer = await ask(sandbox, tmp_path, code, ["a.pdf", "docs"])
    assert answer == repr([samples.PHRASE, b"%PDF-", samples.PHRASE, b"PK", sandbox == "process"])


async def test_duckdb_and_pyarrow_query_what_is_mounted(sandbox, folder, tmp_path):
    pyarrow = needs.module("pyarrow")
    parquet = needs.module("pyarrow.parquet")
    table = pyarrow.table({"id": list(range(100_000)), "kind": ["odd" if n % 2 else "even" for n in range(100_000)]})
    parquet.write_table(table, folder / "a.parquet", compression="zstd")
    with sqlite3.connect(folder / "b.db") as database:
        database.execute("CREATE TABLE t (x)")
        database.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(10)])
    database.close()
    code = (
        "import duckdb, pyarrow.parquet, pyarrow.dataset, pandas, sqlite3\n"
        "path = str(context['a.parquet'])\n"
        "by_kind = duckdb.sql(f\"SELECT kind, sum(id) FROM '{path}' GROUP BY kind ORDER BY kind\").fetchall()\n"
        "read = pyarrow.parquet.read_table(path).num_rows\n"
        "scanned = pyarrow.dataset.dataset(path).count_rows()\n"
        "frame = pandas.read_parquet(path).shape\n"
        "database = sqlite3.connect(f\"file:{context['b.db']}?mode=ro&immutable=1\", uri=True)\n"
        "summed = database.execute('SELECT sum(x) FROM t').fetchone()[0]\n"
        "answer['content'] = repr([by_kind, read, scanned, frame, summed])"
    )
    answer = await ask(sandbox, tmp_path, code, ["a.parquet", "b.db"])
    expected = [[("even", 2499950000), ("odd", 2500000000)], 100_000, 100_000, (100_000, 2), 45]
    assert answer == repr(expected)
