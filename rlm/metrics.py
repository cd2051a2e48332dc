"""What a run came to in figures, computed from its events alone: live, or from a trace.

    root_turns, sub_turns               turns of the root; of children, and of sub-LLMs with tools
    root_input_tokens, root_output_tokens, sub_input_tokens, sub_output_tokens
    root_calls, sub_calls               requests made, retries included
    children, batches, batch_size_mean, batch_size_max
    cells, cells_failed                 of all rollouts; failed is every status but `ok`
    cell_seconds, cell_seconds_mean, cell_seconds_max, cell_active_seconds
    sub_latency_p50, _p90, _p99         seconds of a sub-call once it had a place; null without any
    errors                              failed sub-calls by kind
    retries                             requests beyond those that were needed
    cached                              sub-calls that were answered from the memo
    compactions, tool_calls, tool_failures, kernel_deaths
    reminders                           replies without code, which are no turns
    context_bytes, context_read_share   size of the input, and the share of it that the root's code has looked at;
                                        null where that is not known

Requests of a root or a child that failed leave no event: `usage` of the result counts them, this table does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rlm.events import ROOT, Event, below_root

PERCENTILES = (50, 90, 99)


class Metrics:
    """A sink of events; `to_dict()` tells the figures so far. Keeps one number per sub-call, and no texts.

    Events that are `past` (told once more when a run is taken up again) do not count.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._batch_sizes = self._batch_max = 0
        self._cell_seconds = self._cell_max = self._cell_active = 0.0
        self._latencies: list[float] = []
        self._context_bytes = 0
        self._read: int | None = None
        self._last: set[str] = set()
        """Rollouts whose open request is their last one."""

    def __call__(self, event: Event) -> None:
        fold = _FOLDS.get(event["type"])
        if fold is not None and not event.get("past"):
            fold(self, event)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; see the module's docstring. Seconds are rounded to the millisecond."""
        counts = self._counts
        cells, batches = counts["cells"], counts["batches"]
        latencies = sorted(self._latencies)
        read, size = self._read, self._context_bytes
        return {
            **{name: counts[name] for name in _COUNTED},
            "batch_size_mean": round(self._batch_sizes / batches, 3) if batches else None,
            "batch_size_max": self._batch_max if batches else None,
            "cell_seconds": round(self._cell_seconds, 3),
            "cell_seconds_mean": round(self._cell_seconds / cells, 3) if cells else None,
            "cell_seconds_max": round(self._cell_max, 3) if cells else None,
            "cell_active_seconds": round(self._cell_active, 3),
            **{f"sub_latency_p{percent}": _percentile(latencies, percent) for percent in PERCENTILES},
            "errors": dict(sorted(self._errors.items())),
            "context_bytes": size,
            "context_read_share": round(min(1.0, read / size), 6) if read is not None and size else None,
        }

    # --- one method per event type

    def _run_started(self, event: Event) -> None:
        inputs = event.get("inputs") or ()
        self._context_bytes = sum(each.get("bytes") or 0 for each in inputs if isinstance(each, Mapping))

    def _requested(self, event: Event) -> None:
        if event.get("last"):
            self._last.add(_rollout(event))

    def _replied(self, event: Event) -> None:
        self._spend(event, _account(event))
        last = _rollout(event) in self._last
        self._last.discard(_rollout(event))
        if event.get("code") is not None or event.get("plain") or last:
            self._counts[f"{_account(event)}_turns"] += 1
        else:
            self._counts["reminders"] += 1
        self._counts["retries"] += max(0, (event.get("attempts") or 0) - 1)

    def _compacted(self, event: Event) -> None:
        self._spend(event, _account(event))
        self._counts["compactions"] += bool(event.get("done"))
        self._counts["retries"] += max(0, (event.get("attempts") or 0) - 1)

    def _cell(self, event: Event) -> None:
        seconds = event.get("seconds") or 0.0
        self._counts["cells"] += 1
        self._counts["cells_failed"] += event.get("status") != "ok"
        self._cell_seconds += seconds
        self._cell_max = max(self._cell_max, seconds)
        self._cell_active += event.get("active_seconds") or 0.0

    def _looked(self, event: Event) -> None:
        if not below_root(event):
            self._read = max(self._read or 0, event["bytes"])

    def _batch(self, event: Event) -> None:
        self._counts["batches"] += 1
        self._batch_sizes += event["size"]
        self._batch_max = max(self._batch_max, event["size"])

    def _batch_over(self, event: Event) -> None:
        # Not of `call.completed`: of very many memo hits only the first ones have an event of their own.
        self._counts["cached"] += event.get("cached") or 0

    def _call(self, event: Event) -> None:
        if error := event.get("error"):
            self._errors[str(error["kind"])] += 1
        if event.get("cached"):
            return
        self._spend(event, "sub")
        if event.get("child"):
            return  # its turns are told by events of their own
        if attempts := event.get("attempts") or 0:
            self._latencies.append(max(0.0, (event.get("seconds") or 0.0) - (event.get("waited") or 0.0)))
            self._counts["retries"] += max(0, attempts - _requests(event))
        self._counts["sub_turns"] += event.get("turns") or 0

    def _tool(self, event: Event) -> None:
        self._counts["tool_calls"] += 1
        self._counts["tool_failures"] += bool(event.get("failed"))

    def _child(self, event: Event) -> None:
        self._counts["children"] += 1

    def _died(self, event: Event) -> None:
        self._counts["kernel_deaths"] += 1

    def _spend(self, event: Event, account: str) -> None:
        self._counts[f"{account}_input_tokens"] += event.get("input_tokens") or 0
        self._counts[f"{account}_output_tokens"] += event.get("output_tokens") or 0
        self._counts[f"{account}_calls"] += event.get("attempts") or 0


