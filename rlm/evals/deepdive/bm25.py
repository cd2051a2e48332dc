"""BM25: which documents are most about the words of a query."""

from __future__ import annotations

import heapq
import math
import re
from collections import Counter
from collections.abc import Mapping

K1 = 1.2
B = 0.75


class Bm25:
    """An index of texts by name. Ties are broken by name, so that a query has one answer everywhere."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._postings: dict[str, list[tuple[str, int]]] = {}
        self._sizes: dict[str, int] = {}
        for name, text in texts.items():
            counts = Counter(terms(text))
            self._sizes[name] = counts.total()
            for term, count in counts.items():
                self._postings.setdefault(term, []).append((name, count))
        self._mean = sum(self._sizes.values()) / max(1, len(self._sizes))

    def best(self, query: str, n: int) -> list[str]:
        """The names of at most `n` texts that have a word of the query, the best first."""
        scores: dict[str, float] = {}
        for term in dict.fromkeys(terms(query)):
            postings = self._postings.get(term, [])
            weight = math.log(1 + (len(self._sizes) - len(postings) + 0.5) / (len(postings) + 0.5))
            for name, count in postings:
                length = 1 - B + B * self._sizes[name] / self._mean
                scores[name] = scores.get(name, 0.0) + weight * count * (K1 + 1) / (count + K1 * length)
        return heapq.nsmallest(n, scores, key=lambda name: (-round(scores[name], 9), name))


def terms(text: str) -> list[str]:
    """Words in lower case, without a plural's s."""
    return [word[:-1] if len(word) > 3 and word.endswith("s") else word for word in re.findall(r"\w+", text.lower())]
