"""A real run's trace, a server for it, and one headless Chromium that looks at it."""

from __future__ import annotations

import asyncio
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rlm import RLM, RunResult, RunUsage, Usage
from rlm.events import EventLog
from rlm.testing import Fault, ScriptedModelServer
from rlm.testing.script import Turns
from rlm.trace.reader import Trace, find
from rlm.trace.store import new_run_id
from rlm.trace.writer import TraceWriter
from rlm.view.library import Library
from rlm.view.server import ViewServer

QUESTION = "Who supplies whom, and since when?"
DOCUMENT = "".join(f"{year}: Acme buys bolts from Bolt & Sons.\n" for year in range(1900, 2000))
CALLS = 40


def cell(said: str, code: str) -> str:
    return f"{said}\n```repl\n{code}\n```"


ROOT = [
    cell(
        "I look at the shape of the input first.",
        "lines = context.splitlines()\nprint(len(lines), lines[0])\n"
        "answer['content'] = '# Suppliers\\nNothing is known yet.\\nLines: %d' % len(lines)",
    ),
    cell(
        "Now I ask about every part at once, and let one of them look things up.",
        f"parts = [f'part {{n}}: ' + ' '.join(lines[n * 2 : n * 2 + 2]) for n in range({CALLS})]\n"
        "found = llm_batch(parts + ['a bad one', 'look it up'], model='sub')\n"
        "print(sum(isinstance(each, str) for each in found), 'replies')\n"
        "answer['content'] = '# Suppliers\\nBolt & Sons supplies Acme.\\nLines: %d' % len(lines)",
    ),
    cell("This one fails.", "known = {'Acme': 1900}\nprint('before the error')\nprint(known['Crane'])"),
    cell(
        "Two children look at halves of it.",
        "halves = rlm_batch(['the first half?', 'the second half?'], contexts=[context[:1900], context[1900:]])\n"
        "print(halves[0])\nlong = llm_query('the long one ' + 'needle-in-a-blob ' * 2000, model='sub')",
    ),
    cell(
        "That is enough.",
        "answer['content'] = '# Suppliers\\nBolt & Sons supplies Acme since 1900.\\nChecked by two children.'\n"
        "answer['ready'] = True",
    ),
]
CHILD = [
    cell("A look.", "print(len(context))\nseen = llm_batch([f'child part {n}' for n in range(3)])"),
    cell("Done.", "answer['content'] = 'since ' + context[:4]\nanswer['ready'] = True"),
]


async def sub(request: Any) -> Any:
    await asyncio.sleep(0.01 + request.index * 7 % 5 / 100)
    if "bad" in request.prompt:
        return Fault.http(400, "this prompt is refused")
    if "look it up" in request.prompt and request.messages[-1]["role"] != "tool":
        return {"text": "one moment", "tool_calls": [{"name": "search", "arguments": {"query": "crane"}}]}
    return f"reply to {request.prompt[:30]!r}"


def search(query: str) -> list[str]:
    """Search the archive."""
    return [f"nothing about {query}"]


class Played(NamedTuple):
    """A run that is over."""

    trace: Trace
    requests: list[Any]
    """What the endpoint received."""
    runs: Path

    def sent(self, model: str) -> list[Any]:
        return [request for request in self.requests if request.model == model]


