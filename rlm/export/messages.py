"""Runs as chat transcripts, one JSON object per line: for fine-tuning, and for looking at what was sent.

A rollout is one line: the messages exactly as its last request had them, and the last reply. Where older turns were
summed up the conversation begins anew, so such a rollout has several lines, its segments. Children are lines of their
own; with `sub_calls` so are the sub-calls that came to a reply.

    messages        in the shape of Chat Completions
    run_id, rollout, depth, model
    segment, segments    1, 2 … of how many
    outcome         `stop_reason` of the rollout; null for one without an end
    ready, answer, turns
    input_tokens, output_tokens    of the requests of this segment
    batch, index    of a sub-call, whose `outcome`, `ready` and `turns` are those of the rollout that asked
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rlm.events import ROOT, Event, messages_sent

Message = dict[str, Any]


@dataclass(slots=True)
class _Segment:
    messages: list[Message] = field(default_factory=list)
    input_tokens: int = 0
    output_tokens: int = 0
    over: bool = False


@dataclass(slots=True)
class _Rollout:
    depth: int
    model: str | None = None
    sent: list[Message] = field(default_factory=list)
    segments: list[_Segment] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    end: Mapping[str, Any] = field(default_factory=dict)


def transcripts(
    events: Iterable[Event], *, sub_calls: bool = False, outcomes: Collection[str] = ()
) -> Iterator[dict[str, Any]]:
    """The lines of one run, the root's first, from its whole events.

    `outcomes` keeps the rollouts that ended so, with their sub-calls; all by default.
    """
    reader = _Reader(sub_calls)
    for event in events:
        reader.take(event)
    for name, rollout in reader.rollouts.items():
        if not outcomes or rollout.end.get("stop_reason") in outcomes:
            yield from _lines(reader.run_id, name, rollout)


def _lines(run_id: str, name: str, rollout: _Rollout) -> Iterator[dict[str, Any]]:
    end = rollout.end
    outcome = {"outcome": end.get("stop_reason"), "ready": end.get("ready"), "turns": end.get("turns")}
    for number, segment in enumerate(rollout.segments, 1):
        yield {
            "messages": segment.messages,
            "run_id": run_id,
            "rollout": name,
            "depth": rollout.depth,
            "model": rollout.model,
            "segment": number,
            "segments": len(rollout.segments),
            **outcome,
            "answer": end.get("answer"),
            "input_tokens": segment.input_tokens,
            "output_tokens": segment.output_tokens,
        }
    for call in rollout.calls:
        yield {**call, "run_id": run_id, "rollout": name, "depth": rollout.depth + 1, **outcome}


class _Reader:
    """Collects what one trace says of its rollouts."""

    def __init__(self, sub_calls: bool) -> None:
        self.run_id = ""
        self.rollouts: dict[str, _Rollout] = {ROOT: _Rollout(0)}
        self._sub_calls = sub_calls
        self._system = self._tools_system = ""
        self._batches: dict[str, Event] = {}

    def take(self, event: Event) -> None:
        rollout = self.rollouts.get(event.get("rollout", ROOT))
        match event["type"]:
            case "run.started":
                self.run_id, self._system = event["run_id"], event["sub_system"]
            case "tools.opened":
                self._tools_system = event["system"]
            case "run.resumed":
                self.rollouts[ROOT].end = {}
            case "run.completed":
                self.rollouts[ROOT].end = event["result"]
            case "child.started":
                self.rollouts.setdefault(event["rollout"], _Rollout(event["depth"], event["model"]))
            case "child.completed" if rollout:
                rollout.end = event
            case "root.requested" if rollout:
                rollout.sent = messages_sent(rollout.sent, event)
            case "root.completed" if rollout:
                _replied(rollout, event)
            case "compaction.completed" if rollout and event["done"] and rollout.segments:
                rollout.segments[-1].over = True
            case "batch.started":
                self._batches[event["batch"]] = event
            case "call.completed" if rollout and self._sub_calls:
                self._called(rollout, event)

    def _called(self, rollout: _Rollout, event: Event) -> None:
        if event["cached"] or event.get("text") is None or "child" in event:
            return
        rollout.calls.append(
            {
                "messages": [*self._asked(event), {"role": "assistant", "content": event["text"]}],
                "batch": event["batch"],
                "index": event["index"],
                "model": event["model"],
                "answer": event["text"],
                "input_tokens": event["input_tokens"],
                "output_tokens": event["output_tokens"],
            }
        )

    def _asked(self, event: Event) -> list[Message]:
        """The messages of a sub-call's last request."""
        if event.get("messages"):
            return list(event["messages"])
        prompt, own = event["prompt"], {}
        if isinstance(prompt, Mapping):
            prompt, own = prompt.get("prompt", prompt.get("messages")), prompt
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
        batch = self._batches.get(event["batch"], {})
        usual = self._tools_system if batch.get("tools") and own.get("tools") is not False else self._system
        system = own.get("system", batch.get("system", usual))
        if system and messages[0].get("role") != "system":
            messages.insert(0, {"role": "system", "content": system})
        return messages


def _replied(rollout: _Rollout, event: Event) -> None:
    rollout.model = event["model"]
    if not rollout.segments or rollout.segments[-1].over:
        rollout.segments.append(_Segment())
    segment = rollout.segments[-1]
    segment.messages = [*rollout.sent, reply_message(event)]
    segment.input_tokens += event["input_tokens"]
    segment.output_tokens += event["output_tokens"]


def reply_message(event: Event) -> Message:
    """The message of a `root.completed`, as it is sent back with the next request."""
    call = event.get("tool_call")
    if not call:
        return {"role": "assistant", "content": event["text"]}
    # Arguments that are not JSON are never sent back: endpoints refuse them.
    arguments = "{}" if call.get("broken") == "arguments" else call["arguments"]
    function = {"name": call["name"], "arguments": arguments}
    return {
        "role": "assistant",
        "content": event["text"],
        "tool_calls": [{"id": call["id"], "type": "function", "function": function}],
    }
