"""The figures of a report, as PNG files; needs matplotlib (extra `evals`).

Colours are Okabe and Ito's, which colour-blind readers can tell apart; arms differ in hatching or marker as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rlm.evals.stats import Estimate, bootstrap
from rlm.evals.summary import Cell, by_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo", "--")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
TOKENS = (
    ("root_input", "root, prompt", "#0072B2", ""),
    ("root_output", "root, completion", "#56B4E9", "//"),
    ("sub_input", "sub-LLMs, prompt", "#D55E00", ""),
    ("sub_output", "sub-LLMs, completion", "#F0E442", "//"),
)
DPI = 130


class Plot(NamedTuple):
    """A figure that was drawn."""

    file: str
    text: str


def available() -> bool:
    """Whether matplotlib is installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return False
    return True


def draw(cells: Sequence[Cell], folder: Path) -> list[Plot]:
    """Draw what these cells have to show into `folder`; returns the files' names."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, text, make in _PLOTS:
        figure = make(cells)
        if figure is None:
            continue
        FigureCanvasAgg(figure)
        figure.savefig(folder / f"{name}.png", dpi=DPI, bbox_inches="tight")
        drawn.append(Plot(f"{name}.png", text))
    return drawn


def _envs(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(cell.env for cell in cells))


def _arms(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(cell.arm for cell in cells))


def _looks(arms: Sequence[str], looks: Sequence[str]) -> dict[str, str]:
    return dict(zip(arms, islice(cycle(looks), len(arms)), strict=True))


def _new(width: float, height: float = 4.2) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _grouped(cells: Sequence[Cell], value: Callable[[Cell], Estimate | None], label: str) -> Figure | None:
    """Bars with intervals: a group for each environment, a bar for each arm."""
    envs, arms = _envs(cells), _arms(cells)
    colours, hatches = _looks(arms, COLOURS), _looks(arms, HATCHES)
    figure, axes = _new(max(6.0, 1.2 + len(envs) * (0.5 + 0.32 * len(arms))))
    width, any_drawn = 0.8 / len(arms), False
    for cell in cells:
        if (found := value(cell)) is None:
            continue
        any_drawn = True
        number = arms.index(cell.arm)
        x = envs.index(cell.env) + (number - (len(arms) - 1) / 2) * width
        look: dict[str, Any] = {"color": colours[cell.arm], "hatch": hatches[cell.arm], "edgecolor": "white"}
        axes.bar(x, found.mean, width * 0.94, linewidth=0.5, **look)
        interval = [[max(0.0, found.mean - found.low)], [max(0.0, found.high - found.mean)]]
        if found.low == found.high:
            continue
        axes.errorbar(x, found.mean, yerr=interval, fmt="none", ecolor="#333333", capsize=2.5, linewidth=1)
    axes.set_xticks(range(len(envs)), envs)
    axes.set_ylabel(label)
    axes.set_ylim(bottom=0)
    _arm_legend(axes, arms)
    return figure if any_drawn else None


def _arm_legend(axes: Axes, arms: Sequence[str]) -> None:
    from matplotlib.patches import Patch

    colours, hatches = _looks(arms, COLOURS), _looks(arms, HATCHES)
    patches = [Patch(facecolor=colours[arm], hatch=hatches[arm], edgecolor="white", label=arm) for arm in arms]
    _legend(axes, patches)


def _legend(axes: Axes, handles: Sequence[Any]) -> None:
    # Above the axes, where it hides no bar.
    columns = min(4, len(handles))
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.01), ncols=columns, frameon=False, fontsize=9)


def _reward(cells: Sequence[Cell]) -> Figure | None:
    figure = _grouped(cells, lambda cell: cell.reward, "mean reward, with its 95 % interval")
    if figure:
        figure.axes[0].set_ylim(0, 1.03)
    return figure


def _seconds(cells: Sequence[Cell]) -> Figure | None:
    return _grouped(cells, lambda cell: _interval([row.seconds for row in cell.good]), "seconds per run")


def _interval(values: Sequence[float]) -> Estimate | None:
    return bootstrap(values) if values else None


def _efficiency(cells: Sequence[Cell]) -> Figure | None:
    def value(cell: Cell) -> Estimate | None:
        each = cell.efficiency
        return None if each is None else Estimate(each, each, each, len(cell.good))

    figure = _grouped(cells, value, "reward per 1,000 root tokens (log)")
    if figure is None:
        return None
    values = [cell.efficiency for cell in cells if cell.efficiency]
    if values and max(values) > 30 * min(values):
        figure.axes[0].set_yscale("log")
        figure.axes[0].set_ylim(min(values) / 3, max(values) * 2)
    else:
        figure.axes[0].set_ylabel("reward per 1,000 root tokens")
    return figure


def _tokens(cells: Sequence[Cell]) -> Figure | None:
    """Stacked bars, a panel for each environment: their scales differ by orders of magnitude."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    envs = [env for env in _envs(cells) if any(cell.good for cell in cells if cell.env == env)]
    if not envs:
        return None
    columns = min(3, len(envs))
    lines = -(-len(envs) // columns)
    figure = Figure(figsize=(4.2 * columns, 0.9 + 2.9 * lines), facecolor="white")
    grid = figure.subplots(lines, columns, squeeze=False)
    for number, axes in enumerate(grid.flat):
        if number >= len(envs):
            axes.set_visible(False)
            continue
        group = [cell for cell in cells if cell.env == envs[number]]
        base = [0.0] * len(group)
        for name, _, colour, hatch in TOKENS:
            heights = [cell.mean(name) for cell in group]
            axes.bar(
                [cell.arm for cell in group], heights, 0.7, bottom=base, color=colour, hatch=hatch, edgecolor="white"
            )
            base = [before + height for before, height in zip(base, heights, strict=True)]
        axes.set_title(envs[number], fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="x", labelrotation=20 if len(group) > 3 else 0, labelsize=8)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        if number % columns == 0:
            axes.set_ylabel("mean tokens per run")
    patches = [
        Patch(facecolor=colour, hatch=hatch, edgecolor="white", label=label) for _, label, colour, hatch in TOKENS
    ]
    figure.tight_layout()
    figure.legend(
        handles=patches, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(4, 2 * columns), frameon=False
    )
    return figure


def _size(cells: Sequence[Cell]) -> Figure | None:
    """A line for each arm of each environment whose inputs differ in size."""
    shown = [cell for cell in cells if len(by_size(cell)) > 1]
    envs = _envs(shown)
    if not envs:
        return None
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    arms = _arms(shown)
    colours, markers = _looks(arms, COLOURS), _looks(arms, MARKERS)
    columns = min(3, len(envs))
    lines = -(-len(envs) // columns)
    figure = Figure(figsize=(4.4 * columns, 0.9 + 3.0 * lines), facecolor="white")
    for number, axes in enumerate(figure.subplots(lines, columns, squeeze=False, sharey=True).flat):
        if number >= len(envs):
            axes.set_visible(False)
            continue
        for cell in shown:
            if cell.env != envs[number]:
                continue
            points = by_size(cell)
            xs, ys = [point.chars for point in points], [point.reward.mean for point in points]
            low = [max(0.0, point.reward.mean - point.reward.low) for point in points]
            high = [max(0.0, point.reward.high - point.reward.mean) for point in points]
            look: dict[str, Any] = {"color": colours[cell.arm], "marker": markers[cell.arm], "capsize": 2.5}
            axes.errorbar(xs, ys, yerr=[low, high], linewidth=1.5, elinewidth=0.8, markersize=5, **look)
        axes.set_xscale("log")
        axes.set_ylim(-0.03, 1.05)
        axes.set_title(envs[number], fontsize=10)
        axes.set_xlabel("characters of input")
        axes.grid(color="#dddddd", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        if number % columns == 0:
            axes.set_ylabel("mean reward")
    handles = [Line2D([], [], color=colours[arm], marker=markers[arm], label=arm) for arm in arms]
    figure.tight_layout()
    figure.legend(
        handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(4, len(arms)), frameon=False
    )
    return figure


_PLOTS: tuple[tuple[str, str, Callable[[Sequence[Cell]], Figure | None]], ...] = (
    ("reward", "Mean reward by environment and arm, with 95 % intervals", _reward),
    ("tokens", "Mean tokens per run: of the root and of the sub-LLMs, prompt and completion", _tokens),
    ("efficiency", "Reward per 1,000 root tokens by environment and arm", _efficiency),
    ("seconds", "Seconds per run by environment and arm, with 95 % intervals", _seconds),
    ("size", "Mean reward by size of the input", _size),
)
