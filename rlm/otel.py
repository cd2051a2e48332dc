"""A run as OpenTelemetry spans, by the semantic conventions for generative AI.

    invoke_agent rlm                the run
      turn 1
        chat MODEL                  a request of the root
        execute_tool python         its cell
          batch 0.b1
            chat MODEL              a sub-call
            invoke_agent sub-LLM    one that takes several requests: each is a chat of its own in it
              execute_tool NAME
            invoke_agent child      a rollout of its own, with turns
          execute_tool NAME         a function of the REPL

Tokens stand on the `chat` spans and nowhere else, so that they add up to what the run used. Prompts, replies, code and
outputs are left out, unless OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT says `true`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider

from rlm.events import Event

CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_YES = frozenset({"true", "1", "span_only", "span_and_event"})
ROOT = "0"
MAX_NAME = 80
"""Characters of a name that a sandbox or a model made up."""

Attributes = dict[str, Any]


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
        self._servers = (_server(root), _server(settings.get("sub_base_url") or root))
        self._run = self._start("invoke_agent rlm", event["ts"], None, _agent("rlm", event))
        self._run.set_attributes(_known({"rlm.sandbox": event.get("sandbox"), "rlm.depth": event.get("depth")}))
        self._run.set_attributes(_known({"gen_ai.request.model": event.get("model")}))
        if self._content:
            self._run.set_attribute(
                "gen_ai.input.messages", _messages([{"role": "user", "content": event["question"]}])
            )
        self._rollouts[ROOT] = _Rollout(self._run)

    def _run_completed(self, event: Event) -> None:
        if self._run is None:
            return
        result = event["result"]
        for batch in self._batches.values():
            batch.end(_ns(event["ts"]))
        for rollout in self._rollouts.values():
            self._end_rollout(rollout, event["ts"])
        end = {"rlm.stop_reason": result["stop_reason"], "rlm.turns": result["turns"], "rlm.cost": result["cost"]}
        self._run.set_attributes(_known(end))
        if self._content:
            answer = [{"role": "assistant", "content": result["answer"]}]
            self._run.set_attribute("gen_ai.output.messages", _messages(answer))
        if result["error"]:
            _fail(self._run, result["error"]["type"])
        self._run.end(_ns(event["ts"]))
        self._run = None
        self._rollouts.clear()
        self._batches.clear()
        self._steps.clear()

    def _child_started(self, event: Event) -> None:
        parent = self._batches.get(event["batch"]) or self._of(event["parent"])
        span = self._start("invoke_agent child", event["ts"], parent, _agent("child", event))
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
            _fail(rollout.span, "error")
        rollout.span.end(_ns(event["ts"]))

    def _end_rollout(self, rollout: _Rollout, ts: float) -> None:
        """End its turn and its cell, not itself."""
        for span in (rollout.cell, rollout.turn):
            if span is not None:
                span.end(_ns(ts))
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
            rollout.sent = [*rollout.sent[: event["kept"]], *event["messages"]]

    def _replied(self, event: Event) -> None:
        rollout = self._rollouts.get(event["rollout"])
        if rollout is not None:
            span = self._chat(event, rollout.turn or rollout.span, event["ts"] - event["seconds"], server=0)
            self._say(span, rollout.sent, event["text"])
            span.end(_ns(event["ts"]))

    def _compacted(self, event: Event) -> None:
        rollout = self._rollouts.get(event["rollout"])
        if rollout is not None:
            span = self._chat(event, rollout.turn or rollout.span, event["ts"] - event["seconds"], server=0)
            span.set_attribute("rlm.purpose", "compaction")
            self._say(span, [], event["handover"])
            span.end(_ns(event["ts"]))

    def _cell_started(self, event: Event) -> None:
        rollout = self._rollouts.get(event["rollout"])
        if rollout is not None:
            parent = rollout.turn or rollout.span
            rollout.cell = self._start("execute_tool python", event["ts"], parent, _tool("python"))
            if self._content:
                rollout.cell.set_attribute("gen_ai.tool.call.arguments", str(event["code"]))

    def _cell_completed(self, event: Event) -> None:
        rollout = self._rollouts.get(event["rollout"])
        if rollout is None or rollout.cell is None:
            return
        if event["status"] != "ok":
            error = event.get("error") or {}
            _fail(rollout.cell, str(error.get("name") or event["status"])[:MAX_NAME])
        if self._content:
            rollout.cell.set_attribute("gen_ai.tool.call.result", str(event["output"]))
        self._end_rollout(rollout, event["ts"])

    def _function(self, event: Event) -> None:
        called = {"gen_ai.tool.call.arguments": {"args": event["args"], "kwargs": event["kwargs"]}}
        self._tool_span(event, self._of(event["rollout"]), called, event["result"])

    def _kernel_died(self, event: Event) -> None:
        if span := self._of(event["rollout"]):
            span.add_event("kernel.died", {"reason": str(event["reason"])}, _ns(event["ts"]))

    # --- sub-calls

    def _batch_started(self, event: Event) -> None:
        about = {"rlm.batch": event["batch"], "rlm.batch.size": event["size"], "rlm.batch.kind": event["kind"]}
        parent = self._of(event["rollout"])
        self._batches[event["batch"]] = self._start(f"batch {event['batch']}", event["ts"], parent, about)

    def _batch_completed(self, event: Event) -> None:
        if span := self._batches.pop(event["batch"], None):
            counts = {f"rlm.batch.{name}": event[name] for name in ("ok", "failed", "cached", "cancelled")}
            span.set_attributes(counts)
            span.end(_ns(event["ts"]))

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
            parent = self._start("invoke_agent sub-LLM", begun, parent, _agent("sub-LLM", event))
            begun = self._tell_steps(steps, parent, begun)
        spent = [step for step in steps if step["type"] == "call.replied"]
        left = {
            name: event[name] - sum(step[name] for step in spent)
            for name in ("input_tokens", "output_tokens", "attempts")
        }
        if left["attempts"] > 0 or not steps:
            span = self._chat({**event, **left}, parent, begun, server=1)
            span.set_attributes({"rlm.batch": event["batch"], "rlm.index": event["index"]})
            self._say(span, _asked(event), event.get("text") or "")
            if error:
                _fail(span, error)
            span.end(_ns(event["ts"]))
        if steps and parent is not None:
            if error:
                _fail(parent, error)
            parent.end(_ns(event["ts"]))

    def _tell_steps(self, steps: Sequence[Event], parent: Span, begun: float) -> float:
        """The requests of a sub-call but the last one, and its tools; when the last one began."""
        for step in steps:
            if step["type"] == "tool.completed":
                called = {"gen_ai.tool.call.arguments": step["arguments"]}
                self._tool_span(step, parent, called, step["output"])
            else:
                span = self._chat(step, parent, begun, server=1)
                self._say(span, [], step["text"])
                span.end(_ns(step["ts"]))
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
            name, within, kind=kind or SpanKind.INTERNAL, attributes=_known(attributes), start_time=_ns(ts)
        )

    def _chat(self, event: Event, parent: Span | None, begun: float, *, server: int) -> Span:
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
            **self._servers[server],
        }
        return self._start(f"chat {model}", begun, parent, attributes, SpanKind.CLIENT)

    def _say(self, span: Span, asked: Sequence[Any], reply: str) -> None:
        """What was said, where it may be told."""
        if self._content:
            if asked:
                span.set_attribute("gen_ai.input.messages", _messages(asked))
            span.set_attribute("gen_ai.output.messages", _messages([{"role": "assistant", "content": reply}]))

    def _tool_span(self, event: Event, parent: Span | None, called: Attributes, result: Any) -> None:
        name = str(event["name"])[:MAX_NAME]
        span = self._start(f"execute_tool {name}", event["ts"] - event["seconds"], parent, _tool(name))
        if self._content:
            span.set_attributes({key: _text(value) for key, value in called.items()})
            span.set_attribute("gen_ai.tool.call.result", _text(result))
        if event["failed"]:
            _fail(span, "tool_error")
        span.end(_ns(event["ts"]))


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


def _agent(name: str, event: Event) -> Attributes:
    return {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "openai",
        "gen_ai.agent.name": name,
        "gen_ai.conversation.id": event["run_id"],
    }


def _tool(name: str) -> Attributes:
    return {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name, "gen_ai.tool.type": "function"}


def _server(url: Any) -> Attributes:
    parts = urlsplit(str(url or ""))
    return {"server.address": parts.hostname, "server.port": parts.port} if parts.hostname else {}


def _fail(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR, kind))


def _known(attributes: Mapping[str, Any]) -> Attributes:
    return {name: value for name, value in attributes.items() if value is not None}


def _asked(event: Event) -> list[Any]:
    """The messages of a sub-call, without its system prompt where that is the usual one."""
    if messages := event.get("messages"):
        return list(messages)
    prompt = event.get("prompt")
    return prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]


def _messages(messages: Sequence[Any]) -> str:
    """Chat messages in the shape of the conventions, as JSON."""
    told = []
    for message in messages:
        parts: list[Any] = []
        if message.get("content"):
            kind = "tool_call_response" if message["role"] == "tool" else "text"
            parts.append({"type": kind, "response" if kind != "text" else "content": _text(message["content"])})
        for call in message.get("tool_calls") or ():
            parts.append({"type": "tool_call", "id": call.get("id"), **(call.get("function") or {})})
        told.append({"role": message["role"], "parts": parts})
    return json.dumps(told, ensure_ascii=False, default=str)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _ns(ts: float) -> int:
    return int(ts * 1e9)
