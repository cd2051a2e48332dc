"""Regular expressions over a `Text`: the engine behind its methods and behind the guest's `re`.

Pure ASCII is searched in place, by the pattern turned into one for bytes: matches may have any length.
Anything else is decoded in overlapping windows: a match there, with the context that its lookarounds
see, has at most `max_match` characters (64 Ki unless told otherwise).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guest.text import Text

MAX_MATCH = 64 << 10
"""Characters."""

_SCOPED_FLAGS = re.compile(r"\(\?(?=[a-zA-Z-]*[aux])[a-zA-Z-]+:")
_SPACE = r" \t-\r\x1c-\x1f"
_NOT_SPACE = r"\x00-\x08\x0e-\x1b!-\xff"


@lru_cache(maxsize=256)
def bytes_pattern(pattern: re.Pattern[str]) -> re.Pattern[bytes] | None:
    r"""The pattern that matches in ASCII bytes what `pattern` matches in ASCII text; None if there is none.

    Between the two, only `\s` differs within ASCII: as text it includes 0x1c to 0x1f.
    """
    source, flags = pattern.pattern, pattern.flags
    if not source.isascii() or _SCOPED_FLAGS.search(source):
        return None
    if not flags & re.ASCII:
        source = _spell_out_spaces(source, verbose=bool(flags & re.VERBOSE))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return re.compile(source.encode(), flags & ~(re.UNICODE | re.DEBUG))
    except (re.error, ValueError):
        return None  # \u, \N and (?u) exist for text only


def _spell_out_spaces(source: str, *, verbose: bool) -> str:
    out: list[str] = []
    in_class = False
    at = 0
    while at < len(source):
        char = source[at]
        token = source[at : at + 2] if char == "\\" else char
        if in_class:
            out.append({r"\s": _SPACE, r"\S": _NOT_SPACE}.get(token, token))
            in_class = char != "]"
        elif char == "[":
            # A first "]", also after "^", is an ordinary character of the class.
            token = re.compile(r"\[\^?\]?").match(source, at)[0]  # type: ignore[index]
            out.append(token)
            in_class = True
        elif char == "#" and verbose:
            token = source[at:].split("\n", 1)[0]
        else:
            out.append({r"\s": f"[{_SPACE}]", r"\S": f"[{_NOT_SPACE}]"}.get(token, token))
        at += len(token)
    return "".join(out)


class TextMatch:
    """A match in a `Text`, with the interface of `re.Match`; all offsets are characters of the text."""

    def __init__(self, match: re.Match[Any], shift: int, pattern: re.Pattern[str], text: Text, span: tuple[int, int]):
        self.re = pattern
        self.string = text
        self.pos, self.endpos = span
        self.regs = tuple((a + shift, b + shift) if a >= 0 else (-1, -1) for a, b in match.regs)
        self.lastindex = match.lastindex
        self.lastgroup = match.lastgroup
        # A match of bytes holds on to the map only; one of a decoded window would keep that in memory.
        in_place = isinstance(match.re.pattern, bytes)
        self._match = match if in_place else None
        self._groups = () if in_place else (match[0], *match.groups())

    def _index(self, group: int | str) -> int:
        number = self.re.groupindex.get(group, -1) if isinstance(group, str) else group
        if not 0 <= number < len(self.regs):
            raise IndexError("no such group")
        return number

    def _get(self, number: int) -> str | None:
        if self._match is None:
            value: str | None = self._groups[number]
            return value
        found = self._match[number]
        return None if found is None else str(found, "ascii")

    def __getitem__(self, group: int | str) -> Any:
        return self._get(self._index(group))

    def group(self, *groups: int | str) -> Any:
        """One group as a str (None if it took no part in the match), or a tuple of several."""
        if len(groups) > 1:
            return tuple(self[group] for group in groups)
        return self[groups[0] if groups else 0]

    def groups(self, default: Any = None) -> tuple[Any, ...]:
        found = (self._get(number) for number in range(1, len(self.regs)))
        return tuple(default if value is None else value for value in found)

    def groupdict(self, default: Any = None) -> dict[str, Any]:
        found = {name: self._get(number) for name, number in self.re.groupindex.items()}
        return {name: default if value is None else value for name, value in found.items()}

    def span(self, group: int | str = 0) -> tuple[int, int]:
        return self.regs[self._index(group)]

    def start(self, group: int | str = 0) -> int:
        return self.span(group)[0]

    def end(self, group: int | str = 0) -> int:
        return self.span(group)[1]

    def expand(self, template: str) -> str:
        parts = _template_parts(self.re, template)
        return "".join(self._get(part) or "" if isinstance(part, int) else part for part in parts)

    def __repr__(self) -> str:
        return f"<TextMatch span={self.span()}, match={_short(self[0])}>"


def _short(text: str) -> str:
    return repr(text if len(text) <= 50 else text[:47] + "...")


@lru_cache(maxsize=64)
def _template_parts(pattern: re.Pattern[str], template: str) -> list[str | int]:
    """The literals of a replacement template, and the numbers of its groups.

    The standard library parses it: it expands a match whose every group is a mark with the group's number.
    """
    mark = next(chr(code) for code in range(0xE000, 0xF8FF) if chr(code) not in template)
    names = {number: name for name, number in pattern.groupindex.items()}
    marks = [f"{mark}{number}{mark}" for number in range(pattern.groups + 1)]
    groups = "".join(
        f"(?P<{names[number]}>{marks[number]})" if number in names else f"({marks[number]})"
        for number in range(1, len(marks))
    )
    match = re.match(f"{marks[0]}(?={groups})", "".join(marks))
    assert match is not None
    pieces = match.expand(template).split(mark)
    return [int(piece) if at % 2 else piece for at, piece in enumerate(pieces)]


def raw_matches(
    pattern: re.Pattern[str], text: Text, pos: int, endpos: int, *, max_match: int
) -> Iterator[tuple[re.Match[Any], int]]:
    """What `pattern.finditer(str(text), pos, endpos)` yields, each with what to add to its offsets."""
    source, start, end = text.source, text.first, text.last
    if source.ascii and (in_bytes := bytes_pattern(pattern)) is not None:
        for match in in_bytes.finditer(source.view[start:end], pos, endpos):
            yield match, 0
    else:
        yield from _in_windows(pattern, text, pos, endpos, max_match)


def raw_anchored(
    pattern: re.Pattern[str], text: Text, pos: int, endpos: int, *, whole: bool, max_match: int
) -> tuple[re.Match[Any], int] | None:
    """What `pattern.match(str(text), pos, endpos)`, or with `whole` its `fullmatch`, returns, and its shift."""
    source = text.source
    found: re.Match[Any] | None
    if source.ascii and (in_bytes := bytes_pattern(pattern)) is not None:
        view = source.view[text.first : text.last]
        found = in_bytes.fullmatch(view, pos, endpos) if whole else in_bytes.match(view, pos, endpos)
        return (found, 0) if found else None
    base, stop = max(0, pos - max_match), min(endpos, pos + max_match)
    if whole and stop < endpos:
        return None
    window = source.decode(text.byte_of(base), text.byte_of(stop))
    found = pattern.fullmatch(window, pos - base) if whole else pattern.match(window, pos - base)
    if found and stop < endpos and found.end() == len(window):
        _warn_cut(max_match)
    return (found, base) if found else None


def _in_windows(
    pattern: re.Pattern[str], text: Text, pos: int, endpos: int, max_match: int
) -> Iterator[tuple[re.Match[str], int]]:
    stride = text.stride
    base = max(0, pos - max_match)
    pieces = text.source.windows(text.byte_of(base), text.byte_of(endpos), stride)
    buffer, final = "", False
    while not final:
        parts = [buffer]
        have = len(buffer) + base - pos
        while have < stride + max_match and not final:
            piece = next(pieces, None)
            final = piece is None
            parts.append(piece or "")
            have += len(piece or "")
        buffer = "".join(parts)
        limit = pos + stride
        for match in pattern.finditer(buffer, pos - base):
            if not final and match.start() + base >= limit:
                break
            if not final and match.end() == len(buffer):
                _warn_cut(max_match)
            yield match, base
            limit = max(limit, match.end() + base)
        # What begins before `limit` has been seen; keep what a lookbehind at `limit` may want to see.
        pos = limit
        keep = max(base, pos - max_match)
        buffer, base = buffer[keep - base :], keep


def _warn_cut(max_match: int) -> None:
    warnings.warn(
        f"A match was cut after {max_match:,} or more characters: the text is not pure ASCII and is searched in "
        "windows. Search str(text[a:b]) instead, or pass max_match=.",
        stacklevel=2,
    )
