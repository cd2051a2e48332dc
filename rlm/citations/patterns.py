"""A quotation as byte patterns: exactly as it is written, and with leave in spacing and in the form of its marks."""

from __future__ import annotations

import json
import re
from functools import cached_property

CODECS = ("utf-8", "cp1252")
"""How texts are read that do not begin with a mark of UTF-16; the second one only for what is not ASCII."""
SPACES = " \t\n\r\v\f\u00a0\u2009\u202f"
_ALIKE = ("'\u2018\u2019\u02bc", '"\u201c\u201d\u201e', "-\u2010\u2011\u2013\u2014")
"""Apostrophes, quotation marks and dashes that a writer does not tell apart."""


class Pattern:
    """What to look for, in one encoding."""

    def __init__(self, quote: str, codec: str) -> None:
        """Raises `UnicodeEncodeError` for a quotation that the encoding cannot hold."""
        self.codec = codec
        self._quote = quote
        forms = (quote, *(json.dumps(quote, ensure_ascii=ascii_)[1:-1] for ascii_ in (False, True)))
        self.exact = tuple(form.encode(codec) for form in dict.fromkeys(forms))
        """The quotation's bytes as in a text, and as within a string of JSON."""

    @property
    def reach(self) -> int:
        """Most bytes that a match may take."""
        return 2 * max(map(len, self.exact)) + 4096

    @cached_property
    def loose(self) -> re.Pattern[bytes]:
        """Any run of white space for each, and marks of any form."""
        gap = b"(?:" + b"|".join(re.escape(space.encode(self.codec)) for space in self._held(SPACES)) + b"){1,200}"
        return re.compile(gap.join(self._word(word) for word in re.split(f"[{SPACES}]+", self._quote.strip(SPACES))))

    def _word(self, word: str) -> bytes:
        return b"".join(self._character(character) for character in word)

    def _character(self, character: str) -> bytes:
        alike = next((group for group in _ALIKE if character in group), character)
        forms = [re.escape(form.encode(self.codec)) for form in self._held(alike)]
        return forms[0] if len(forms) == 1 else b"(?:" + b"|".join(forms) + b")"

    def _held(self, characters: str) -> list[str]:
        """Those that the encoding has."""
        return [each for each in characters if each.encode(self.codec, "ignore")]


def patterns(quote: str, codecs: tuple[str, ...]) -> list[Pattern]:
    """One for each encoding in which the quotation has other bytes."""
    found: list[Pattern] = []
    for codec in codecs[:1] if quote.isascii() else codecs:
        try:
            found.append(Pattern(quote, codec))
        except UnicodeEncodeError:
            continue
    return found
