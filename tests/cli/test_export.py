"""`rlm export`: where it writes to, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")

SECRET = "a needle here"
FIND = """
```repl
line = next(line for line in context.splitlines() if "needle" in line)
answer["content"] = llm_query("what is it? " + line) + line
answer["ready"] = True
```
"""


@pytest.fixture
def run(ask, scripted_model) -> str:
    """The id of a run."""
    ran = ask(scripted_model({"root": FIND, "sub": lambda request: request.prompt}), "--json", "--quiet")
    assert ran.code == 0, ran.err
    return str(json.loads(ran.out)["run_id"])


def test_messages_go_to_stdout(rlm, run) -> None:
    ran = rlm("export", "--messages", "--sub-calls")
    root, call = map(json.loads, ran.out.splitlines())
    assert (ran.code, ran.err, root["run_id"], root["outcome"]) == (0, "", run, "answered")
    assert [message["role"] for message in call["messages"]] == ["system", "user", "assistant"]
    assert rlm("export", run, run, "--messages").out.count("\n") == 2
    assert rlm("export", run, "--messages", "--outcome", "loop,timeout").out == ""


def test_a_notebook_goes_to_a_file_whose_name_is_told(rlm, run, isolated_env) -> None:
    ran = rlm("export", run[:15], "--ipynb")
    assert (ran.code, ran.out) == (0, f"{run}.ipynb\n"), ran.err
    assert json.loads((isolated_env / f"{run}.ipynb").read_text())["nbformat"] == 4
    assert json.loads(rlm("export", "--ipynb", "-o", "-").out)["nbformat"] == 4
    assert rlm("export", "--ipynb", "-o", "mine.ipynb").out == "mine.ipynb\n"


def test_a_page(rlm, run, isolated_env) -> None:
    ran = rlm("export", run, "--html")
    assert (ran.code, ran.out) == (0, f"{run}.html\n"), ran.err
    assert SECRET in (isolated_env / f"{run}.html").read_text()


@pytest.mark.parametrize("form", ["--messages", "--ipynb", "--html"])
def test_redacted_exports_hold_nothing_of_the_document(rlm, run, form) -> None:
    assert SECRET in rlm("export", run, form, "-o", "-").out
    for redaction in (("--redact",), ("--redact-pattern", "a needle .*")):
        ran = rlm("export", run, form, "-o", "-", *redaction)
        assert ran.code == 0, ran.err
        assert SECRET not in ran.out
        assert "[redacted" in ran.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "--html"),
        (("--html", "--ipynb"), "--html"),
        (("--ipynb", "--sub-calls"), "--sub-calls"),
        (("--messages", "--outcome", "happy"), "'happy'"),
        (("--messages", "--redact-pattern", "("), "'('"),
        (("one", "two", "--ipynb"), "several"),
        (("absent", "--messages"), "absent"),
    ],
)
def test_mistakes_are_one_line(rlm, arguments, told) -> None:
    ran = rlm("export", *arguments)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert told in ran.err


def test_a_file_that_cannot_be_written(rlm, run) -> None:
    ran = rlm("export", run, "--ipynb", "-o", "no/such/folder.ipynb")
    assert (ran.code, ran.out) == (2, "")
    assert "no/such/folder.ipynb" in ran.errors[0]
    assert not Path("no").exists()


def test_runs_are_found_where_the_configuration_says(rlm, ask, scripted_model, isolated_env) -> None:
    (isolated_env / "t").mkdir()
    assert ask(scripted_model({"root": FIND, "sub": "x"}), "--quiet", RLM_TRACE_DIR=str(isolated_env / "t")).code == 0
    assert rlm("export", "--messages").code == 2
    assert rlm("export", "--messages", RLM_TRACE_DIR=str(isolated_env / "t")).out.count("\n") == 1
    assert rlm("export", "--messages", "--trace-dir", isolated_env / "t").out.count("\n") == 1
