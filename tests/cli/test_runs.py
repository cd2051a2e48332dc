"""`rlm runs`: what is told of runs that ended, go on or were killed, and what is removed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from examples.display_transcript import Terminal
from rlm import metrics
from rlm.commands import runlist
from rlm.events import EventLog
from rlm.testing import Reply
from rlm.trace.index import INDEX_FILE
from rlm.trace.story import Story
from rlm.trace.writer import TraceWriter
from tests.cli.conftest import options

pytestmark = pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")
ROOT = Path(__file__).resolve().parents[2]
USAGE = {"input_tokens": 1200, "output_tokens": 30, "calls": 7, "cached_calls": 0, "estimated": False}
RESULT = {
    "schema_version": 1,
    "answer": "forty-two",
    "ready": True,
    "stop_reason": "answered",
    "error": None,
    "turns": 1,
    "usage": {"root": USAGE, "sub": USAGE},
    "cost": 0.25,
    "seconds": 4.5,
    "run_id": "r",
    "trace": None,
    "metrics": {"cells": 1, "errors": {"timeout": 2}, "context_read_share": None},
}
IDS = ("20260101-000000-000-aaaaaaaa", "20260102-000000-000-bbbbbbbb", "20260103-000000-000-cccccccc")
EVIL = "a\x1b]0;t\x07\x1b[2J\x9b\u202e\nb"


def write(runs: Path, name: str, *, question: str = "what?", result: object = RESULT, **started: object) -> TraceWriter:
    writer = TraceWriter(runs / name)
    log = EventLog(name, writer)
    told = {"model": "root", "sub_model": "sub", "sandbox": "process", "depth": 1, "inputs": [], **started}
    log.emit("run.started", schema_version=1, question=question, **told)
    log.emit("turn.started", rollout="0", turn=1, max_turns=3)
    if result is not None:
        log.emit("run.completed", result=result)
    return writer


@pytest.fixture
def runs(isolated_env: Path) -> Path:
    """Three runs: answered, killed, at its limit."""
    folder = isolated_env / "runs"
    write(folder, IDS[0], question="Where is the NEEDLE?").close()
    write(folder, IDS[1], question="and the thread?", result=None).close()
    write(folder, IDS[2], result={**RESULT, "stop_reason": "max_turns", "cost": None}).close()
    return folder


@pytest.fixture
def run(rlm, runs):
    """`rlm runs …` on the three runs."""

    def go(command, *arguments, **environ):
        return rlm("runs", command, *arguments, "--trace-dir", runs, **environ)

    return go


def test_the_list(run):
    ran = run("list")
    assert (ran.code, ran.err) == (0, "")
    head, latest, killed, oldest = ran.out.splitlines()
    assert head.split() == ["RUN", "WHEN", "STATUS", "TURNS", "CALLS", "COST", "TIME", "QUESTION"]
    assert latest.startswith("cccccccc  20")
    assert latest.split()[3:] == ["max_turns", "1", "7", "-", "4.5", "s", "what?"]
    assert killed.split()[3:7] == ["killed", "1", "0", "-"]
    assert oldest.split()[3:9] == ["answered", "1", "7", "0.2500", "4.5", "s"]
    assert oldest.endswith("Where is the NEEDLE?")


def test_some_of_the_list(run):
    def listed(*arguments):
        ran = run("list", "--json", *arguments)
        assert ran.code == 0
        return [each["run_id"] for each in json.loads(ran.out)["runs"]]

    assert listed() == [IDS[2], IDS[1], IDS[0]]
    assert listed("-n", 1) == [IDS[2]]
    assert listed("-n", 1, "--all") == [IDS[2], IDS[1], IDS[0]]
    assert listed("--status", "answered,killed") == [IDS[1], IDS[0]]
    assert listed("--grep", "needle") == [IDS[0]]
    assert listed("--grep", "what", "--status", "killed") == []
    assert "1 of 3 runs; --all" in run("list", "-n", 1).err
    assert "no such runs" in run("list", "--grep", "nothing").err
    wrong = run("list", "--status", "happy")
    assert (wrong.code, wrong.err.count("\n")) == (2, 1)
    assert "'happy'" in wrong.err


def test_the_folder_of_the_configuration(rlm, runs):
    for environ in ({"RLM_TRACE_DIR": str(runs)},):
        assert len(rlm("runs", "list", **environ).out.splitlines()) == 4
    ran = rlm("runs", "list")
    assert (ran.code, ran.out) == (0, "")
    assert "there are no runs in" in ran.err


def test_short_names_name_one_run_only():
    ids = ["20260101-a-12345678", "20260102-a-12345678", "20260103-a-abcdef12", "20260104-a-20260101", "odd"]
    names = runlist.short_names(ids)
    assert list(names.values()) == [*ids[:2], "abcdef12", ids[3], "odd"]


def test_hostile_texts_are_shown_not_obeyed(run, runs):
    result = {**RESULT, "answer": EVIL, "error": {"type": "X", "message": EVIL}, "metrics": {EVIL: EVIL}}
    writer = write(runs, "20270101-evil", question=EVIL, model=EVIL, inputs=[{"name": EVIL, "kind": "str"}])
    EventLog("r", writer).emit("cell.started", rollout=f"0.{EVIL}", turn=1, code=EVIL)
    EventLog("r", writer).emit("run.completed", result=result)
    writer.close()
    for ran in (run("list"), run("show"), run("list", "--json"), run("show", "--json")):
        assert ran.code == 0
    for ran in (run("list"), run("show")):
        assert r"a\x1b]0;t\x07\x1b[2J\x9b\u202e" in ran.out
        assert not any(ord(char) < 32 or char in "\x7f\x9b\u202e" for char in ran.out.replace("\n", ""))
        assert "\nb\n" not in ran.out


@pytest.mark.parametrize(
    "text",
    [
        "garbage\n",
        '{"type": "run.started"}\n',
        "[" * 100_000 + "\n",
        '{"type": "run.completed", "ts": 1, "result": {"stop_reason": "answered"}}\n',
        '{"type": "run.completed", "ts": 1, "result": 7}\n',
        '{"type": "call.completed", "ts": "x", "rollout": [], "batch": {}}\n',
    ],
)
def test_what_is_no_trace_is_one_line(run, runs, text):
    (runs / "20270101-odd").mkdir()
    (runs / "20270101-odd" / "events.jsonl").write_text(text)
    assert run("list").out.splitlines()[1].split()[1:3] == ["-", "unreadable"]
    for arguments in ((), ("--json",)):
        ran = run("show", *arguments)
        assert (ran.code, ran.out, ran.err.count("\n")) in ((2, "", 1), (0, ran.out, 0))
        assert "unexpected" not in ran.err
    os.unlink(runs / "20270101-odd" / "events.jsonl")
    os.mkfifo(runs / "20270101-odd" / "events.jsonl")
    assert run("show").out.startswith(f"run {IDS[2]}\n")


def test_lines_are_cut_to_the_terminal(isolated_env, runs):
    write(runs, "20270101-wide", question="\u6f22" * 300).close()
    command = [sys.executable, str(ROOT / "cli.py"), "runs", "list", "--trace-dir", str(runs)]
    terminal = Terminal(command, columns=80, rows=24, cwd=isolated_env)
    terminal.read_until(lambda _: False)
    assert terminal.process.wait(10) == 0
    terminal.close()
    lines = terminal.text.splitlines()
    assert len(lines) == 5
    assert lines[1].endswith("\u2026")


def test_one_run(run, runs):
    ran = run("show", IDS[0])
    assert ran.code == 0
    for told in (
        f"run {IDS[0]}\n",
        "question: Where is the NEEDLE?",
        "model root, sub-model sub, depth 1, sandbox process",
        "answered, 1 turn, 4.5 s, cost 0.2500",
        "tokens: root 1.2k in 30 out, 7 calls",
        "errors.timeout                2",
        "context_read_share            -",
        "answer: forty-two",
    ):
        assert told in ran.out
    shown = json.loads(run("show", "aaaaaaaa", "--json").out)
    assert shown["result"] == RESULT
    assert (shown["status"], shown["question"], shown["unfinished"]) == ("answered", "Where is the NEEDLE?", [])
    assert run("path").out == f"{runs / IDS[2]}\n"
    assert run("path", "nope").code == 2


def test_metrics_of_a_run_that_has_none_in_its_result(run):
    shown = json.loads(run("show", IDS[1], "--json").out)
    assert shown["result"] is None
    assert shown["metrics"].keys() == metrics.of([]).to_dict().keys()


def test_long_texts_are_cut_unless_asked_for(run, runs):
    long = "\n".join(f"line {n} " + "x" * 1000 for n in range(40))
    write(runs, "20270101-long", question=long, result={**RESULT, "answer": long}).close()
    assert run("show").out.count("more lines (--full)") == 2
    full = run("show", "--full").out
    assert full.count("line 39 " + "x" * 1000) == 2


def test_a_real_run_and_one_that_is_killed(rlm, ask, start, scripted_model, isolated_env):
    cell = '```repl\nsaid = llm_batch(["a", "b", "c"])\n{}\n```'
    root = [cell.format("1 / 0"), cell.format('answer["content"] = said[0]\nanswer["ready"] = True')]
    server = scripted_model({"root": [*root, cell.format("")], "sub": slow_c})
    assert ask(server, "--trace-dir", "runs").code == 0
    shown = json.loads(rlm("runs", "show", "--json", "--trace-dir", "runs").out)
    first, second = shown["turns"]
    assert (first["turn"], first["code_lines"], first["cell"]) == (1, 2, "error")
    assert (first["batches"], first["calls"]) == (1, 3)
    assert first["sub_tokens"] > 0 < first["root_tokens"]
    assert (second["cell"], second["cell_seconds"] > 0, second["model_seconds"] > 0) == ("ok", True, True)
    assert sum(turn["root_tokens"] for turn in shown["turns"]) == tokens(shown["result"]["usage"]["root"])
    assert sum(turn["sub_tokens"] for turn in shown["turns"]) == tokens(shown["result"]["usage"]["sub"])
    assert "   1  2 lines  error" in rlm("runs", "show", "--trace-dir", "runs").out

    waiting = scripted_model({"root": cell.format(""), "sub": very_slow_c})
    process = start("ask", "q", *options(waiting), "--trace-dir", "runs")
    while waiting.request_counts["sub"] < 3:
        time.sleep(0.02)
    time.sleep(0.2)
    ran = rlm("runs", "show", "--trace-dir", "runs")
    assert "running: 1 turn, 2 sub-calls" in ran.out
    assert "\nunder way:\n" in ran.out
    refused = rlm("runs", "rm", "last", "--yes", "--trace-dir", "runs")
    assert (refused.code, refused.out) == (2, "")
    assert "goes on" in refused.err
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    shown = json.loads(rlm("runs", "show", "--json", "--trace-dir", "runs").out)
    assert shown["status"] == "killed"
    cell_, batch = shown["unfinished"]
    assert (cell_["kind"], cell_["turn"], cell_["detail"].splitlines()[0]) == (
        "cell",
        1,
        'said = llm_batch(["a", "b", "c"])',
    )
    assert batch["detail"].endswith("2 of 3 calls have their outcome, not 2")
    assert "under way when it ended:" in rlm("runs", "show", "--trace-dir", "runs").out


def slow_c(request):
    return Reply(text="fine", delay=0.1 if request.prompt == "c" else 0.0)


def very_slow_c(request):
    return Reply(text="fine", delay=30 if request.prompt == "c" else 0.0)


def tokens(usage):
    return usage["input_tokens"] + usage["output_tokens"]


def test_what_is_under_way():
    story = Story()
    log = EventLog("r", story.update)
    log.emit("run.started", question="q")
    log.emit("turn.started", rollout="0", turn=2, max_turns=9)
    log.emit("cell.started", rollout="0", turn=2, code="x")
    log.emit("batch.started", rollout="0", batch="0.b1", size=30, model="m")
    log.emit("child.started", rollout="0.1", query="why?")
    log.emit("root.requested", rollout="0.1", turn=1)
    log.emit("child.started", rollout="0.2", query="why?")
    log.emit("cell.started", rollout="0.2", turn=1, code="x")
    log.emit("child.completed", rollout="0.2")
    log.emit("call.completed", rollout="0", batch="0.b1", index=1)
    under_way = [(each.kind, each.rollout, each.turn, each.detail) for each in story.unfinished()]
    assert under_way == [
        ("cell", "0", 2, "x"),
        ("batch", "0", 2, "batch 0.b1: 1 of 30 calls have their outcome, not 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, …"),
        ("child", "0.1", 0, "why?"),
        ("request", "0.1", 0, ""),
    ]
    assert all(each.seconds == pytest.approx(60, abs=5) for each in story.unfinished(now=time.time() + 60))
    log.emit("run.completed", result=RESULT)
    assert story.unfinished() == []


def test_removing_the_named(run, runs):
    (runs / IDS[0] / "blobs").mkdir()
    (runs / IDS[0] / "blobs" / "x").write_bytes(b"x" * 50_000)
    (runs / "precious").write_text("mine")
    (runs / IDS[0] / "link").symlink_to(runs / "precious")
    (runs / IDS[0] / "blobs" / "link").symlink_to(runs / IDS[1])
    ran = run("rm", "aaaaaaaa", "last", "aaaaaaaa", "--yes")
    assert ran.code == 0
    assert [line.split()[0] for line in ran.out.splitlines()] == [IDS[0], IDS[2]]
    assert re.search(r"  5\d\.\d kB$", ran.out.splitlines()[0])
    assert "removed 2 runs, 5" in ran.err
    assert sorted(os.listdir(runs)) == [IDS[1], "precious"]
    assert [each["run_id"] for each in json.loads(run("list", "--json").out)["runs"]] == [IDS[1]]


def test_removing_the_old_and_all(run, runs):
    os.utime(runs / IDS[2] / "events.jsonl", (time.time() - 31 * 86400,) * 2)
    assert run("rm", "--older-than", "32d", "--yes").err == "rlm: there is nothing to remove\n"
    assert run("rm", "--older-than", "30d", "--yes").out.startswith(IDS[2])
    (runs / "notes").mkdir()
    (runs / "notes" / "file").write_text("mine")
    (runs / "linked").symlink_to(runs / "notes")
    going_on = write(runs, "20270101-going-on", result=None)
    assert len(run("rm", "--all", "--yes").out.splitlines()) == 2
    going_on.close()
    assert sorted(set(os.listdir(runs)) - {INDEX_FILE}) == ["20270101-going-on", "linked", "notes"]
    assert (runs / "notes" / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "say which runs"),
        (("last", "--all"), "say which runs"),
        (("--all", "--older-than", "3d"), "say which runs"),
        (("--older-than", "soon", "--yes"), "'soon'"),
        (("--older-than", "-3d", "--yes"), "'-3d'"),
        (("nope", "--yes"), "no run 'nope'"),
        (("last",), "--yes"),
        (("--all",), "--yes"),
    ],
)
def test_mistakes_remove_nothing(run, runs, arguments, told):
    ran = run("rm", *arguments)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert told in ran.err
    assert sorted(os.listdir(runs)) == sorted(IDS)


def test_only_runs_of_the_folder_are_removed(run, runs, isolated_env):
    write(isolated_env, "mine").close()
    (runs / "linked").symlink_to(isolated_env / "mine")
    for name in (isolated_env / "mine", runs / "linked"):
        ran = run("rm", str(name), "--yes")
        assert (ran.code, ran.out) == (2, "")
    assert (isolated_env / "mine" / "events.jsonl").is_file()


@pytest.mark.parametrize(("reply", "code", "left"), [("y\n", 0, 0), ("n\n", 130, 3), ("\n", 130, 3)])
def test_on_a_terminal_it_asks(isolated_env, runs, reply, code, left):
    command = [sys.executable, str(ROOT / "cli.py"), "runs", "rm", "--all", "--trace-dir", str(runs)]
    terminal = Terminal(command, columns=80, rows=24, cwd=isolated_env)
    assert terminal.read_until(lambda text: "remove 3 runs, " in text and "[y/N]" in text)
    terminal.type(reply)
    terminal.read_until(lambda _: False)
    assert terminal.process.wait(10) == code
    terminal.close()
    assert len(list(runs.glob("*/events.jsonl"))) == left


def test_the_shell_completes_ids(runs):
    def completed(word):
        line = f"rlm runs show --trace-dir {runs} {word}"
        environ = {**os.environ, "_RLM_COMPLETE": "complete_bash", "_TYPER_COMPLETE_ARGS": line}
        words = {"COMP_WORDS": line, "COMP_CWORD": str(5)}
        program = "import sys; from rlm.commands.app import app; app(prog_name='rlm')"
        return subprocess.check_output([sys.executable, "-c", program], env={**environ, **words}, text=True).split()

    assert completed("20260102") == [IDS[1]]
    assert completed("cccc") == ["cccccccc"]
    (runs / "20270101 $(touch x)").mkdir()
    assert completed("") == [IDS[2], IDS[1], IDS[0]]
