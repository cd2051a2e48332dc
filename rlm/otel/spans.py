"""`Spans`: from a run's events to its spans."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, TracerProvider

from rlm.events import ROOT, Event, messages_sent
from rlm.otel.attributes import Attributes, agent, as_messages, asked, fail, known, ns, server, text, tool

CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_YES = frozenset({"true", "1", "span_only", "span_and_event"})
MAX_NAME = 80
"""Characters of a name that a sandbox or a model made up."""


@dataclass(slots=True)
class _Rollout:
    """The open spans of one rollout."""

    span: Span
    turn: Span | None = None
    cell: Span | None = None
    sent: list[Any] = field(default_factory=list)

    @property
    def inner(self) -> Span:
        return self.cell or self.turn or self.span


class Spans:
    """A sink of one run's events. Spans that are open at its end are ended with it.

    `provider` is the application's own by default; the run belongs to the span that is current where this is made.
    `content` overrides what the environment says about prompts and replies.
    """

    def __init__(self, provider: TracerProvider | None = None, *, content: bool | None = None) -> None:
        self._tracer = trace.get_tracer("rlm", tracer_provider=provider)
        self._content = os.environ.get(CAPTURE, "").lower() in _YES if content is None else content
        self._outside = otel_context.get_current()
        self._run: Span | None = None
        self._rollouts: dict[str, _Rollout] = {}
        self._batches: dict[str, Span] = {}
        self._steps: dict[tuple[str, int], list[Event]] = {}
        """Replies and tools of sub-calls that go on: where their span begins is known at its end."""
        self._servers: tuple[Attributes, Attributes] = ({}, {})
        """Where the root's requests go, and those of sub-calls."""

    def __call__(self, event: Event) -> None:
        tell = _TELL.get(event["type"])
        if tell is not None and not event.get("past"):
            tell(self, event)

    # --- the run and its rollouts

    def _run_started(self, event: Event) -> None:
        settings = event.get("settings") or {}
        root = settings.get("base_url")
        self._servers = (server(root), server(settings.get("sub_base_url") or root))
        self._run = self._start("invoke_agent rlm", event["ts"], None, agent("rlm", event))
        self._run.set_attributes(known({"rlm.sandbox": event.get("sandbox"), "rlm.depth": event.get("depth")}))
        self._run.set_attributes(known({"gen_ai.request.model": event.get("model")}))
        if self._content:
            self._run.set_attribute(
                "gen_ai.input.messages", as_messages([{"role": "user", "content": event["question"]}])
            )
        self._rollouts[ROOT] = _Rollout(self._run)

    def _run_completed(self, event: Event) -> None:
        if self._run is None:
            return
        result = event["result"]
        for batch in self._batches.values():
            batch.end(ns(event["ts"]))
        for rollout in self._rollouts.values():
            self._end_rollout(rollout, event["ts"])
        end = {"rlm.stop_reason": result["stop_reason"], "rlm.turns": result["turns"], "rlm.cost": result["cost"]}
        self._run.set_attributes(known(end))
        if self._content:
            answer = [{"role": "assistant", "content": result["answer"]}]
            self._run.set_attribute("gen_ai.output.messages", as_messages(answer))
        if result["error"]:
            fail(self._run, result["error"]["type"])
        self._run.end(ns(event["ts"]))
        self._run = None
        self._rollouts.clear()
        self._batches.clear()
        self._steps.clear()

    def _child_started(self, event: Event) -> None:
        parent = self._batches.get(event["batch"]) or self._of(event["parent"])
        span = self._start("invoke_agent child", event["ts"], parent, agent("child", event))
        span.set_attributes({"rlm.rollout": event["rollout"], "rlm.depth": event["depth"]})
        span.set_attribute("gen_ai.request.model", str(event["model"]))
        self._rollouts[event["rollout"]] = _Rollout(span)

    def _child_completed(self, event: Event) -> None:
        rollout = self._rollouts.pop(event["rollout"], None)
        if rollout is None:
            return
        self._end_rollout(rollout, event["ts"])
        rollout.span.set_attributes({"rlm.stop_reason": event["stop_reason"], "rlm.turns": event["turns"]})
        if event["stop_reason"] == "error":
            fail(rollout.span, "error")
        rollout.span.end(ns(event["ts"]))

    def _end_rollout(self, rollout: _Rollout, ts: float) -> None:
        """End its turn and its cell, not itself."""
        for span in (rollout.cell, rollout.turn):
            if span is not None:
                span.end(ns(ts))
        rollout.cell = rollout.turn = None

    # --- turns

    def _turn_started(self, event: Event) -> None:
        rollout = self._rollouts.get(event["rollout"])
        if rollout is not None:
            self._end_rollout(rollout, event["ts"])
            turn = {"rlm.turn": event["turn"], "rlm.rollout": event["rollout"]}
            rollout.turn = self._start(f"turn {event['turn']}", event["ts"], rollout.span, turn)

    def _requested(self, event: Event) -> None:
        if self._content and (rollout := self._rollouts.get(event["rollout"])):
            rollout.sent = messages_sent(rollout.sent, event)

    def _replied(self, event: Event) -> None:
        rollout = self._rollouts.get(event["rollout"])
        if rollout is not None:
            span = self._chat(event, rollout.turn or rollout.span, event["ts"] - event["seconds"], where=0)
            self._say(span, rollout.sent, event["text"])
            span.end(ns(event["ts"]))

    def _compacted(self, event: Event) -> None:
        rollout = self._rollouts.get(event["rollout"])
        if rollout is not None:
            span = self._chat(event, rollout.turn or rollout.span, event["ts"] - event["seconds"], where=0)
            span.set_attribute("rlm.purpose", "compaction")
            self._say(span, [], event["handover"])
            span.end(ns(event["ts"]))

    def _cell_started(self, event: Event) -> None:
        rollout = self._rollouts.get(event["rollout"])
        if rollout is not None:
            parent = rollout.turn or rollout.span
            rollout.cell = self._start("execute_tool python", event["ts"], parent, tool("python"))
            if self._content:
                rollout.cell.set_attribute("gen_ai.tool.call.arguments", str(event["code"]))

    def _cell_completed(self, event: Event) -> None:
        rollout = self._rollouts.get(event["rollout"])
        if rollout is None or rollout.cell is None:
            return
        if event["status"] != "ok":
            error = event.get("error") or {}
            fail(rollout.cell, str(error.get("name") or event["status"])[:MAX_NAME])
        if self._content:
            rollout.cell.set_attribute("gen_ai.tool.call.result", str(event["output"]))
        self._end_rollout(rollout, event["ts"])

    def _function(self, event: Event) -> None:
        called = {"gen_ai.tool.call.arguments": {"args": event["args"], "kwargs": event["kwargs"]}}
        self._tool_span(event, self._of(event["rollout"]), called, event["result"])

    def _kernel_died(self, event: Event) -> None:
        if span := self._of(event["rollout"]):
            span.add_event("kernel.died", {"reason": str(event["reason"])}, ns(event["ts"]))

    # --- sub-calls

    def _batch_started(self, event: Event) -> None:
        about = {"rlm.batch": event["batch"], "rlm.batch.size": event["size"], "rlm.batch.kind": event["kind"]}
        parent = self._of(event["rollout"])
        self._batches[event["batch"]] = self._start(f"batch {event['batch']}", event["ts"], parent, about)

    def _batch_completed(self, event: Event) -> None:
        if span := self._batches.pop(event["batch"], None):
            counts = {f"rlm.batch.{name}": event[name] for name in ("ok", "failed", "cached", "cancelled")}
            span.set_attributes(counts)
            span.end(ns(event["ts"]))

    def _step(self, event: Event) -> None:
        self._steps.setdefault((event["batch"], event["index"]), []).append(event)

    def _call(self, event: Event) -> None:
        steps = self._steps.pop((event["batch"], event["index"]), [])
        error = (event.get("error") or {}).get("kind")
        if event.get("child") or event["cached"] or (not event["attempts"] and error in (None, "cancelled")):
            return  # told by events of its own, or never asked
        parent = self._batches.get(event["batch"]) or self._of(event["rollout"])
        begun = event["ts"] - event["seconds"] + event["waited"]
        if steps:
            parent = self._start("invoke_agent sub-LLM", begun, parent, agent("sub-LLM", event))
            begun = self._tell_steps(steps, parent, begun)
        spent = [step for step in steps if step["type"] == "call.replied"]
        left = {
            name: event[name] - sum(step[name] for step in spent)
            for name in ("input_tokens", "output_tokens", "attempts")
        }
        if left["attempts"] > 0 or not steps:
            span = self._chat({**event, **left}, parent, begun, where=1)
            span.set_attributes({"rlm.batch": event["batch"], "rlm.index": event["index"]})
            self._say(span, asked(event), event.get("text") or "")
            if error:
                fail(span, error)
            span.end(ns(event["ts"]))
        if steps and parent is not None:
            if error:
                fail(parent, error)
            parent.end(ns(event["ts"]))

    def _tell_steps(self, steps: Sequence[Event], parent: Span, begun: float) -> float:
        """The requests of a sub-call but the last one, and its tools; when the last one began."""
        for step in steps:
            if step["type"] == "tool.completed":
                called = {"gen_ai.tool.call.arguments": step["arguments"]}
                self._tool_span(step, parent, called, step["output"])
            else:
                span = self._chat(step, parent, begun, where=1)
                self._say(span, [], step["text"])
                span.end(ns(step["ts"]))
            begun = max(begun, step["ts"])
        return begun

    # --- spans

    def _of(self, rollout: str) -> Span | None:
        """The innermost open span of a rollout."""
        found = self._rollouts.get(rollout)
        return found.inner if found else self._run

    def _start(self, name: str, ts: float, parent: Span | None, attributes: Attributes, kind: Any = None) -> Span:
        within = self._outside if parent is None else trace.set_span_in_context(parent, self._outside)
        return self._tracer.start_span(
            name, within, kind=kind or SpanKind.INTERNAL, attributes=known(attributes), start_time=ns(ts)
        )

    def _chat(self, event: Event, parent: Span | None, begun: float, *, where: int) -> Span:
        """One request to a model, with what it took."""
        model = str(event["model"])
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.system": "openai",
            "gen_ai.request.model": model,
            "gen_ai.response.model": None if event.get("error") else model,
            "gen_ai.usage.input_tokens": event["input_tokens"],
            "gen_ai.usage.output_tokens": event["output_tokens"],
            "rlm.attempts": event["attempts"],
            "rlm.estimated": event.get("estimated") or None,
            "rlm.waited": event.get("waited") or None,
            **self._servers[where],
        }
        return self._start(f"chat {model}", begun, parent, attributes, SpanKind.CLIENT)

    def _say(self, span: Span, asked: Sequence[Any], reply: str) -> None:
        """What was said, where it may be told."""
        if self._content:
            if asked:
                span.set_attribute("gen_ai.input.messages", as_messages(asked))
            span.set_attribute("gen_ai.output.messages", as_messages([{"role": "assistant", "content": reply}]))

    def _tool_span(self, event: Event, parent: Span | None, called: Attributes, result: Any) -> None:
        name = str(event["name"])[:MAX_NAME]
        span = self._start(f"execute_tool {name}", event["ts"] - event["seconds"], parent, tool(name))
        if self._content:
            span.set_attributes({key: text(value) for key, value in called.items()})
            span.set_attribute("gen_ai.tool.call.result", text(result))
        if event["failed"]:
            fail(span, "tool_error")
        span.end(ns(event["ts"]))


_TELL: dict[str, Callable[[Spans, Event], None]] = {
    "run.started": Spans._run_started,
    "run.resumed": Spans._run_started,
    "run.completed": Spans._run_completed,
    "child.started": Spans._child_started,
    "child.completed": Spans._child_completed,
    "turn.started": Spans._turn_started,
    "root.requested": Spans._requested,
    "root.completed": Spans._replied,
    "compaction.completed": Spans._compacted,
    "cell.started": Spans._cell_started,
    "cell.completed": Spans._cell_completed,
    "function.completed": Spans._function,
    "kernel.died": Spans._kernel_died,
    "batch.started": Spans._batch_started,
    "batch.completed": Spans._batch_completed,
    "call.replied": Spans._step,
    "tool.completed": Spans._step,
    "call.completed": Spans._call,
}
