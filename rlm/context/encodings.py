"""In what encoding a text is, and the same text in UTF-8, which is all that a sandbox reads."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator

CHECKED = 64 << 20
"""Bytes of a file that are read to see whether they are UTF-8; of a larger one, both ends."""
SAMPLE = 64 << 10
"""Bytes from which the encoding is guessed."""
PIECE = 1 << 20
_SIGNS = b"\x80\x82\x84\x85\x91\x92\x93\x94\x95\x96\x97\x99\xa1\xa3\xa7\xa9\xab\xae\xb0\xb1\xb7\xbb\xbd\xbf\xd7".decode(
    "cp1252"
)
"""Quotes, dashes and the like of western text."""
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def detect(fd: int, hint: str | None = None) -> str | None:
    """The encoding of the open file: None for UTF-8, with wrong bytes too, and for what is no text.

    By its mark, else by where its zeros are, else by the bytes that are not UTF-8. `hint` is what its server says.
    """
    size = os.fstat(fd).st_size
    head = os.pread(fd, SAMPLE, 0)
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    if b"\0" in head[: 8 << 10]:
        return _without_mark(head)
    if (sample := _first_wrong(fd, size)) is None:
        return None
    if hint is not None and (known := _known(hint)) not in (None, "utf-8"):
        return known
    return _guess(sample)


def recoded(fd: int, encoding: str) -> Iterator[tuple[bytes, int]]:
    """The whole file in UTF-8, piece by piece, with the characters of each; wrong bytes become U+FFFD."""
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    at = 0
    while True:
        piece = os.pread(fd, PIECE, at)
        at += len(piece)
        text = decoder.decode(piece, not piece).replace("\0", "\ufffd")
        if text:
            yield text.encode("utf-8", "replace"), len(text)
        if not piece:
            return


def _known(name: str) -> str | None:
    try:
        found = codecs.lookup(name.strip("\"' "))
    except LookupError:
        return None
    # Others (`zip`, `rot13`) do not make text of bytes. A browser reads latin-1 as what Windows makes of it.
    if not getattr(found, "_is_text_encoding", True):
        return None
    return "cp1252" if found.name in ("iso8859-1", "ascii") else found.name


def _without_mark(head: bytes) -> str | None:
    """UTF-16 whose mark is missing: every other byte of western text is a zero."""
    if len(head) < 16:
        return None
    sample = head[: len(head) & ~1]
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    half = len(sample) // 2
    for zeros, others, name in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
        if zeros > 0.3 * half and others < 0.02 * half:
            text = codecs.decode(sample, name, "replace")
            odd_ones = sum(not char.isprintable() and char not in "\r\n\t\f" for char in text)
            return name if odd_ones <= 0.01 * len(text) else None
    return None


def _first_wrong(fd: int, size: int) -> bytes | None:
    """A sample around the first bytes that are not UTF-8; None if all is, but for a wrong byte here and there."""
    right = 0
    for start, end in [(0, size)] if size <= CHECKED else [(0, 4 * PIECE), (size - 4 * PIECE, size)]:
        decoder = codecs.getincrementaldecoder("utf-8")()
        for at in range(start, end, PIECE):
            piece = os.pread(fd, min(PIECE, end - at), at)
            if at == start > 0:
                piece = piece.lstrip(bytes(range(0x80, 0xC0)))  # the end of a character
            try:
                right += _beyond_ascii(decoder.decode(piece, at + PIECE >= size))
            except UnicodeDecodeError:
                text = piece.decode("utf-8", "replace")
                wrong = text.count("\ufffd")
                if right + _beyond_ascii(text) - wrong >= wrong:
                    return None
                first = next((at for at, byte in enumerate(piece) if byte > 0x7F), 0)
                return piece[max(0, first - SAMPLE // 4) :][:SAMPLE]
    return None


def _beyond_ascii(text: str) -> int:
    return 0 if text.isascii() else len(text) - len(text.encode("ascii", "ignore"))


def _guess(sample: bytes) -> str:
    """Of 8 bits a character, or east Asian: by the words and letters that it would come to."""
    from charset_normalizer import from_bytes  # not every run meets such a file

    western = sample.decode("cp1252", "replace")
    beyond = [char for char in western if ord(char) > 0x7F]
    if len(beyond) < 32 and all(char.isalpha() or char in _SIGNS for char in beyond):
        return "cp1252"  # too little to tell languages apart
    best = from_bytes(sample).best()
    known = _known(best.encoding) if best is not None else None
    if known is not None and known.startswith("gb"):
        # The same bytes are kana in both, which no Chinese text has.
        text = sample.decode(known, "replace")
        kana = sum("\u3041" <= char <= "\u30ff" for char in text)
        return "euc_jp" if kana > 0.1 * len(text) else known
    return known if known not in (None, "utf-8") else "cp1252"
