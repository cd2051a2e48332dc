"""Runs in notebooks: progress that is redrawn in a real Jupyter kernel, and results that show themselves."""

from __future__ import annotations

import dataclasses
import html
import os
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import pytest

from rlm import RLM, InputError, RunResult, RunUsage, Settings
from rlm.display.jupyter import UPDATES_PER_SECOND, JupyterDisplay, in_jupyter
from rlm.testing import ScriptedModelServer

pytestmark = pytest.mark.filterwarnings(
    "ignore:the process sandbox:UserWarning", "ignore::DeprecationWarning", "ignore::UserWarning"
)

EVIL = "<script>alert(1)</script> & \x1b[2J \u202e"
ANSWER = (
    "```repl\nvotes = llm_batch([f'is it {n}?' for n in range(20)])\n"
    "answer['content'] = '<b>votes</b> ' + str(len(votes))\nanswer['ready'] = True\n```"
)


def result(**fields: Any) -> RunResult:
    made = RunResult("the answer", True, "answered", 3, RunUsage(), None, 1.5, "run-1", metrics={"cells": 2})
    return dataclasses.replace(made, **fields)


def test_a_result_shows_itself_and_nothing_in_it_is_markup() -> None:
    shown = result(answer=EVIL, metrics={"errors": {EVIL: 1}})._repr_html_()
    assert "<script>" not in shown
    assert html.escape("<script>alert(1)</script> & \\x1b[2J \\u202e") in shown
    assert "answered, 3 turns, 1.5 s, cost n/a" in shown
    assert "<details>" in shown
    assert "<details>" not in result(metrics={})._repr_html_()


def test_a_long_answer_is_cut_where_it_is_shown() -> None:
    assert "… 5 more characters" in result(answer="x" * 200_005)._repr_html_()
    assert len(repr(result(answer="x" * 10_000))) < 400
    assert "\x1b" not in repr(result(answer=EVIL))


class Handle:
    """A display handle of IPython."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def update(self, shown: Any) -> None:
        self.shown.append(shown.data)


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch) -> Handle:
    made = Handle()
    display = types.SimpleNamespace(HTML=lambda data: types.SimpleNamespace(data=data), display=lambda *_, **__: made)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return made


def call(index: int) -> dict[str, Any]:
    spent = {"input_tokens": 1, "output_tokens": 1, "attempts": 1, "seconds": 0.1, "waited": 0.0}
    about = {"rollout": "0", "batch": EVIL, "index": index, "cached": False, "model": "m"}
    return {"type": "call.completed", **about, **spent}


def test_a_notebook_is_redrawn_a_few_times_a_second_only(handle: Handle, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("rlm.display.jupyter.time.monotonic", lambda: now[0])
    shown = JupyterDisplay()
    shown({"type": "batch.started", "rollout": "0", "batch": EVIL, "size": 1000, "model": "m", "kind": "plain"})
    for index in range(1000):
        now[0] += 0.001
        shown(call(index))
    assert len(handle.shown) <= UPDATES_PER_SECOND + 1
    assert "/1,000" in handle.shown[-1]
    assert "<script>" not in "".join(handle.shown)
    shown({"type": "run.completed", "result": result().to_dict()})
    assert "the answer" in handle.shown[-1]


async def test_elsewhere_progress_goes_to_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert not in_jupyter()
    with ScriptedModelServer({"root": ANSWER, "sub": "yes"}) as server:
        options: dict[str, Any] = {"model": "root", "sub_model": "sub", "sandbox": "process", "no_trace": True}
        rlm = RLM(settings=Settings(base_url=server.base_url, **options))
        stream = rlm.stream("How many?", "x")
        found = await stream.live()
    assert (found.answer, found.usage.sub.calls) == ("<b>votes</b> 20", 20)
    assert stream.result is found
    out, err = capfd.readouterr()
    assert out == ""
    assert "20 ok" in err


async def test_mistakes_are_raised(tmp_path: Path) -> None:
    rlm = RLM(settings=Settings(model="m", no_trace=True, sandbox="process"))
    with pytest.raises(InputError, match="absent"):
        await rlm.stream("How many?", inputs=["absent.txt"]).live()
    assert rlm._live == {}


def test_a_real_jupyter_kernel_shows_progress_and_then_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    with ScriptedModelServer({"root": ANSWER, "sub": "yes"}) as server:
        made = f"base_url={server.base_url!r}, model='root', sub_model='sub', sandbox='process', no_trace=True"
        cells = [
            f"import warnings\nwarnings.simplefilter('ignore')\nfrom rlm import RLM\nrlm = RLM({made})",
            "result = await rlm.stream('How many <i>votes</i>?', 'x').live()",
            "result",
            "print(rlm.run('Again?', 'x').answer)",
        ]
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nbclient.NotebookClient(book, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    (output,) = book.cells[1].outputs
    shown = output["data"]["text/html"]
    assert 'class="rlm-result"' in shown
    assert "&lt;b&gt;votes&lt;/b&gt; 20" in shown
    assert "<b>votes" not in shown
    assert 'class="rlm-result"' in book.cells[2].outputs[0]["data"]["text/html"]
    assert book.cells[2].outputs[0]["data"]["text/plain"].startswith("RunResult(answer='<b>votes</b> 20'")
    assert book.cells[3].outputs[0]["text"] == "<b>votes</b> 20\n"
