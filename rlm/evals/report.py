"""The report of an evaluation: tables and figures from its rows, as `report.md` and `report.html`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlm.errors import RLMError
from rlm.evals import plots
from rlm.evals.document import Image, Section, Table, to_html, to_markdown
from rlm.evals.rows import Row
from rlm.evals.scripted import MODELS
from rlm.evals.stats import Estimate
from rlm.evals.summary import Cell, Difference, by_info, by_size, cells, differences, overall

TITLE = "Evaluation"
GROUPS = ("variant", "kind", "split", "task", "type")
"""Names in `info` by which tables are split, where tasks have them."""
MAX_GROUPS = 12
SHOWN_ERRORS = 20
ERROR_CHARS = 200

READING = (
    "Reward is the mean over the tasks, with its 95 % interval: Wilson's where each task is worth 0 or 1, else the "
    "bootstrap's over tasks. Runs that could not be carried out are counted as errors and are in no mean; an input "
    "that fits no prompt of the model is a reward of 0. Tokens, seconds and cost are means per run."
)
PAIRED = (
    "Of the tasks that both arms have: the mean of the difference, with the bootstrap's 95 % interval. Where it holds "
    "0, these tasks do not tell the two apart."
)
SCRIPTED_NOTE = (
    "Scripted models have played the models: this shows that the machinery works, and says nothing about any LLM."
)
NOTHING = "-"


def write_report(rows: Sequence[Row], folder: Path, *, command: str = "") -> list[Path]:
    """Write `report.md`, `report.html` and, with matplotlib, `plots/`; returns the files of the report.

    `command` is what made the rows. Raises `RLMError` for a folder that cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = cells(rows)
        sections = sections_of(rows, found, command)
        if plots.available() and any(cell.good for cell in found):
            images = [Image(f"plots/{plot.file}", plot.text) for plot in plots.draw(found, folder / "plots")]
            sections.insert(2, Section("Figures", images))
        written = [folder / "report.md", folder / "report.html"]
        written[0].write_text(to_markdown(TITLE, sections), encoding="utf-8", errors="backslashreplace")
        page = to_html(TITLE, sections, folder=folder)
        written[1].write_text(page, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise RLMError(f"cannot write the report to {folder}: {error.strerror or error}") from error
    return written


def sections_of(rows: Sequence[Row], found: Sequence[Cell], command: str) -> list[Section]:
    """All but the figures."""
    sections = [_about(rows, command), Section("Results", [READING, _results(found)])]
    if len({cell.env for cell in found}) > 1:
        note = "Over all tasks of all environments; each task counts once, so larger environments weigh more."
        sections.append(Section("All environments together", [note, _results(overall(found))]))
    if pairs := differences(found):
        head = ["environment", "arm", "against", "difference", "95 % interval", "tasks", "better", "worse"]
        lines = [_pair(each) for each in pairs]
        sections.append(Section("Paired differences", [PAIRED, Table(head, lines, left=3)]))
    sections.append(Section("Tokens", [_tokens(found)]))
    sizes = [
        [cell.env, cell.arm, f"{point.low:,} to {point.high - 1:,}", str(point.reward.n), *_reward(point.reward)]
        for cell in found
        if len(by_size(cell)) > 1
        for point in by_size(cell)
    ]
    if sizes:
        head = ["environment", "arm", "characters of input", "tasks", "reward", "95 % interval"]
        sections.append(Section("Reward by size of the input", [Table(head, sizes, left=2)]))
    sections += _groups(found)
    return [*sections, *_metrics(found), *_errors(rows)]


def _about(rows: Sequence[Row], command: str) -> Section:
    models = ", ".join(dict.fromkeys(f"{row.model} (sub: {row.sub_model or row.model})" for row in rows)) or "none"
    seeds = ", ".join(map(str, dict.fromkeys(row.seed for row in rows))) or "none"
    lines = [f"{len(rows):,} runs. Models: {models}. Seeds: {seeds}."]
    if any(row.model in MODELS for row in rows):
        lines.append(SCRIPTED_NOTE)
    if any(row.estimated for row in rows):
        lines.append("Some of the tokens are estimates: the endpoint did not report them.")
    if command:
        lines.append(f"Made by: {command}")
    return Section("What was run", lines)


def _results(found: Sequence[Cell]) -> Table:
    head = ["environment", "arm", "runs", "errors", "reward", "95 % interval"]
    head += ["root tokens", "sub tokens", "reward per 1k root tokens", "seconds", "turns", "cost"]
    return Table(head, [_result(cell) for cell in found], left=2)


def _result(cell: Cell) -> list[str]:
    start = [cell.env, cell.arm, str(len(cell.rows)), str(cell.errors)]
    if cell.reward is None:
        return [*start, *[NOTHING] * 8]
    sub = cell.mean("sub_input") + cell.mean("sub_output")
    efficiency = NOTHING if cell.efficiency is None else f"{cell.efficiency:.3g}"
    cost = NOTHING if cell.cost is None else f"{cell.cost:.4f}"
    spent = [f"{cell.root_tokens:,.0f}", f"{sub:,.0f}", efficiency, f"{cell.mean('seconds'):.1f}"]
    return [*start, *_reward(cell.reward), *spent, f"{cell.mean('turns'):.1f}", cost]


def _pair(each: Difference) -> list[str]:
    names = [each.env, each.second, each.first]
    counts = map(str, (each.reward.n, each.better, each.worse))
    return [*names, f"{each.reward.mean:+.3f}", _range(each.reward, sign=True), *counts]


def _tokens(found: Sequence[Cell]) -> Table:
    names = ("root_input", "root_output", "sub_input", "sub_output", "sub_calls")
    head = ["environment", "arm", "root, prompt", "root, completion", "sub, prompt", "sub, completion", "sub-calls"]
    return Table(head, [[cell.env, cell.arm, *(f"{cell.mean(name):,.0f}" for name in names)] for cell in found], left=2)


def _groups(found: Sequence[Cell]) -> list[Section]:
    sections = []
    for name in GROUPS:
        groups = by_info(found, name)
        if not 1 < len(groups) <= MAX_GROUPS:
            continue
        lines = [
            [value, cell.env, cell.arm, str(len(cell.good)), *_reward(cell.reward)]
            for value, group in groups.items()
            for cell in group
            if cell.reward
        ]
        head = [name, "environment", "arm", "tasks", "reward", "95 % interval"]
        sections.append(Section(f"Reward by {name}", [Table(head, lines, left=3)]))
    return sections


def _metrics(found: Sequence[Cell]) -> list[Section]:
    """The scorers' further figures, as means."""
    lines = []
    for cell in found:
        for name in dict.fromkeys(name for row in cell.good for name in row.metrics):
            values = [row.metrics[name] for row in cell.good if name in row.metrics]
            lines.append([cell.env, cell.arm, name, str(len(values)), f"{sum(values) / len(values):.3f}"])
    table = Table(["environment", "arm", "metric", "tasks", "mean"], lines, left=3)
    return [Section("Further metrics", [table])] if lines else []


def _errors(rows: Sequence[Row]) -> list[Section]:
    failed = [row for row in rows if row.error is not None]
    if not failed:
        return []
    lines = [[row.env, row.arm, row.task_id or str(row.index), row.run_id, _cut(row.error or "")] for row in failed]
    parts: list[str | Table | Image] = [
        Table(["environment", "arm", "task", "run", "error"], lines[:SHOWN_ERRORS], left=5)
    ]
    if len(lines) > SHOWN_ERRORS:
        parts.append(f"And {len(lines) - SHOWN_ERRORS:,} more in the rows.")
    return [Section("Errors", parts)]


def _cut(text: str) -> str:
    return text if len(text) <= ERROR_CHARS else text[:ERROR_CHARS] + "…"


def _reward(reward: Estimate) -> list[str]:
    return [f"{reward.mean:.3f}", _range(reward)]


def _range(found: Estimate, *, sign: bool = False) -> str:
    if sign and found.n < 2:
        return NOTHING
    form = "+.3f" if sign else ".3f"
    return f"{found.low:{form}} to {found.high:{form}}"
