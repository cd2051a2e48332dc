"""An answer with its quotations looked up: what is there, what is not, and what there was no time for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from rlm import threads
from rlm.citations.quotes import Quote, find_quotes, numbered
from rlm.citations.search import OutOfTime, Place, Search, documents, named_by
from rlm.context import Item
from rlm.prompts import render
from rlm.result import Citation

SECONDS = 60.0
"""For looking up all quotations of one answer."""
SHOWN, MAX_SHOWN = 300, 20
"""Characters of a quotation that is told to be missing, and how many are."""
MAX_QUOTES = 200
MAX_QUOTE = 20_000
"""Characters of one quotation. What is longer, or beyond the 200th, is not checked."""


class Cited(NamedTuple):
    """An answer and its citations, in the order of the text."""

    answer: str
    """With the citations' numbers behind the quotations."""
    citations: tuple[Citation, ...]

    @property
    def missing(self) -> list[Citation]:
        return [citation for citation in self.citations if citation.status == "missing"]


def cite(answer: str, items: Iterable[Item], *, seconds: float = SECONDS) -> Cited:
    """Look every quotation of `answer` up in the input. Blocks, for `seconds` at most; reads the files anew."""
    quotes = find_quotes(answer)
    deadline = time.monotonic() + seconds
    search = Search(documents(items), lambda: time.monotonic() > deadline)
    checked = [quote for quote in quotes[:MAX_QUOTES] if len(quote.text) <= MAX_QUOTE]
    places, in_time = _places(search, checked)
    citations = []
    for number, quote in enumerate(quotes, 1):
        place = places.get(quote)
        if place is not None:
            citations.append(Citation(number, quote.text, "found", *place))
        else:
            looked_up = in_time and number <= MAX_QUOTES and len(quote.text) <= MAX_QUOTE
            citations.append(Citation(number, quote.text, "missing" if looked_up else "unchecked"))
    return Cited(numbered(answer, quotes, citations), tuple(citations))


class Citer:
    """Cites the answers of one run, each in a thread. The same answer again is not looked up again."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = items
        self._latest: tuple[str, Cited] | None = None

    async def cited(self, answer: str) -> Cited:
        if self._latest is None or self._latest[0] != answer:
            self._latest = answer, await threads.watch(partial(cite, answer, self._items), name="rlm-cite")
        return self._latest[1]

    async def complaint(self, answer: str) -> str:
        """What the model is told of an answer that quotes nothing, or what is not there; empty if all is well."""
        cited = await self.cited(answer)
        missing = [quote if len(quote := each.quote) <= SHOWN else f"{quote[:SHOWN]}…" for each in cited.missing]
        if cited.citations and not missing:
            return ""
        return render("uncited", missing=missing[:MAX_SHOWN], more=max(0, len(missing) - MAX_SHOWN))


def _places(search: Search, quotes: Sequence[Quote]) -> tuple[dict[Quote, Place], bool]:
    """Where they are, first of all where the model says; and whether there was time for all."""
    places: dict[Quote, Place] = {}
    try:
        for source in dict.fromkeys(quote.source for quote in quotes if quote.source):
            named = [quote for quote in quotes if quote.source == source]
            places |= _found(search, named, within=partial(named_by, source))
        places |= _found(search, [quote for quote in quotes if quote not in places])
    except OutOfTime:
        return places, False
    return places, True


def _found(
    search: Search, quotes: Sequence[Quote], *, within: Callable[[str], bool] | None = None
) -> dict[Quote, Place]:
    found = search.find([quote.text for quote in quotes], within=within)
    return {quote: found[quote.text] for quote in quotes if quote.text in found}
