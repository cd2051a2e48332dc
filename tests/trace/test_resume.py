"""Runs that are taken up again where their host died: the same answer, and nothing asked or paid twice."""

from __future__ import annotations

import fcntl
import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rlm import RLM, ConfigError, InputError, RunResult
from rlm.testing import Fault, ScriptedModelServer
from rlm.trace.reader import Trace
from tests.trace import rich

pytestmark = pytest.mark.filterwarnings("ignore:the process sandbox:UserWarning")


class Recorded(NamedTuple):
    """A whole run, to be cut off anywhere."""

    result: RunResult
    folder: Path
    lines: list[str]
    requests: int

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    def cut(self, at: int, into: Path) -> Path:
        """The folder of a run that was killed after so many events, in the middle of the next one."""
        folder = into / self.folder.name
        shutil.copytree(self.folder, folder)
        (folder / "result.json").unlink(missing_ok=True)
        (folder / "events.jsonl").write_text("".join(self.lines[:at]) + "".join(self.lines[at : at + 1])[:20])
        return folder


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    place = tmp_path_factory.mktemp("runs")
    with rich.server() as server:
        result = RLM(settings=rich.settings(server.base_url, place)).run(rich.QUESTION, rich.CONTEXT)
        assert server.errors == []
        assert result.answer == rich.ANSWER
        assert result.trace is not None
        lines = result.trace.read_text().splitlines(keepends=True)
        yield Recorded(result, result.trace.parent, lines, server.request_count)


def on_record(events: list[Any]) -> int:
    """Requests whose replies stand in these events."""
    done = {(e["batch"], e["index"]) for e in events if e["type"] == "call.completed"}
    replies: int = sum(e["attempts"] for e in events if e["type"] in ("root.completed", "call.completed"))
    unfinished = (e for e in events if e["type"] == "call.replied" and (e["batch"], e["index"]) not in done)
    return replies + sum(int(e["attempts"]) for e in unfinished)


def whole_story(events: list[dict[str, Any]]) -> Counter[Any]:
    """What was told, without what a second process tells anew, and drafts: those in quick succession are one."""
    of_process = {"run.resumed", "kernel.started", "root.requested", "inputs.hashed", "run.completed", "answer.changed"}
    return Counter(e["type"] for e in events if e["type"] not in of_process)


def resumed(base_url: str, folder: Path, **options: Any) -> RunResult:
    return RLM(settings=rich.settings(base_url, folder.parent, **options)).resume(folder)


def check(recorded: Recorded, cut: int, tmp_path: Path) -> None:
    folder = recorded.cut(cut, tmp_path)
    with rich.server() as server:
        result = resumed(server.base_url, folder)
        assert server.errors == []
    events = rich.events(folder)
    assert result.answer == recorded.result.answer
    assert result.usage == recorded.result.usage
    assert result.turns == recorded.result.turns
    assert server.request_count == recorded.requests - on_record(recorded.events[:cut])
    assert whole_story(events) == whole_story(recorded.events)
    assert [event["seq"] for event in events] == sorted({event["seq"] for event in events})
    assert Trace(folder).result() == result.to_dict()


