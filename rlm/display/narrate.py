"""The lines in which a run is told, one function per event type; displays choose colours, not words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from rlm.display.progress import Progress, is_of_child
from rlm.display.spending import Tally
from rlm.display.text import duration, first_lines, one_line, visible
from rlm.events import Event

WIDTH = 110
CODE_LINES = 8
OUTPUT_LINES = 4

Tone = Literal["head", "live", "text", "quiet", "good", "odd", "bad"]


class Line(NamedTuple):
    """One line, fit to be shown, and how it is meant."""

    text: str
    tone: Tone = "quiet"
    wrap: bool = True
    """Whether all of it matters where there is little room; else its end may be cut."""


def narrate(event: Event, progress: Progress) -> list[Line]:
    """What to say about `event`, which `progress` has seen already; often nothing."""
    tell = (_TELL_OF_CHILD if is_of_child(event) else _TELL).get(event["type"])
    return tell(event, progress) if tell else []


def _run_started(event: Event, progress: Progress) -> list[Line]:
    lines = [Line(f"question: {progress.question}", "text")]
    lines += [Line(f"model {progress.model}, sub-model {progress.sub_model}, sandbox {progress.sandbox}")]
    if inputs := _inputs(event.get("inputs")):
        lines += [Line(f"input: {inputs}")]
    return lines


def _run_resumed(event: Event, progress: Progress) -> list[Line]:
    done = f"{event['turns']:,} turns, {event['calls']:,} sub-calls, {duration(event['seconds'])}"
    return [*_run_started(event, progress), Line(f"taken up again after {done}")]


def _inputs(inputs: Any) -> str:
    """Their names; all else about them is the input preparation's affair."""
    items = inputs if isinstance(inputs, list | tuple) else []
    names = [str(item.get("name", "")) if isinstance(item, Mapping) else str(item) for item in items]
    return one_line(", ".join(name for name in names if name), WIDTH)


def _tools_opened(event: Event, _: Progress) -> list[Line]:
    functions = [tool.get("function", tool) for tool in event.get("tools") or () if isinstance(tool, Mapping)]
    names = ", ".join(str(function.get("name", "?")) for function in functions if isinstance(function, Mapping))
    return [Line(f"tools of sub-LLMs: {one_line(names, WIDTH)}")] if names else []


def _kernel_started(event: Event, progress: Progress) -> list[Line]:
    return [Line(f"sandbox {progress.sandbox} ready in {duration(event['seconds'])}")]


def _kernel_died(event: Event, _: Progress) -> list[Line]:
    return [Line(f"the kernel died ({visible(str(event['reason']))}): {one_line(str(event['detail']), 300)}", "bad")]


def _kernel_restarted(event: Event, _: Progress) -> list[Line]:
    return [Line(f"a fresh kernel after {duration(event['seconds'])}")]


def _turn_started(event: Event, _: Progress) -> list[Line]:
    return [Line(f"turn {event['turn']}/{event['max_turns']}", "head")]


def _root_completed(event: Event, _: Progress) -> list[Line]:
    return [] if event.get("code") or event.get("plain") else [Line("  a reply without code", "odd")]


def _compaction_completed(event: Event, _: Progress) -> list[Line]:
    if not event["done"]:
        return [Line("note: older turns could not be summed up: an empty reply", "odd")]
    before, after = event["tokens_before"], event["tokens_after"]
    return [Line(f"  older turns summed up: about {before:,} tokens become {after:,}")]


def _cell_started(event: Event, _: Progress) -> list[Line]:
    return [Line(f"  │ {line}", wrap=False) for line in first_lines(str(event["code"]), CODE_LINES, WIDTH)]


def _cell_completed(event: Event, _: Progress) -> list[Line]:
    error = event.get("error")
    name = f" ({one_line(str(error['name']), 60)})" if isinstance(error, Mapping) and error.get("name") else ""
    size = len(event.get("output") or "") + (event.get("omitted") or 0)
    status = visible(str(event["status"]))
    text = f"  cell {status}{name} in {duration(event['seconds'])}, {size:,} characters of output"
    output = first_lines(str(event.get("output") or ""), OUTPUT_LINES, WIDTH)
    return [*(Line(f"  > {line}", wrap=False) for line in output), Line(text, "good" if status == "ok" else "odd")]


