"""The quotations in an answer: what stands between `<quote>` tags, and what quotation marks or `>` set off as one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rlm.result import Citation

MIN_WORDS = 4
"""Fewer words between quotation marks are a name or a way of speaking."""

_TAG = re.compile(r"<quote(?P<attributes>\s[^<>]{0,300})?>|(?P<closing></quote>)")
_SOURCE = re.compile(r"""source\s*=\s*["']?(?P<source>[^"'>]+)""")
_MARKED = re.compile(
    r"“(?P<curly>[^“”]+)”"
    r"|«\s?(?P<angled>[^«»]+?)\s?»"
    r"|„(?P<low>[^„“”]+)[“”]"
    r'|(?<![\w"])"(?P<straight>[^"\n]+(?:\n[^"\n]+)*)"(?!\w)'
    r"|(?P<block>(?:^[ \t]{0,3}>[^\n]*(?:\n|\Z))+)",
    re.MULTILINE,
)
_BLOCK_MARK = re.compile(r"^[ \t]{0,3}>[ \t]?", re.MULTILINE)


class Quote(NamedTuple):
    """A quotation, and where it stands in the answer, its marks included."""

    text: str
    start: int
    end: int
    source: str = ""
    """Where it is from, as the model says."""
    tagged: bool = False


def find_quotes(answer: str) -> list[Quote]:
    """All quotations, in order. Tags come first: there are no quotations within them."""
    found = list(_tagged(answer))
    outside = _blank(answer, found)
    for match in _MARKED.finditer(outside):
        text = match[match.lastgroup or 0]
        if match.lastgroup == "block":
            text = _BLOCK_MARK.sub("", text)
        text = text.strip()
        if len(text.split()) >= MIN_WORDS:
            found.append(Quote(text, match.start(), match.end()))
    return sorted(found, key=lambda quote: quote.start)


def _tagged(answer: str) -> Iterator[Quote]:
    """What stands between tags, each closing one taken with the last opening one before it."""
    opening: re.Match[str] | None = None
    for tag in _TAG.finditer(answer):
        if not tag["closing"]:
            opening = tag
        elif opening is not None:
            source = _SOURCE.search(opening["attributes"] or "")
            text = answer[opening.end() : tag.start()].strip()
            if text:
                yield Quote(text, opening.start(), tag.end(), source["source"].strip() if source else "", True)
            opening = None


def numbered(answer: str, quotes: Sequence[Quote], citations: Sequence[Citation]) -> str:
    """The answer with tags turned into quotation marks and a number. All else stays: it may be data, or code."""
    pieces, at = [], 0
    for quote, citation in zip(quotes, citations, strict=True):
        if not quote.tagged:
            continue
        said = _SAID.get(citation.status)
        mark = f"[{citation.number}: {said}]" if said else f"[{citation.number}]"
        pieces += [answer[at : quote.start], f"“{quote.text}” {mark}"]
        at = quote.end
    return "".join([*pieces, answer[at:]])


_SAID = {"missing": "not in the input", "unchecked": "not checked"}


def _blank(answer: str, found: Sequence[Quote]) -> str:
    """The answer with what was found already made unremarkable, all positions kept."""
    pieces, at = [], 0
    for quote in found:
        pieces += [answer[at : quote.start], "." * (quote.end - quote.start)]
        at = quote.end
    return "".join([*pieces, answer[at:]])