def play(runs: Path, root: list[str] = ROOT, question: str = QUESTION, **options: Any) -> Played:
    """A run with scripted models: turns, batches, tools, children, failures, drafts."""
    prices = {
        "root": {"input": 2, "output": 8},
        "sub": {"input": 0.5, "output": 1, "cached_input": 0.1},
        "child": {"input": 1, "output": 4},
    }
    replies: Any = {"root": Turns(root), "child": Turns(CHILD), "sub": sub}
    with warnings.catch_warnings(), ScriptedModelServer(replies) as server:
        warnings.filterwarnings("ignore", "the process sandbox", UserWarning)
        rlm = RLM(
            models=["root", "child", "sub"],
            depth=2,
            base_url=server.base_url,
            sandbox="process",
            trace_dir=runs,
            concurrency=8,
            **{"prices": prices, "tools": [search], **options},
        )
        # In a thread of its own: the browser's driver may hold the event loop of this one.
        with ThreadPoolExecutor(1) as thread:
            result = thread.submit(rlm.run, question, DOCUMENT).result()
        assert server.errors == []
        assert result.error is None
        return Played(find(result.run_id, runs), server.requests, runs)


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    return play(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def other(played: Played) -> Played:
    """A second run of the same question, in the same folder, that ends sooner and otherwise."""
    return play(played.runs, [*ROOT[:1], ROOT[4].replace("since 1900", "since ever")], prices={})


class Growing:
    """A run that goes on: its trace is written event by event."""

    def __init__(self, runs: Path, question: str = "a run that goes on") -> None:
        self.id = new_run_id()
        self.writer = TraceWriter(runs / self.id)
        self._log = EventLog(self.id, self.writer)
        names = {"model": "root", "sub_model": "sub", "models": ["root", "sub"], "sandbox": "process", "depth": 1}
        more = {"schema_version": 1, "settings": {}, "sub_system": "be brief", "limits": {}, "inputs": []}
        self.emit("run.started", question=question, **names, **more)

    def emit(self, type_: str, **fields: Any) -> None:
        self._log.emit(type_, **fields)
        self.writer.flush()

    def turn(self, number: int, code: str = "print(1)", output: str = "1\n", *, said: str = "", **cell: Any) -> None:
        """A whole turn."""
        messages = [{"role": "user", "content": f"turn {number}"}]
        tokens = {"input_tokens": 100, "output_tokens": 10, "estimated": False, "seconds": 0.1, "attempts": 1}
        text = f"{said}\n```repl\n{code}\n```"
        self.emit("turn.started", rollout="0", turn=number, max_turns=30)
        self.emit("root.requested", rollout="0", turn=number, last=None, max_tokens=None, kept=0, messages=messages)
        reply = {"text": text, "code": code, "tool_call": None, "broken": None, "model": "root", **tokens}
        self.emit("root.completed", rollout="0", turn=number, **reply)
        self.emit("cell.started", rollout="0", turn=number, code=code)
        done = {"status": "ok", "output": output, "omitted": 0, "error": None, "seconds": 0.1, "active_seconds": 0.1}
        self.emit("cell.completed", rollout="0", turn=number, **{**done, "variables": [], "notices": [], **cell})

    def batch(self, name: str, size: int, *, prompt: str = "part", text: str = "fine", lanes: int = 8) -> None:
        """A whole batch of plain calls, so many of them at a time, each of which took a second."""
        asked = {"size": size, "model": "sub", "kind": "plain", "max_tokens": 100}
        begun = time.time()
        self.emit("batch.started", rollout="0", batch=name, ts=begun, **asked)
        for index in range(size):
            call = {"batch": name, "index": index, "key": str(index), "prompt": f"{prompt} {index}", "text": text}
            tokens = {"model": "sub", "input_tokens": 7, "output_tokens": 2, "estimated": False, "cached": False}
            waited = float(index // lanes)
            times = {"ts": begun + waited + 1, "seconds": waited + 1, "waited": waited, "attempts": 1}
            self._log.emit("call.completed", rollout="0", **call, **tokens, **times)
        counts = {"ok": size, "failed": 0, "cached": 0, "cancelled": 0}
        self.emit("batch.completed", rollout="0", batch=name, **counts, seconds=1.0)

    def reopen(self) -> None:
        """Go on writing after `writer.close()`, as a run does that is taken up again."""
        self.writer = TraceWriter(self.writer.path.parent)
        self._log = EventLog(self.id, self.writer)

    def end(self, answer: str = "the end") -> Trace:
        usage = {"input_tokens": 1, "output_tokens": 1, "calls": 1, "cached_calls": 0, "estimated": False}
        result = RunResult(answer, True, "answered", 1, RunUsage(Usage(), Usage()), None, 1.0, self.id).to_dict()
        self.emit("run.completed", result={**result, "usage": {"root": usage, "sub": usage}})
        self.writer.close()
        return Trace(self.writer.path.parent)


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[Growing]:
    run = Growing(tmp_path)
    yield run
    run.writer.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., ViewServer]]:
    """Starts servers for folders of runs."""
    started: list[ViewServer] = []

    def start(runs: Path) -> ViewServer:
        started.append(ViewServer(Library(runs), port=0).__enter__())
        return started[-1]

    yield start
    for server in started:
        server.__exit__(None, None, None)


class Look:
    """A page, and everything that went wrong or out in it."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.errors: list[str] = []
        self.dialogs: list[str] = []
        self.requests: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        page.on("dialog", self._dialog)
        page.on("request", lambda request: self.requests.append(request.url))

    def _dialog(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def open(self, url: str) -> Any:
        self.page.goto(url)
        return self.page


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One browser for a module of tests: while it is there, nothing else can run an event loop in this thread."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def look(chromium: Any) -> Iterator[Look]:
    """A fresh page. Whatever a test does, no script of the page fails and no dialog opens."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(8000)
    seen = Look(context.new_page())
    yield seen
    context.close()
    assert seen.errors == []
    assert seen.dialogs == []
