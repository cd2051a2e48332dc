"""The parts of a docstring that models are told: its first sentence, and what it says of each parameter."""

from __future__ import annotations

import re

_SECTION = re.compile(r"(?:Args|Arguments|Parameters):\s*")
_ENTRY = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)")


def summary(doc: str, limit: int = 200) -> str:
    """The first paragraph in one line, cut to `limit` characters."""
    line = " ".join(doc.strip().partition("\n\n")[0].split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def parameter_docs(doc: str) -> dict[str, str]:
    """What the `Args:` section says, by parameter: `name: text` or `name (type): text`, and lines further indented."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    margin: int | None = None
    inside = False
    for line in doc.splitlines():
        depth = len(line) - len(line.lstrip())
        if not inside:
            inside = _SECTION.fullmatch(line.strip()) is not None
            continue
        if line.strip() and depth == 0:
            break
        if line.strip():
            margin = depth if margin is None else margin
            if depth <= margin and (entry := _ENTRY.fullmatch(line.strip())):
                current = found[entry[1]] = [entry[2]]
            else:
                current.append(line.strip())
    return {name: " ".join(filter(None, lines)) for name, lines in found.items()}
