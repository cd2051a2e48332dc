"""`python -m rlm.commands.providers docs/providers.md` writes that page's part on providers anew, from the data."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from rlm.models.profiles import CAPABILITIES, Profile, profiles

BEGIN = "<!-- from rlm/models/profiles.toml, by `make docs` -->\n"
END = "<!-- end of what is made -->\n"

_NAMES = {
    "stream_usage": "usage of streams",
    "tools": "tools",
    "parallel_tool_calls": "parallel tool calls",
    "json_schema": "JSON Schema",
    "json_object": "JSON mode",
    "images": "images",
    "responses": "Responses API",
    "prompt_caching": "prompt caching",
}
_TAKES = {"yes": "yes", "no": "**no**", "model": "depends", "unknown": "?"}


def section() -> str:
    """The table, and what is odd about each."""
    known = list(profiles().values())
    rows = [
        ["", *(profile.title for profile in known)],
        ["---"] * (len(known) + 1),
        ["`--provider`", *(f"`{profile.name}`" for profile in known)],
        ["recognised by", *map(_recognised, known)],
        *([_NAMES[each], *(_TAKES[profile.takes[each]] for profile in known)] for each in CAPABILITIES),
        ["output cap", *(f"`{profile.cap}`" for profile in known)],
        ["window in the list of models", *map(_window, known)],
    ]
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return table + "".join(line for profile in known for line in _quirks(profile))


def page(text: str) -> str:
    """The page with its part on providers made anew."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no part between {BEGIN.strip()} and {END.strip()}")
    return f"{before}{begin}\n{section()}\n{end}{after}"


def _recognised(profile: Profile) -> str:
    ports = [f"port {port}" for port in profile.ports]
    return ", ".join([*(f"`{host}`" for host in profile.hosts), *ports]) or "-"


def _window(profile: Profile) -> str:
    return ", ".join(f"`{name}`" for name in profile.window) or "not there"


def _quirks(profile: Profile) -> Iterator[str]:
    yield f"\n### {profile.title}\n\n"
    for quirk in profile.quirks:
        yield f"- {quirk}\n"
    if profile.source:
        yield f"\nSources: {', '.join(f'<{page}>' for page in profile.source)}\n"


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(page(target.read_text(encoding="utf-8")), encoding="utf-8")