def of(events: Iterable[Event]) -> Metrics:
    """The figures of a trace's events, whole or with excerpts."""
    metrics = Metrics()
    for event in events:
        metrics(event)
    return metrics


_COUNTED = (
    *("root_turns", "sub_turns", "root_input_tokens", "root_output_tokens", "sub_input_tokens", "sub_output_tokens"),
    *("root_calls", "sub_calls", "children", "batches", "cells", "cells_failed", "retries", "cached", "compactions"),
    *("tool_calls", "tool_failures", "kernel_deaths", "reminders"),
)

_FOLDS: dict[str, Callable[[Metrics, Event], None]] = {
    "run.started": Metrics._run_started,
    "root.requested": Metrics._requested,
    "root.completed": Metrics._replied,
    "compaction.completed": Metrics._compacted,
    "cell.completed": Metrics._cell,
    "context.read": Metrics._looked,
    "batch.started": Metrics._batch,
    "batch.completed": Metrics._batch_over,
    "call.completed": Metrics._call,
    "tool.completed": Metrics._tool,
    "child.started": Metrics._child,
    "kernel.died": Metrics._died,
}


def _rollout(event: Event) -> str:
    return str(event.get("rollout", ROOT))


def _account(event: Event) -> str:
    return "sub" if below_root(event) else "root"


def _requests(event: Event) -> int:
    """How many requests a sub-LLM's call needed: one, or as many as it said something."""
    if turns := event.get("turns"):
        return int(turns)
    prompt = event.get("prompt")
    asked = prompt.get("messages", ()) if isinstance(prompt, dict) else prompt if isinstance(prompt, list) else ()
    return 1 + max(0, _replies(event.get("messages") or ()) - _replies(asked))


def _replies(messages: Iterable[Any]) -> int:
    return sum(isinstance(message, Mapping) and message.get("role") == "assistant" for message in messages)


def _percentile(values: list[float], percent: int) -> float | None:
    """By nearest rank: the least of the sorted `values` that so many percent are not above."""
    return round(values[max(1, -(-len(values) * percent // 100)) - 1], 3) if values else None
