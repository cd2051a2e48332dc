"""The tools: a library of pages on this disk that sub-LLMs search and open. The root model never sees a page."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path

from rlm import Tool

PAGES = {
    title.strip(): " ".join(text.split())
    for title, _, text in (
        section.partition("\n") for section in Path(__file__).with_name("corpus.md").read_text().split("# ")[1:]
    )
}
_WORDS = {title: Counter(re.findall(r"\w+", f"{title} {title} {text}".lower())) for title, text in PAGES.items()}


def search(query: str, limit: int = 3) -> list[dict[str, str]]:
    """Search the library. Returns the titles of the best pages, each with its first words.

    Args:
        query: a few words, names above all
        limit: how many pages
    """
    words = re.findall(r"\w+", query.lower())
    rarity = {word: math.log(len(PAGES) / (1 + sum(word in counts for counts in _WORDS.values()))) for word in words}
    scores = {
        title: sum(rarity[word] * counts[word] / (counts[word] + 1.2) for word in words if word in counts)
        for title, counts in _WORDS.items()
    }
    best = sorted(scores, key=lambda title: (-scores[title], title))[:limit]
    return [{"title": title, "begins": PAGES[title][:80]} for title in best]


def open_page(title: str) -> str:
    """Open a page of the library by its exact title."""
    if title not in PAGES:
        raise KeyError(f"no page {title!r}; search for its title first")
    return PAGES[title]


TOOLS = [Tool(search, read_only=True), Tool(open_page, read_only=True)]
