"""A run as a notebook: valid, harmless, and executed again by a real Jupyter kernel."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rlm import RunResult
from rlm.export.ipynb import to_ipynb
from rlm.export.redact import redactor
from rlm.models import RetryPolicy
from rlm.testing import ScriptedModelServer
from rlm.trace.reader import Trace
from tests import needs
from tests.export.rich import SECRET

nbformat = needs.module("nbformat")
nbclient = needs.module("nbclient")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def notebook(result: RunResult, **options: Any) -> Any:
    assert result.trace is not None
    read = nbformat.reads(to_ipynb(Trace(result.trace.parent), **options), as_version=4)
    nbformat.validate(read)
    return read


def execute(book: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run all cells in a fresh kernel; the outputs by the cells' ids."""
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    monkeypatch.setenv("IPYTHONDIR", str(folder))
    for cell in book.cells:
        cell.get("outputs", []).clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nbclient.NotebookClient(book, timeout=60, resources={"metadata": {"path": str(folder)}}).execute()
    return {cell.id: cell.get("outputs", []) for cell in book.cells}


def text(outputs: Any) -> str:
    return "".join(output.get("text", "") for output in outputs)


def test_cells_follow_the_turns(rich_result: RunResult) -> None:
    book = notebook(rich_result)
    cells = {cell.id: cell for cell in book.cells}
    assert cells["turn-1-code"].source.startswith("print(context[:40])")
    assert text(cells["turn-1-code"].outputs).startswith("line one\n")
    assert "I look first." in cells["turn-1-text-0"].source
    assert "```repl" not in "".join(cell.source for cell in book.cells)
    assert cells["turn-3-code"].outputs[0]["ename"] == "ZeroDivisionError"
    assert [cell.id for cell in book.cells if "skip-execution" in cell.metadata.get("tags", ())] == ["turn-4-code"]
    assert any("summed up replies 1 to 4" in cell.source for cell in book.cells)
    assert "without a sandbox" in cells["question"].source


def test_it_runs_again_without_asking_anybody(
    rich_result: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = notebook(rich_result)
    before = {cell.id: text(cell.get("outputs", [])) for cell in book.cells}
    after = execute(book, tmp_path, monkeypatch)  # the endpoint of the run has been gone for long
    for id_ in ("turn-1-code", "turn-2-code", "turn-5-code", "turn-6-code"):
        assert text(after[id_]) == before[id_]
    assert "child read" in text(after["turn-2-code"])
    assert text(after["answer-again"]) == f"{rich_result.answer}\n"


def test_what_is_not_in_the_record_is_asked(
    rich_result: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = notebook(rich_result)
    with ScriptedModelServer({"child": "fresh"}) as server:
        setup = next(cell for cell in book.cells if cell.id == "setup")
        setup.source = setup.source.removesuffix(")") + f'    base_url="{server.base_url}",\n)'
        code = (
            "mine = 1\nprint(llm_batch(['plain', 'another one']), type(llm_query('plain')).__name__)\n"
            "print(repr(rlm_query('new', 'x')), SHOW_VARS(), budget()['turns'])"
        )
        again = nbformat.v4.new_code_cell(code, id="mine")
        book.cells = [book.cells[0], setup, again, nbformat.v4.new_code_cell("print(llm_query('plain'))", id="twice")]
        after = execute(book, tmp_path, monkeypatch)
    assert text(after["mine"]).startswith("['read: plain', 'fresh'] CallResult\nCallError(kind='invalid'")
    assert text(after["mine"]).endswith("{'session': 'Repl', 'mine': 'int 1'} None\n")
    assert text(after["twice"]) == "read: plain\n"
    prompts = [request.prompt for request in server.requests]
    assert prompts == ["another one", "plain"]  # in one cell the same prompt twice is two questions


def test_an_input_that_has_changed_is_refused(
    rich_result: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rlm import InputError
    from rlm.notebook import repl

    assert rich_result.trace is not None
    with pytest.raises(InputError, match="has changed"):
        repl({}, rich_result.trace.parent, sha256={"animals.txt": "0" * 64})


def test_no_text_of_the_document_is_left(rich_result: RunResult) -> None:
    assert SECRET in json.dumps(notebook(rich_result))
    book = notebook(rich_result, redact=redactor())
    assert SECRET not in json.dumps(book)
    assert "[redacted: " in json.dumps(book)
    assert "animals.txt" in json.dumps(book)


def test_texts_of_models_are_shown_as_they_are(tmp_path: Path) -> None:
    evil = "# big\n![x](http://evil.example/a.png)\n<script>alert(1)</script>\n````\n\x1b[2Jescape"
    events = [
        {"type": "run.started", "seq": 1, "run_id": "r", "ts": 1.0, "schema_version": 1, "question": evil},
        {"type": "root.completed", "seq": 2, "rollout": "0", "turn": 1, "text": evil, "code": None},
        {"type": "cell.started", "seq": 3, "rollout": "0", "turn": 1, "code": "print('\x1b')"},
        {
            "type": "cell.completed",
            "seq": 4,
            "rollout": "0",
            "turn": 1,
            "status": "ok",
            "output": "\x1b[31mred\ud800",
            "error": None,
        },
    ]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    book = nbformat.reads(to_ipynb(Trace(tmp_path)), as_version=4)
    nbformat.validate(book)
    for cell in book.cells:
        if cell.cell_type == "markdown":
            # All of it lies between two fences that are longer than its own.
            for line in evil.splitlines()[:3]:
                before, _, after = cell.source.partition(line)
                assert line not in cell.source or ("\n`````text\n" in before and "\n`````" in after)
    assert "\x1b" not in json.dumps([cell.source for cell in book.cells], ensure_ascii=False)
    assert book.cells[3].outputs[0]["text"] == "\\x1b[31mred\\ud800"


def test_a_strangers_run_does_not_say_where_prompts_go(
    rich_result: RunResult, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from rlm.notebook import repl

    assert rich_result.trace is not None
    folder = rich_result.trace.parent
    with ScriptedModelServer({"child": "mine"}) as server:
        monkeypatch.setenv("RLM_BASE_URL", server.base_url)
        names: dict[str, Any] = {}
        with contextlib.closing(repl(names, folder)):
            assert names["llm_query"]("new") == "mine"
        assert len(server.requests) == 1
        monkeypatch.setenv("RLM_TRACE_DIR", str(folder.parent))
        with contextlib.closing(repl(names, folder.name)):
            # It is the user's own: its endpoint counts, and has gone.
            monkeypatch.setattr("rlm.models.transport.RetryPolicy", partial(RetryPolicy, unreachable_patience=0.1))
            assert names["llm_query"]("new").kind == "endpoint"
        assert len(server.requests) == 1