@pytest.mark.parametrize("part", [pytest.param(n, marks=pytest.mark.slow) if n % 4 else n for n in range(12)])
def test_a_run_goes_on_from_wherever_it_was_cut_off(recorded: Recorded, part: int, tmp_path: Path) -> None:
    first = next(n for n, event in enumerate(recorded.events, 1) if event["type"] == "inputs.hashed")
    check(recorded, first + part * (len(recorded.lines) - 1 - first) // 11, tmp_path)


def test_a_run_that_has_ended_returns_its_result(recorded: Recorded) -> None:
    assert resumed("http://127.0.0.1:9/v1", recorded.folder).to_dict() == recorded.result.to_dict()


def test_an_interrupted_run_asks_again_what_was_cancelled(tmp_path: Path) -> None:
    slow = {"*": lambda request: "late" if released else Fault.stall()}
    released: list[bool] = []
    root = [rich.cell("x = llm_batch(['p', 'q'])\nanswer['content'] = str(x)\nanswer['ready'] = True")]
    with ScriptedModelServer({"root": root, **slow}) as server:
        rlm = RLM(settings=rich.settings(server.base_url, tmp_path, depth=1, tools=(), functions={}))

        def interrupt() -> None:
            wait_for(lambda: server.request_counts["sub"] == 2)
            rlm.interrupt()

        threading.Thread(target=interrupt).start()
        result = rlm.run("q", "c")
        assert result.stop_reason == "interrupted"
        released.append(True)
        again = rlm.resume("last")
    assert (again.answer, again.run_id, again.turns) == ("['late', 'late']", result.run_id, 1)
    assert server.request_counts == {"root": 1, "sub": 4}
    assert again.usage.sub.calls == 4, "the first two were made as well"


def test_a_run_whose_endpoint_failed_goes_on_with_another(recorded: Recorded, tmp_path: Path) -> None:
    down = ScriptedModelServer("ok").start()
    down.close()
    folder = recorded.cut(len(recorded.lines) - 12, tmp_path)
    failed = resumed(down.base_url, folder)
    assert failed.error is not None
    assert failed.exit_code == 4
    with rich.server() as server:
        assert resumed(server.base_url, folder).answer == rich.ANSWER


def test_a_cell_that_does_something_else_is_told_to_user_and_model(tmp_path: Path) -> None:
    root = [rich.cell("import os\nx = os.urandom(8).hex()\nprint(x)"), rich.cell("y = 1"), Fault.http(400, "no")]
    with ScriptedModelServer({"root": root}) as server:
        rlm = RLM(settings=rich.settings(server.base_url, tmp_path, depth=0, tools=(), functions={}))
        first = rlm.run("q", "c")
    finish = rich.cell("answer['content'] = x\nanswer['ready'] = True")
    with ScriptedModelServer({"root": finish}) as server:
        rlm = RLM(settings=rich.settings(server.base_url, tmp_path, depth=0, tools=(), functions={}))
        second = rlm.resume()
    assert first.run_id == second.run_id
    assert second.trace is not None
    (event,) = (e for e in rich.events(second.trace.parent) if e["type"] == "cell.diverged")
    assert (event["turn"], event["field"]) == (1, "output")
    assert event["got"] == f"{second.answer}\n" != event["expected"]
    (request,) = server.requests
    said = [message["content"] for message in request.messages]
    assert event["expected"].strip() in said[3], "what it had been told stays"
    assert "turn 1 came out differently" in said[5]


def test_a_conversation_that_was_compacted_goes_on_as_it_was(tmp_path: Path) -> None:
    def root(request: Any) -> Any:
        if "This is not a turn" in request.prompt:
            return "Found nothing so far."
        steps.append(1)
        if len(steps) == 9 and not again:
            return Fault.http(400, "no")
        if len(steps) == 12:
            return rich.cell("answer['content'] = str(n)\nanswer['ready'] = True")
        return rich.cell(f"n = {len(steps)}\nprint('filler ' * 200)")

    steps: list[int] = []
    again = False
    with ScriptedModelServer({"root": root}) as server:
        chosen: Any = {"depth": 0, "tools": (), "functions": {}, "context_window": 4000, "output_limit": 2000}
        rlm = RLM(settings=rich.settings(server.base_url, tmp_path, **chosen))
        first = rlm.run("q", "c")
        assert first.stop_reason == "error"
        before, failed, again = server.requests[-1].messages, len(server.requests), True
        steps.pop()
        second = rlm.resume()
    assert second.answer == "11"
    assert any("replaces your replies" in str(message["content"]) for message in before)
    repeated = [request for request in server.requests[failed:] if request.messages == before]
    assert repeated, "byte for byte, so that the endpoint's cache is warm"


def test_an_input_that_has_changed_is_refused(tmp_path: Path) -> None:
    document = tmp_path / "a.txt"
    document.write_text("one")
    with ScriptedModelServer({"root": Fault.http(400, "no")}) as server:
        rlm = RLM(settings=rich.settings(server.base_url, tmp_path / "runs", tools=(), functions={}))
        rlm.run("q", inputs=[document])
        document.write_text("two")
        with pytest.raises(InputError, match=r"a\.txt has changed since the run began"):
            rlm.resume()
        document.write_text("one")
        assert rlm.resume().stop_reason == "error", "the same content with another time is the same input"


@pytest.mark.parametrize(
    ("options", "what"),
    [({"sub_model": "another"}, "sub_model"), ({"depth": 1}, "depth"), ({"tools": ()}, "tools: the run began with")],
)
def test_settings_that_make_it_another_run_are_refused(
    recorded: Recorded, tmp_path: Path, options: Any, what: str
) -> None:
    folder = recorded.cut(40, tmp_path)
    before = (folder / "events.jsonl").read_bytes()
    with rich.server() as server, pytest.raises(ConfigError, match=what):
        resumed(server.base_url, folder, **options)
    assert server.request_count == 0
    assert (folder / "events.jsonl").read_bytes().startswith(before.rpartition(b"\n")[0]), "nothing is lost"


def test_a_run_that_goes_on_is_left_alone(recorded: Recorded, tmp_path: Path) -> None:
    folder = recorded.cut(40, tmp_path)
    with (folder / "events.jsonl").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="goes on in another process"):
            resumed("http://127.0.0.1:9/v1", folder)


def wait_for(happened: Any, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.01)
