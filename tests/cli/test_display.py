"""What a person sees: the right lines, and nothing of a hostile text that could steer the terminal."""

import io
import json
import os
import re

import pytest
from rich.console import Console

from rlm.display import NoDisplay, open_display
from rlm.display.live import LiveDisplay
from rlm.display.plain import PlainDisplay
from rlm.display.progress import Progress
from rlm.display.stream_json import StreamJson
from rlm.display.text import count, duration, first_lines, one_line, visible
from rlm.events import EventLog
from rlm.trace.writer import TraceWriter

EVIL = "a\x1b]0;title\x07\x1b[2J\x9b31m[red]x[/red]\u202egnp.exe\ud800\rb"
USAGE = {"input_tokens": 1200, "output_tokens": 30, "calls": 2, "cached_calls": 0, "estimated": False}
RESULT = {
    "schema_version": 1,
    "answer": "42",
    "ready": True,
    "stop_reason": "answered",
    "error": None,
    "turns": 1,
    "usage": {"root": USAGE, "sub": {**USAGE, "calls": 3}},
    "cost": None,
    "seconds": 1.25,
    "run_id": "r",
    "trace": "/tmp/r/events.jsonl",
}


def play(sink, *, text="hello", result=RESULT):
    """A whole small run, with `text` wherever a model, a document or a sandbox may put text."""
    emit = EventLog("r", sink).emit
    emit(
        "run.started",
        schema_version=1,
        question=text,
        model=text,
        sub_model=text,
        sandbox="docker",
        depth=0,
        limits={},
        inputs=[{"name": text}],
    )
    emit("kernel.started", sandbox="docker", seconds=0.5)
    emit("turn.started", turn=1, max_turns=30)
    emit("root.delta", turn=1, text=text)
    emit(
        "root.completed",
        turn=1,
        text=text,
        code=text,
        reminder=None,
        input_tokens=1200,
        output_tokens=30,
        estimated=False,
        seconds=1.0,
        attempts=2,
    )
    emit("cell.started", turn=1, code=f"x = 1\n{text}")
    emit("batch.started", batch="b1", size=3, model=text)
    for index in range(3):
        emit(
            "call.completed",
            batch="b1",
            index=index,
            key="k",
            prompt=text,
            text=text,
            error={"kind": "endpoint", "message": text} if index == 2 else None,
            model=text,
            input_tokens=400,
            output_tokens=10,
            estimated=False,
            cached=False,
            seconds=0.1,
            attempts=1,
        )
    emit("batch.completed", batch="b1", ok=2, failed=1, cached=0, cancelled=0, seconds=0.3)
    emit("kernel.died", reason="oom", detail=text)
    emit("kernel.restarted", lost=[text], seconds=0.2)
    emit(
        "cell.completed",
        turn=1,
        status="error",
        output=text,
        omitted=0,
        error={"name": text, "value": text, "traceback": text},
        seconds=0.4,
        active_seconds=0.1,
        variables=[text],
        notices=[text],
    )
    emit("answer.changed", version=1, content=text, ready=True)
    emit("notice", text=text)
    emit("protocol.error", detail=text)
    emit("run.completed", result=result)


def plain(**options):
    stream = io.StringIO()
    display = PlainDisplay(stream)
    play(display, **options)
    display.close()
    return stream.getvalue()


def live(*, color=True, **options):
    stream = io.StringIO()
    environ = {} if color else {"NO_COLOR": "1"}
    console = Console(file=stream, force_terminal=True, width=100, markup=False, highlight=False, _environ=environ)
    display = LiveDisplay(console)
    try:
        play(display, **options)
    finally:
        display.close()
    return stream.getvalue()


@pytest.mark.parametrize("show", [plain, live])
def test_a_run_is_told(show):
    seen = show()
    for told in (
        "hello",
        "turn 1/30",
        "x = 1",
        "2 ok, 1 failed",
        "the kernel died (oom)",
        "answered, 1 turn, 1.2 s, cost n/a",
        "root 1.2k in 30 out, 2 calls; sub 1.2k in 30 out, 3 calls",
        "/tmp/r/events.jsonl",
    ):
        assert told in seen


def test_a_run_that_is_taken_up_again_is_told():
    stream = io.StringIO()
    emit = EventLog("r", PlainDisplay(stream)).emit
    run = {"question": "why?", "model": "m", "sub_model": "s", "sandbox": "process", "depth": 2, "limits": {}}
    spent = {"input_tokens": 1, "output_tokens": 1, "calls": 1, "cached_calls": 0, "estimated": False}
    emit("run.resumed", turns=3, calls=1200, seconds=65.0, usage={"root": spent, "sub": spent}, cost=None, **run)
    emit("tools.opened", tools=[{"type": "function", "function": {"name": "search"}}, {"name": EVIL}], system="")
    emit("cell.diverged", rollout="0", turn=2, field="output", expected="1", got=EVIL)
    emit("cell.diverged", rollout="0.3", turn=1, field="status", expected="ok", got="error")
    first, *rest = stream.getvalue().splitlines()
    assert first == "rlm: question: why?"
    assert rest[1] == "rlm: taken up again after 3 turns, 1,200 sub-calls, 1 min 05 s"
    assert rest[2].startswith(r"rlm: tools of sub-LLMs: search, a\x1b]0;title")
    assert rest[3].startswith(r"rlm: note: the cell of turn 2 was executed again and has another output: a\x1b]0")
    assert rest[4].endswith(
        "the cell of turn 1 of child 0.3 was executed again and has another status: error, where the record has ok"
    )


