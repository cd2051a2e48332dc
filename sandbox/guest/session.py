"""The parts of one kernel, and what they do around each cell: names, answer, output, report."""

from __future__ import annotations

import sys
import threading
import time
from functools import partial
from typing import Any

from guest import output, procs
from guest.ahead import Ahead
from guest.answer import PUSH_EVERY, AnswerKeeper
from guest.bridge import Bridge, BridgeClosed
from guest.calls import SubCalls
from guest.children import Children
from guest.contexts import Contexts, Passed
from guest.functions import FunctionFailed, load_shipped, make_stub
from guest.inputs import Loaded
from guest.namespace import Namespace, make_exit
from guest.reads import Reads
from guest.results import CallError, CallResult, SubCallError

BEAT = 0.1
"""Seconds between two looks at what the host should see while a cell runs."""
LIVE = 1 << 15
"""Characters of a running cell's output that the host gets before the cell ends."""


class Guest:
    """The parts of one kernel, and what they do around each cell."""

    def __init__(
        self, config: dict[str, Any], loaded: Loaded, context: object, own: Passed, *, work: str, bridge_fd: int
    ) -> None:
        self.capture = output.Capture()
        self._streams: dict[str, Any] = {
            "stdout": output.Stream(self.capture, 1, "<stdout>"),
            "stderr": output.Stream(self.capture, 2, "<stderr>"),
        }
        self.bridge = Bridge(bridge_fd)
        last = config.get("answer") or {}
        self.keeper = AnswerKeeper(
            self.push_answer,
            flush=partial(self.bridge.flush, PUSH_EVERY),
            content=last.get("content", ""),
            version=last.get("version", 0),
            typed=bool(config.get("typed")),
        )
        self.history: list[dict[str, Any]] = []
        self.packages = str(config.get("packages_dir") or "")
        tools = {
            # Small models copy the preview into a variable of this name, and then search that.
            "context": context,
            **({"originals": loaded.originals} if loaded.originals and context is loaded.context else {}),
            "history": self.history,
            "budget": self.budget,
            "FunctionFailed": FunctionFailed,
            "exit": make_exit("exit"),
            "quit": make_exit("quit"),
        }
        self.calls = SubCalls(self.bridge)
        self.ahead = Ahead(self.calls, width=config.get("width", 256))
        if config.get("llm", True):
            tools |= self._sub_calls(Contexts(work, context, own), deeper=bool(config.get("deeper")))
        tools |= {each["name"]: make_stub(each, self.bridge.request) for each in config.get("functions") or ()}
        self.namespace = Namespace(tools)
        self.namespace.values |= {"answer": self.keeper.answer}
        shipped = config.get("shipped") or ()
        problems = load_shipped(shipped, self.namespace.values)
        self.namespace.keep(each["name"] for each in shipped)
        self.remarks = [*loaded.notices, *problems]
        """What the model is to be told with the next cell."""
        # A child's context is a part of what its parent has read.
        sizes = loaded.sizes if context is loaded.context else []
        self.reads = Reads(context, sizes, tell=self._tell_read)
        self._started = 0.0
        self._live = 0
        self._oom_kills = procs.oom_kills() or 0

    def _sub_calls(self, contexts: Contexts, *, deeper: bool) -> dict[str, Any]:
        calls = self.calls
        children = Children(self.bridge, contexts, deeper=deeper, on_limited=self._say_limited)
        return {
            "llm_query": calls.llm_query,
            "llm_batch": calls.llm_batch,
            # What published prompts and trained checkpoints expect.
            "llm_query_batched": calls.llm_batch,
            "rlm_query": children.rlm_query,
            "rlm_batch": children.rlm_batch,
            "rlm_query_batched": children.rlm_batch,
            "CallError": CallError,
            "CallResult": CallResult,
            "SubCallError": SubCallError,
        }

    def _say_limited(self) -> None:
        remark = "The depth limit is reached: rlm_query was one plain call each, with the context pasted in."
        if remark not in self.remarks:
            self.remarks.append(remark)

    def budget(self) -> dict[str, Any]:
        """What is left of this run: turns, sub_calls, tokens, cost, seconds; None where there is no limit."""
        reply = self.bridge.request("budget")
        return {name: reply.get(name) for name in ("turns", "sub_calls", "tokens", "cost", "seconds")}

    def _tell_read(self, cell: int, read: int) -> None:
        self.bridge.request("read", cell=cell, bytes=read)

    def start(self) -> None:
        sys.stdout = sys.__stdout__ = self._streams["stdout"]  # type: ignore[misc]
        sys.stderr = sys.__stderr__ = self._streams["stderr"]  # type: ignore[misc]
        self.capture.start()
        self.bridge.start()
        self.reads.begin()
        threading.Thread(target=self._beat, name="beat", daemon=True).start()

    def push_answer(self, state: dict[str, Any]) -> None:
        try:
            self.bridge.send({"op": "answer", "id": 0, **state})
        except BridgeClosed as error:
            self.capture.add(f"\n[answer could not be saved: {error}]\n")

    def begin(self) -> None:
        self._started = time.monotonic()
        self._live = 0
        self.capture.attach()

    def _restore_streams(self) -> list[str]:
        """A cell that dies halfway leaves its redirections behind, and later output would be lost."""
        remarks = []
        for name, stream in self._streams.items():
            if getattr(sys, name) is not stream:
                setattr(sys, name, stream)
                remarks.append(f"`sys.{name}` was replaced; the original is back.")
        return remarks

    def report(self, code: str, failure: dict[str, str] | None, *, left: bool, said: str = "") -> dict[str, Any]:
        """Everything about the cell that just ended."""
        self.ahead.end_cell()
        try:
            remarks = self.remarks + self._restore_streams()
            remarks += self.namespace.restore() + self.keeper.settle(self.namespace.values)
            variables = self.namespace.changes()
        except BaseException as error:
            # Objects of the cell's own may raise anything from whatever is asked of them.
            remarks, variables = [f"The namespace could not be read: {type(error).__name__}: {error}"[:500]], []
        self.remarks = []
        if left:
            remarks.append("The cell left by SystemExit: it ended there; the kernel and its variables live on.")
        kills, self._oom_kills = self._oom_kills, procs.oom_kills() or 0
        if self._oom_kills > kills:
            remarks.append("A child process was killed: the sandbox ran out of memory.")
        whole = self.capture.take()
        seconds = round(time.monotonic() - self._started, 3)
        entry = {"said": said, "code": code, "output": whole.text(), "error": failure, "seconds": seconds}
        self.history.append(entry)
        shown = whole.cut(output.SHOW)
        content, ready = self.keeper.state()
        return {
            "output": shown.head,
            "omitted": shown.omitted,
            "output_tail": shown.tail,
            "error": failure,
            "variables": variables,
            "notices": remarks,
            "cell": self.reads.cell_ended(),
            "answer": {"content": content, "ready": ready, "version": self.keeper.version},
        }

    def _beat(self) -> None:
        """Keep the host up to date while a cell runs: should it be killed, this is what remains of it."""
        while True:
            time.sleep(BEAT)
            self.keeper.beat()
            text = self.capture.peek_head(self._live, LIVE)
            if text:
                self._live += len(text)
                try:
                    self.bridge.send({"op": "output", "id": 0, "text": text})
                except BridgeClosed:
                    return
