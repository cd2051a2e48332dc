"""A wiki that exists only here: pages written when they are opened, and a search over what they say.

A page is long, and most of it says nothing: its facts stand between paragraphs of filler, beside facts about others and
claims that are marked as errors. The index covers titles and all such sentences, and leaves the filler out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from rlm.evals.deepdive import words
from rlm.evals.deepdive.bm25 import Bm25, terms
from rlm.evals.deepdive.world import PROPERTIES_OF, RELATIONS_OF, YEARS, Entity, make_world

OPEN_CHARS = 12_000
"""Characters of a page that one call of `open` returns."""
MAX_RESULTS = 10
FILLERS = 200
STRANGERS = 4
"""How many other entities a page says something about."""


class Wiki:
    """The pages for one seed, `pages` of them, each of `shortest` to `longest` characters."""

    def __init__(self, seed: int, pages: int, shortest: int, longest: int) -> None:
        self._key = f"{seed}-{pages}"
        self._lengths = shortest, longest
        self.world = make_world(seed, pages)
        self._names = list(self.world)
        self._filler = list(_fillers(random.Random(f"{self._key}-deepdive-filler")))
        self._sentences = {name: self._said(entity) for name, entity in self.world.items()}
        self._index = Bm25({name: f"{name}\n{' '.join(said)}" for name, said in self._sentences.items()})
        self._titles = {alias.lower(): e.name for e in self.world.values() for alias in (e.name, *e.aliases)}
        self.tools: tuple[Callable[..., Any], ...] = _tools(self)

    def search(self, query: str, n: int) -> list[dict[str, Any]]:
        """The best pages, each with its title, the sentence that fits best, and its length in characters."""
        found = []
        for name in self._index.best(query, max(1, min(n, MAX_RESULTS))):
            wanted = set(terms(query))
            sentence = max(self._sentences[name], key=lambda each: len(wanted & set(terms(each))))
            found.append({"title": name, "snippet": sentence, "chars": len(self.page(name))})
        return found

    def open(self, title: str, start: int) -> str:
        """A piece of a page. Raises `LookupError` where there is none."""
        name = self._titles.get(title.strip().lower())
        if name is None:
            raise LookupError(f"there is no page {title[:80]!r}; use search to find titles")
        page = self.page(name)
        start = max(0, start)
        end = min(len(page), start + OPEN_CHARS)
        if start >= len(page):
            return f"[the page has {len(page)} characters]"
        rest = f"go on with start={end}" if end < len(page) else "the end"
        return f"{page[start:end]}\n[characters {start} to {end} of {len(page)}: {rest}]"

    def page(self, name: str) -> str:
        """The whole text of a page."""
        rng = random.Random(f"{self._key}-{name}-deepdive-page")
        length = rng.randint(*self._lengths)
        paragraphs: list[str] = []
        size = 0
        while size < length:
            paragraphs.append(rng.choice(self._filler))
            size += len(paragraphs[-1]) + 2
        for sentence in self._sentences[name][1:]:
            at = rng.randrange(len(paragraphs))
            paragraphs[at] = f"{paragraphs[at]} {sentence}" if rng.random() < 0.5 else f"{sentence} {paragraphs[at]}"
        parts = min(len(words.SECTIONS), len(paragraphs))
        for number in range(parts):
            at = number * len(paragraphs) // parts
            paragraphs[at] = f"== {words.SECTIONS[number]} ==\n{paragraphs[at]}"
        return "\n\n".join([f"# {name}", self._sentences[name][0], *paragraphs])

    def _said(self, entity: Entity) -> list[str]:
        """All sentences of a page that say something; first the one at its top."""
        rng = random.Random(f"{self._key}-{entity.name}-deepdive-said")
        also = f", also known as {', '.join(entity.aliases)}" if entity.aliases else ""
        said = list(_facts(entity))
        for _ in range(STRANGERS):
            other = self.world[rng.choice(self._names)]
            if other.name != entity.name:
                said.append(rng.choice(list(_facts(other))))
        relation = rng.choice(RELATIONS_OF[entity.kind])
        right = entity.relations[relation.name]
        wrong = rng.choice([each for each in self._near(rng, relation.target) if each != right] or [right])
        if wrong != right:
            claim = relation.sentence.format(x=entity.name, y=wrong).removesuffix(".")
            said.append(f"An old lexicon claims that {claim}, which is an error.")
        rng.shuffle(said)
        return [f"This page is about the {entity.kind} {entity.name}{also}.", *said]

    def _near(self, rng: random.Random, kind: str) -> list[str]:
        return [name for name in rng.choices(self._names, k=12) if self.world[name].kind == kind]


def _facts(entity: Entity) -> Iterator[str]:
    for relation in RELATIONS_OF[entity.kind]:
        yield relation.sentence.format(x=entity.name, y=entity.relations[relation.name])
    for each in PROPERTIES_OF[entity.kind]:
        yield each.sentence.format(x=entity.name, y=entity.properties[each.name])
    if entity.kind in YEARS:
        yield YEARS[entity.kind][0].format(x=entity.name, y=entity.year)


def _fillers(rng: random.Random) -> Iterator[str]:
    for _ in range(FILLERS):
        sentences = rng.sample(words.FILLER, rng.randint(4, 9))
        yield " ".join(f"{each.format(a=_adjective(rng), b=_adjective(rng))}." for each in sentences)


def _adjective(rng: random.Random) -> str:
    return rng.choice(words.ADJECTIVES)


def _tools(wiki: Wiki) -> tuple[Callable[..., Any], ...]:
    def search(query: str, n: int = 5) -> list[dict[str, Any]]:
        """Search the wiki by words; the best pages come first.

        Args:
            query: the words to look for
            n: how many pages to list, at most 10
        """
        return wiki.search(query, n)

    def open(title: str, start: int = 0) -> str:
        """Read a page of the wiki, 12,000 characters at a time.

        Args:
            title: as the search lists it
            start: the character to begin at
        """
        return wiki.open(title, start)

    return search, open


@lru_cache(maxsize=4)
def make_wiki(seed: int, pages: int, shortest: int, longest: int) -> Wiki:
    """The wiki of these arguments, made once."""
    return Wiki(seed, pages, shortest, longest)