def test_hostile_text_is_shown_not_obeyed_in_lines():
    seen = plain(text=EVIL)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", seen)
    assert r"\x1b]0;title\x07" in seen
    assert "[red]x[/red]" in seen
    assert all(line.startswith("rlm: ") for line in seen.splitlines())


def test_hostile_text_is_shown_not_obeyed_on_a_terminal():
    seen = live(text=EVIL)
    own = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[[12]?[AK]|\r")  # colours, the cursor, redrawing
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", own.sub("", seen))
    assert "[red]x[/red]" in seen
    assert "\x1b]0" not in seen


def test_the_cost_so_far():
    progress = Progress(price=lambda model, tokens: (tokens.input + tokens.output) / 1000)
    play(progress.update)
    assert progress.spending.cost == pytest.approx(1.230 + 3 * 0.410)
    unknown = Progress(price=lambda model, tokens: None)
    play(unknown.update)
    assert unknown.spending.cost is None


def test_code_and_output_are_cut_to_the_terminal_and_the_rest_is_not():
    stream = io.StringIO()
    display = LiveDisplay(Console(file=stream, force_terminal=True, width=40, height=20, _environ={"NO_COLOR": "1"}))
    emit = EventLog("r", display).emit
    emit("cell.started", rollout="0", turn=1, code="c" * 100)
    emit("notice", text="n" * 100)
    display.close()
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue()).replace("\r", "").splitlines()
    assert f"  │ {'c' * 35}…" in lines
    assert f"note: {'n' * 100}" in lines


def test_no_color_is_honoured():
    assert "\x1b[32m" in live()
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", live(color=False))


def test_a_closed_pipe_does_not_disturb_the_run():
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as stream:
        display = PlainDisplay(stream)
        play(display)
        display.close()
        # What could not be written would be tried again on closing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)


def test_long_batches_are_told_of_now_and_then(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("rlm.display.plain.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    display = PlainDisplay(stream)
    emit = EventLog("r", display).emit
    emit("batch.started", batch=1, size=100, model="m")
    for index in range(100):
        now[0] += 0.125  # exact in binary
        emit("call.completed", batch=1, index=index, error=None, attempts=1, input_tokens=1, output_tokens=1)
    assert re.findall(r"\d+/100 done", stream.getvalue()) == ["40/100 done", "80/100 done"]


def test_the_stream_of_json_is_the_trace(tmp_path):
    stream = io.BytesIO()
    writer = TraceWriter(tmp_path, secrets=["sk-secret-key"])

    streamed = StreamJson(stream, secrets=["sk-secret-key"])

    def both(event):
        writer(event)
        streamed(event)

    play(both, text=EVIL + "sk-secret-key")
    writer.close()
    assert stream.getvalue() == writer.path.read_bytes()
    assert b"sk-secret" not in stream.getvalue()
    assert [json.loads(line)["type"] for line in stream.getvalue().splitlines()][-1] == "run.completed"


def test_a_reader_that_goes_away_is_told_once():
    reader, writer = os.pipe()
    os.close(reader)
    gone = []
    with open(writer, "wb", buffering=0) as stream:
        play(StreamJson(stream, on_gone=lambda: gone.append(True)))
    assert gone == [True]


def test_the_display_fits_the_stream(monkeypatch):
    assert isinstance(open_display(), PlainDisplay)
    assert isinstance(open_display("none"), NoDisplay)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(open_display(), PlainDisplay)
    monkeypatch.setenv("TERM", "xterm")
    display = open_display()
    display.close()
    assert isinstance(display, LiveDisplay)


def test_texts():
    assert visible("a\tb\nc\r\nd") == "a\tb\nc\nd"
    assert one_line("  a \n b  " + "c" * 100, 10) == "a b ccccc…"
    assert one_line("x" * 10_000_000, 5) == "xxxx…"
    assert first_lines("a\n\n  b\nc\nd", 2, 10) == ["a", "  b", "… 2 more lines"]
    assert [count(n) for n in (0, 999, 1000, 999_949, 1_234_567)] == ["0", "999", "1.0k", "999.9k", "1.2M"]
    assert [duration(s) for s in (0.04, 59.9, 65, 7380)] == ["0.0 s", "59.9 s", "1 min 05 s", "2 h 03 min"]
