"""What `rlm runs show` tells of a run."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rlm.commands.runlist import table
from rlm.display.narrate import summary as ending
from rlm.display.text import duration, one_line, size
from rlm.events import Event
from rlm.metrics import of as metrics_of
from rlm.trace import blobs, summary
from rlm.trace.reader import Trace
from rlm.trace.store import BLOBS
from rlm.trace.story import Open, Story
from rlm.trace.summary import RUNNING, Summary

CUT_LINES = 20
CUT_LINE = 200
_TURNS = ("TURN", "CODE", "CELL", "MODEL", "RUN", "BATCHES", "CALLS", "ROOT TOKENS", "SUB TOKENS")


@dataclass(frozen=True)
class View:
    """One run, read from its trace."""

    trace: Trace
    outline: Summary
    story: Story
    metrics: Mapping[str, Any]

    @classmethod
    def of(cls, trace: Trace) -> View:
        """Raises `InputError` for a trace that cannot be read."""
        story = Story.of(trace.events(whole=False))
        if story.result is not None:
            story.result = trace.result() or story.result  # with the whole answer
        outline = summary.read(trace.folder).now(trace.folder.parent)
        metrics = (story.result or {}).get("metrics") or metrics_of(trace.events(whole=False)).to_dict()
        return cls(trace, outline, story, metrics)

    @property
    def unfinished(self) -> list[Open]:
        return self.story.unfinished(time.time() if self.outline.status == RUNNING else None)

    def to_dict(self) -> dict[str, Any]:
        begun = self._begun()
        told = ("question", "model", "sub_model", "sandbox", "depth", "limits", "inputs")
        return {
            "run_id": self.trace.run_id,
            "folder": str(self.trace.folder),
            "status": self.outline.status,
            "started": self.outline.started,
            **{name: begun.get(name) for name in told},
            "result": self.story.result,
            "turns": [turn.to_dict() for turn in self.story.turns.values()],
            "unfinished": [each.to_dict() for each in self.unfinished],
            "metrics": dict(self.metrics),
        }

    def lines(self, *, full: bool = False) -> Iterator[str]:
        """As text; the question and the answer are cut unless `full`."""
        begun, result = self._begun(), self.story.result
        yield f"run {self.trace.run_id}"
        yield from _text("question", str(begun.get("question", "")), full)
        model, sub_model, sandbox, depth = (
            one_line(str(begun.get(name)), 80) for name in ("model", "sub_model", "sandbox", "depth")
        )
        yield f"model {model}, sub-model {sub_model}, depth {depth}, sandbox {sandbox}"
        yield from map(_input, begun.get("inputs") or ())
        if result is not None:
            yield from (line.text for line in ending(result))
            if result.get("error"):
                yield f"error: {one_line(str(result['error']['message']), CUT_LINE)}"
        else:
            seconds = "" if self.outline.seconds is None else f", {duration(self.outline.seconds)} of events"
            turns = f"{self.outline.turns} turn{'' if self.outline.turns == 1 else 's'}"
            yield f"{self.outline.status}: {turns}, {self.outline.calls:,} sub-calls{seconds}"
        yield from self._turns()
        yield from self._open()
        if self.metrics:
            yield ""
            yield from (f"{name:<28}  {value}" for name, value in _flat(self.metrics))
        if result is not None and result["answer"]:
            yield ""
            yield from _text("answer", str(result["answer"]), full)

    def _begun(self) -> Event:
        return blobs.restore(dict(self.story.begun), self.trace.folder / BLOBS)

    def _turns(self) -> Iterator[str]:
        if not self.story.turns:
            return
        rows = [
            (
                str(turn.turn),
                f"{turn.code_lines} lines",
                one_line(turn.cell, 20) or "-",
                duration(turn.model_seconds),
                duration(turn.cell_seconds),
                f"{turn.batches:,}",
                f"{turn.calls:,}",
                f"{turn.root_tokens:,}",
                f"{turn.sub_tokens:,}",
            )
            for turn in self.story.turns.values()
        ]
        yield ""
        yield from table([_TURNS, *rows], right={*_TURNS} - {"CELL"}, width=CUT_LINE)

    def _open(self) -> Iterator[str]:
        unfinished = self.unfinished
        if unfinished:
            yield ""
            yield "under way:" if self.outline.status == RUNNING else "under way when it ended:"
        for each in unfinished:
            what = {"request": "the model's reply"}.get(each.kind, each.kind)
            detail = f": {one_line(each.detail, 100)}" if each.detail else ""
            yield f"  rollout {each.rollout}, turn {each.turn}: {what}, for {duration(each.seconds)}{detail}"


def _input(item: Any) -> str:
    if not isinstance(item, Mapping):
        return f"input: {one_line(str(item), CUT_LINE)}"
    amount = f", {size(item['bytes'])}" if isinstance(item.get("bytes"), int) else ""
    files = f", {item['files']:,} files" if isinstance(item.get("files"), int) and item["files"] > 1 else ""
    return (
        f"input: {one_line(str(item.get('source') or item.get('name')), CUT_LINE)} ({item.get('kind')}{amount}{files})"
    )


def _text(name: str, text: str, full: bool) -> Iterator[str]:
    """A text under its name; without `full` only its beginning."""
    lines = text.strip().splitlines()
    if not full:
        more = len(lines) - CUT_LINES
        lines = [line if len(line) <= CUT_LINE else f"{line[:CUT_LINE]}…" for line in lines[:CUT_LINES]]
        lines += [f"… {more:,} more lines (--full)"] if more > 0 else []
    if len(lines) <= 1:
        yield f"{name}: {''.join(lines)}"
        return
    yield f"{name}:"
    yield from (f"  {line}" for line in lines)


def _flat(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{above}{name}.")
        else:
            shown = f"{inner:,}" if isinstance(inner, int) else f"{inner:,.3f}" if isinstance(inner, float) else inner
            yield one_line(f"{above}{name}", 60), "-" if inner is None else one_line(str(shown), CUT_LINE)
