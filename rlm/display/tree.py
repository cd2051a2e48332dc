"""What goes on, as a few lines: the root's turn, its batches, the children that did something last, the totals.

turn 2/30: the cell runs, 12.3 s
  batch 1  ━━━━━━━━────────────────  3/10 children
    0.3  turn 2/8, the cell runs, batch 12/40: What does chapter 3 say about …
    0.4  turn 1/8, the model writes: What does chapter 4 say about …
    + 6 more
42.0 s; root 12.3k in 1.2k out, 3 calls; sub 45.6k in 7.8k out, 212 calls; cost ~0.0123
left: 941k tokens, 4,785 sub-calls, 59 min 18 s
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from rlm.display.narrate import Line
from rlm.display.progress import Batch, Progress, Rollout
from rlm.display.text import count, duration, visible

SHOWN_BATCHES = 4
SHOWN_CHILDREN = 6
SHOWN_WRITING = 3
_BAR = 32
_LONGEST = 400
"""Characters of a line; who draws it cuts it to the terminal's width."""


def tree(progress: Progress, *, width: int, height: int, ascii_only: bool = False) -> list[Line]:
    """At most `height` lines, at least one; what matters least is left out first."""
    root = progress.root
    batches = list(root.batches.items())[-min(SHOWN_BATCHES, max(1, height - 3)) :] if height >= 3 else []
    spare = height - 2 - len(batches)
    left = _left(progress) if spare >= 1 else ""
    spare -= bool(left)
    names = _shown(progress, spare - 1)
    hidden = len(progress.children) - len(names)
    spare -= len(names) + bool(names and hidden)
    lines = _writing(progress, min(spare, SHOWN_WRITING))
    if height >= 2:
        lines.append(Line(f"  {_doing(root)}", "head"))
    bar = "#-" if ascii_only else "━─"
    placed: set[str] = set()
    for key, batch in batches:
        lines.append(Line(f"    {_progress_of(batch, bar, min(_BAR, width - 40))}", "live"))
        own = [n for n in names if progress.children[n].parent == root.name and progress.children[n].batch == key]
        lines += _subtrees(progress, own, names, placed)
    # Children of a batch that is not shown, or has just ended.
    lines += _subtrees(progress, names, names, placed)
    if names and hidden:
        lines.append(Line(f"      + {hidden:,} more"))
    lines.append(Line(f"  {_totals(progress)}", "live"))
    if left:
        lines.append(Line(f"  left: {left}"))
    return lines


def _shown(progress: Progress, room: int) -> list[str]:
    """The names of the children to show, in the order of the tree."""
    room = min(SHOWN_CHILDREN, room)
    return sorted(list(progress.children)[-room:], key=_place) if room > 0 else []


def _place(name: str) -> list[int]:
    return [int(part) if part.isdigit() else 0 for part in name.split(".")]


def _subtrees(progress: Progress, roots: list[str], names: list[str], placed: set[str]) -> Iterator[Line]:
    """The lines of these children, and of those of `names` that are below them, each once."""
    for top in roots:
        for name in names:
            if name not in placed and (name == top or name.startswith(f"{top}.")):
                placed.add(name)
                child = progress.children[name]
                yield Line(
                    f"{'  ' * (2 + name.count('.'))}{child.name}  {_doing(child, query=True)}"[:_LONGEST], "text"
                )


def _doing(rollout: Rollout, *, query: bool = False) -> str:
    """`turn 2/8, the cell runs, batch 12/40: What …` of a child, `turn 2/30: the cell runs, 1.2 s` of the root."""
    turn = f"turn {rollout.turn}/{rollout.max_turns}" if rollout.turn else ""
    if not query:
        said = f"{rollout.phase}, {duration(time.monotonic() - rollout.since)}"
        return f"{turn}: {said}" if turn else said
    parts = [turn, rollout.phase]
    if rollout.batches:
        done, size = (sum(getattr(b, name) for b in rollout.batches.values()) for name in ("done", "size"))
        parts.append(f"batch {done:,}/{size:,}")
    return ", ".join(filter(None, parts)) + (f": {rollout.query}" if rollout.query else "")


def _progress_of(batch: Batch, bar: str, width: int) -> str:
    full = width * batch.done // max(1, batch.size)
    drawn = f"{bar[0] * full}{bar[1] * (width - full)}  " if width >= 8 else ""
    failed = f", {batch.failed:,} failed" if batch.failed else ""
    kind = " children" if batch.recursive else ""
    return f"batch {batch.number}  {drawn}{batch.done:,}/{batch.size:,}{kind}{failed}"


def _totals(progress: Progress) -> str:
    spending = progress.spending
    parts = [duration(progress.elapsed), f"root {spending.root}", f"sub {spending.sub}"]
    if progress.children:
        parts.append(f"{len(progress.children):,} children")
    if spending.cost:
        parts.append(f"cost ~{spending.cost:.4f}")
    return "; ".join(parts)


def _left(progress: Progress) -> str:
    left = progress.spending.left(progress.elapsed)
    parts = []
    if left.tokens is not None:
        parts.append(f"{count(left.tokens)} tokens")
    if left.cost is not None:
        parts.append(f"{left.cost:.4f} of cost")
    if left.sub_calls is not None:
        parts.append(f"{left.sub_calls:,} sub-calls")
    if left.seconds is not None:
        parts.append(duration(left.seconds))
    return ", ".join(parts)


def _writing(progress: Progress, room: int) -> list[Line]:
    """The end of what the root model writes."""
    if room <= 0:
        return []
    lines = [line for line in visible(progress.writing).splitlines() if line.strip()]
    return [Line(f"  ┆ {line.expandtabs(4)}"[:_LONGEST]) for line in lines[-room:]]