def _cell_diverged(event: Event, _: Progress) -> list[Line]:
    expected, got = (one_line(str(event.get(name)), 120) for name in ("expected", "got"))
    whose = f" of child {visible(str(event['rollout']))}" if is_of_child(event) else ""
    what = f"the cell of turn {event['turn']}{whose} was executed again and has another {event['field']}"
    return [Line(f"note: {what}: {got}, where the record has {expected}", "odd")]


def _batch_started(event: Event, progress: Progress) -> list[Line]:
    model = visible(str(event.get("model") or progress.sub_model))
    what = "children with" if event.get("kind") == "recursive" else "sub-calls to"
    loop = f", ahead of the loop in line {event['loop']}" if event.get("loop") else ""
    return [Line(f"  batch: {event['size']:,} {what} {model}{loop}")]


def _child_completed(event: Event, _: Progress) -> list[Line]:
    reason, name = str(event["stop_reason"]), visible(str(event["rollout"]))
    end = "answered" if reason == "answered" else f"stopped: {reason}"
    turns = f"{event['turns']} turn{'' if event['turns'] == 1 else 's'}"
    tone: Tone = "quiet" if reason == "answered" else "odd"
    return [Line(f"    child {name} {end}, {turns}, {duration(event['seconds'])}", tone)]


def _batch_completed(event: Event, _: Progress) -> list[Line]:
    parts = [f"{event['ok']:,} ok"]
    parts += [f"{event[name]:,} {name}" for name in ("failed", "cached", "cancelled") if event.get(name)]
    text = f"  batch done in {duration(event['seconds'])}: {', '.join(parts)}"
    return [Line(text, "bad" if event.get("failed") else "good")]


def _answer_changed(event: Event, _: Progress) -> list[Line]:
    return [Line("  the answer is ready" if event.get("ready") else "  a draft of the answer")]


def _notice(event: Event, _: Progress) -> list[Line]:
    return [Line(f"note: {one_line(str(event['text']), 400)}", "odd")]


def _protocol_error(event: Event, _: Progress) -> list[Line]:
    return [Line(f"note: the sandbox broke the protocol: {one_line(str(event['detail']), 200)}", "bad")]


def _run_completed(event: Event, _: Progress) -> list[Line]:
    return summary(event["result"])


_TELL: dict[str, Callable[[Event, Progress], list[Line]]] = {
    "run.started": _run_started,
    "run.resumed": _run_resumed,
    "tools.opened": _tools_opened,
    "kernel.started": _kernel_started,
    "kernel.died": _kernel_died,
    "kernel.restarted": _kernel_restarted,
    "turn.started": _turn_started,
    "root.completed": _root_completed,
    "compaction.completed": _compaction_completed,
    "cell.started": _cell_started,
    "cell.completed": _cell_completed,
    "cell.diverged": _cell_diverged,
    "batch.started": _batch_started,
    "batch.completed": _batch_completed,
    "answer.changed": _answer_changed,
    "notice": _notice,
    "protocol.error": _protocol_error,
    "run.completed": _run_completed,
}


_TELL_OF_CHILD: dict[str, Callable[[Event, Progress], list[Line]]] = {
    "cell.diverged": _cell_diverged,
    "child.completed": _child_completed,
    "protocol.error": _protocol_error,
}


def summary(result: Mapping[str, Any]) -> list[Line]:
    """How a run ended; `result` is the object of `RunResult.to_dict()`."""
    answered = result["stop_reason"] == "answered"
    end = "answered" if answered else f"stopped: {result['stop_reason']}"
    turns = f"{result['turns']} turn{'' if result['turns'] == 1 else 's'}"
    price = "n/a" if result["cost"] is None else f"{result['cost']:.4f}"
    usage = result["usage"]
    lines = [
        Line(f"{end}, {turns}, {duration(result['seconds'])}, cost {price}", "good" if answered else "odd"),
        Line(f"tokens: root {Tally.of(usage['root'])}; sub {Tally.of(usage['sub'])}"),
    ]
    if result.get("trace"):
        lines.append(Line(f"trace: {visible(str(result['trace']))}"))
    return lines
