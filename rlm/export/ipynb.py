"""A run as a notebook (nbformat 4.5): what the root model said, its code, and what that printed.

It can be run again: the first cell loads the input and makes the names of the REPL, see `rlm.notebook`. Texts of models
stand in fenced blocks, so that nothing in them is rendered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rlm.display.text import visible
from rlm.events import ROOT, Event
from rlm.export.redact import Redact
from rlm.trace.reader import Trace

Cell = dict[str, Any]

_WARNING = """\
Running this notebook again executes code that a language model wrote, **in this process and without a sandbox**. Read
it first. What the run asked its sub-models is answered from its record, and costs nothing; anything else goes to the
endpoint. Cells that ended the kernel, or were cut off, are skipped where the tag `skip-execution` counts.
"""
_SETUP = """\
from rlm.notebook import repl

session = repl(
    globals(),
    {folder},
    sha256={hashes},
)"""
_SKIP = frozenset({"died", "timeout", "interrupted"})


def to_ipynb(trace: Trace, *, redact: Redact | None = None) -> str:
    """The notebook's file. `redact` gets each event and returns what is shown in its place.

    Raises `InputError` for a trace that cannot be read.
    """
    events = trace.events()
    cells = list(_cells(map(redact, events) if redact else events, trace))
    notebook = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "language_info": {"name": "python"},
        },
        "cells": cells,
    }
    return json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"


def _cells(events: Iterable[Event], trace: Trace) -> Iterator[Cell]:
    started: Event = {}
    hashes: dict[str, str] = {}
    code: Cell | None = None
    body: list[Cell] = []
    result: Mapping[str, Any] = {}
    for event in events:
        if event["type"] == "run.started":
            started = event
        elif event["type"] == "inputs.hashed":
            hashes = {each["name"]: each["sha256"] for each in event["inputs"]}
        elif event["type"] == "run.completed":
            result = event["result"]
        elif event.get("rollout") != ROOT:
            continue
        elif event["type"] == "compaction.completed" and event["done"]:
            turns = f"{event['first_turn']} to {event['last_turn']}"
            body.append(_markdown(f"handover-{len(body)}", f"The model summed up replies {turns}:", event["handover"]))
        elif event["type"] == "root.completed":
            body += _reply(event, len(body))
        elif event["type"] == "cell.started":
            code = _code(f"turn-{event['turn']}-code", str(event["code"]), event["turn"])
            body.append(code)
        elif event["type"] == "cell.completed" and code is not None:
            _ran(code, event)
    yield _head(started, result, trace.run_id)
    yield _code("setup", _SETUP.format(folder=repr(str(trace.folder)), hashes=_literal(hashes)), None)
    yield from body
    if result.get("answer"):
        yield _markdown("answer", f"The answer ({result['stop_reason']}):", str(result["answer"]))
        yield _code("answer-again", 'print(answer["content"])', None)


def _head(started: Mapping[str, Any], result: Mapping[str, Any], run_id: str) -> Cell:
    facts = {name: started.get(name) for name in ("model", "sub_model", "depth", "sandbox", "settings", "inputs")}
    facts |= {name: result.get(name) for name in ("stop_reason", "turns", "seconds", "cost", "usage")}
    told = json.dumps({"run_id": run_id, **facts}, ensure_ascii=False, indent=1)
    text = (
        f"# A run of `rlm`\n\nThe question:\n\n{_fenced(started.get('question', ''))}\n\n{_fenced(told)}\n\n{_WARNING}"
    )
    return {"cell_type": "markdown", "id": "question", "metadata": {}, "source": text}


def _reply(event: Event, number: int) -> Iterator[Cell]:
    """What the model said beside its code."""
    text, code = str(event["text"]), event.get("code")
    prose = text.rpartition(code)[0].rpartition("```")[0] or ("" if code in text else text) if code else text
    if prose.strip():
        end = "" if code else " (no code, so it was reminded)"
        yield _markdown(f"turn-{event['turn']}-text-{number}", f"Turn {event['turn']}{end}:", prose.strip())


def _ran(cell: Cell, event: Event) -> None:
    """Add what a cell came to."""
    outputs: list[dict[str, Any]] = []
    if event["output"]:
        outputs.append({"output_type": "stream", "name": "stdout", "text": visible(str(event["output"]))})
    if error := event.get("error"):
        trace = visible(str(error["traceback"])).splitlines()
        told = {"ename": visible(str(error["name"])), "evalue": visible(str(error["value"])), "traceback": trace}
        outputs.append({"output_type": "error", **told})
    cell["outputs"] = outputs
    if event["status"] == "error":
        cell["metadata"] = {"tags": ["raises-exception"]}
    elif event["status"] in _SKIP:
        cell["metadata"] = {"tags": ["skip-execution"]}


def _code(id_: str, source: str, count: int | None) -> Cell:
    cell: Cell = {"cell_type": "code", "id": id_, "metadata": {}, "execution_count": count, "outputs": []}
    return {**cell, "source": visible(source)}


def _markdown(id_: str, title: str, text: str) -> Cell:
    return {"cell_type": "markdown", "id": id_, "metadata": {}, "source": f"{title}\n\n{_fenced(text)}"}


def _fenced(text: str) -> str:
    """A block that is shown as it is: with a fence that is longer than any in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{visible(text)}\n{fence}"


def _literal(hashes: Mapping[str, str]) -> str:
    """As Python has it, one line each."""
    if not hashes:
        return "{}"
    return "{\n" + "".join(f"        {name!r}: {value!r},\n" for name, value in hashes.items()) + "    }"
