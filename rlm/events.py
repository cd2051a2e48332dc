"""The events of a run: the single source of progress display, traces, metrics and exports.

An event is a plain dict (no object per call on the hot path) with the common fields

    type      one of the names below
    seq       1, 2, 3 … within the run
    ts        seconds since the epoch
    run_id

and the fields of its type. Sizes are characters, durations seconds, tokens as the endpoint reported.
What happens in a rollout names it in `rollout`: `0` is the root, `0.3` its third child, `0.3.1` that one's first.

    run.started       schema_version, question, model, sub_model, models, sandbox, depth, route (rlm, or llm for a plain
                      call), settings (those that were chosen, without secrets), sub_system (the system prompt of
                      sub-LLMs), limits, inputs (by name: kind, type, source, bytes, characters, files,
                      fingerprint)
    run.resumed       turns, calls (of the record, which are not made again), seconds, usage and cost (so far), and of
                      the run: question, model, sub_model, sandbox, depth, limits
    inputs.hashed     inputs (name, sha256), as soon as everything was read once
    tools.opened      tools (the definitions that sub-LLMs get), system (their system prompt), functions and shipped
                      (those of the REPL), read_only
    child.started     parent, depth, batch, index, key (of the call that it answers), query, model, max_turns
    child.completed   answer, ready, stop_reason, error, turns, input_tokens, output_tokens (with all below it), seconds
    kernel.started    sandbox, seconds
    kernel.died       reason, detail
    kernel.restarted  sandbox_lost, seconds
    turn.started      turn, max_turns
    root.requested    turn, last (the limit that makes it the last request, or null), max_tokens, kept, messages: what
                      is sent are the first `kept` messages of this rollout's last request, and then these
    root.completed    turn, text, code, tool_call, broken, model, input_tokens, output_tokens, estimated, seconds,
                      attempts; plain, if the run is a plain call; else a reply without code is followed by a
                      reminder, and not a turn
    compaction.completed  first_turn, last_turn (the replies that a handover replaced), model, kept, messages (of these
                      two as root.requested has them, what was sent), handover, done, tokens_before, tokens_after,
                      input_tokens, output_tokens, estimated, seconds, attempts
    cell.started      turn, code
    cell.completed    turn, status, output, omitted, error, seconds, active_seconds, variables, notices
    context.read      bytes (of the input that the root's kernel has read so far, known to the page), soon after a cell;
                      never for what cannot be watched: small texts, parsed JSON, files that code opens itself
    cell.diverged     turn, field, expected, got: a cell that was executed again did something else than it had
    batch.started     batch, size, model, kind (plain | recursive), max_tokens, system (if it is not `sub_system`),
                      params, schema, tools, loop (the line of the serial loop that it is ahead of)
    call.replied      batch, index, key, text, tool_calls, finish_reason, model, input_tokens, output_tokens, estimated,
                      attempts: a reply of a sub-LLM that is not its last one; what it took is part of call.completed
    tool.completed    batch, index, key, name, arguments, output, failed, seconds
    function.completed  name, args, kwargs, result, failed (why, or null), seconds
    call.completed    batch, index, key, prompt, text | error, data, model, input_tokens, output_tokens,
                      estimated, cached, seconds (since it was asked for), waited (of these, for a place), attempts,
                      cache (false if no earlier reply would do); of a sub-LLM that took more than one request:
                      messages, turns, tool_calls; of a child: child (its rollout; its turns count there), turns,
                      ready, stop_reason; depth_limited, if it stands for a child that there can be none of
    batch.completed   batch, ok, failed, cached, cancelled, seconds
                      A call that made no request (from the memo, refused, cancelled) has neither prompt nor
                      text, and beyond the first 5,000 of a cell it is only counted here.
    answer.changed    version, content, ready
    notice            text              something the user should know
    protocol.error    detail            the sandbox broke the wire protocol
    run.completed     result            the object of `RunResult.to_dict()`

In the trace file, an event with long texts has excerpts in their places, and `blobs` (see `rlm.trace.blobs`).
Tokens of input that the endpoint read from its cache are told as `cached_input_tokens`, if there were any.

A live display also gets `root.delta` (turn, text): it is not written to the trace. Where a run is executed again from
its trace, what comes from there has `past`: true.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any

SCHEMA_VERSION = 1

Event = dict[str, Any]
Sink = Callable[[Event], None]

ROOT = "0"
"""The name of the root's rollout; that of its third child is `0.3`."""

COMMON = ("type", "seq", "ts", "run_id")
"""The fields of every event."""

TRANSIENT = frozenset({"root.delta"})
"""Shown live, never written down."""


def identity(event: Event) -> tuple[Any, ...] | None:
    """What an event is about, the same when a cell is executed again; None for one that may come many times."""
    type_ = event["type"]
    match type_:
        case "run.started" | "inputs.hashed" | "tools.opened":
            return (type_,)
        case "turn.started" | "cell.started" | "cell.completed":
            return (type_, event["rollout"], event["turn"])
        case "answer.changed":
            return (type_, event["rollout"], event["version"])
        case "child.started" | "child.completed":
            return (type_, event["rollout"])
        case "batch.started" | "batch.completed":
            return (type_, event["batch"])
        case "call.completed":
            return (type_, event["batch"], event["index"])
    return None


def below_root(event: Event) -> bool:
    """Whether it is of a child, at any depth."""
    return "." in str(event.get("rollout", ROOT))


def messages_sent(before: list[Any], event: Event) -> list[Any]:
    """All messages of a `root.requested`, from those of the same rollout's request `before`."""
    return [*before[: event["kept"]], *event["messages"]]


class EventLog:
    """Numbers and stamps events and hands each to every sink, in order, on the caller's thread.

    A run that is taken up again goes on after `seq`, and does not tell a second time what is `known` (see `identity`)
    or comes from the record (`past`).
    """

    def __init__(
        self, run_id: str, *sinks: Sink, seq: int = 0, known: Collection[tuple[Any, ...]] | None = None
    ) -> None:
        self.run_id = run_id
        self._sinks = list(sinks)
        self._seq = seq
        self._known = known
        self._held: list[tuple[str, dict[str, Any]]] | None = None

    def record_to(self, sink: Sink) -> None:
        """Have `sink` get each event before all others: what is shown is on record, or it was told that it is not."""
        self._sinks.insert(0, sink)

    def hold(self) -> None:
        """Keep the events back, for a run that is not to begin yet."""
        self._held = []

    def release(self) -> None:
        """Hand on what was kept back, as if it happened now, and hold back nothing more."""
        held, self._held = self._held or [], None
        for type_, fields in held:
            self.emit(type_, **fields)

    @property
    def holding(self) -> bool:
        return self._held is not None

    def emit(self, type_: str, /, **fields: Any) -> None:
        if self._held is not None:
            self._held.append((type_, fields))
            return
        if self._known is not None and (fields.get("past") or identity({"type": type_, **fields}) in self._known):
            return
        self._seq += 1
        event: Event = {"type": type_, "seq": self._seq, "ts": time.time(), "run_id": self.run_id, **fields}
        for sink in self._sinks:
            sink(event)
