"""The guest's `re`: the standard module, whose functions take a `Text` wherever they take a `str`.

`module` stands in for `re` in the user's namespace; `import_for_cells` makes `import re` in a cell find it.
For a `str` it answers with what the standard library answers.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from guest.text import Text

Flags = int | re.RegexFlag


class TextPattern:
    """A compiled pattern that also takes a `Text`; all else is as in `re.Pattern` (`.compiled` is that)."""

    def __init__(self, compiled: re.Pattern[str]) -> None:
        self.compiled = compiled

    def search(self, string: Any, pos: int = 0, endpos: int = sys.maxsize) -> Any:
        return self._on(string, "search", pos, endpos)

    def match(self, string: Any, pos: int = 0, endpos: int = sys.maxsize) -> Any:
        return self._on(string, "match", pos, endpos)

    def fullmatch(self, string: Any, pos: int = 0, endpos: int = sys.maxsize) -> Any:
        return self._on(string, "fullmatch", pos, endpos)

    def finditer(self, string: Any, pos: int = 0, endpos: int = sys.maxsize) -> Any:
        return self._on(string, "finditer", pos, endpos)

    def findall(self, string: Any, pos: int = 0, endpos: int = sys.maxsize) -> Any:
        return self._on(string, "findall", pos, endpos)

    def _on(self, string: Any, method: str, pos: int, endpos: int) -> Any:
        if isinstance(string, Text):
            return getattr(string, method)(self.compiled, pos, endpos)
        return getattr(self.compiled, method)(string, pos, endpos)

    def split(self, string: Any, maxsplit: int = 0) -> list[Any]:
        if not isinstance(string, Text):
            return self.compiled.split(string, maxsplit)
        return split(self.compiled, string, maxsplit)

    def sub(self, repl: Any, string: Any, count: int = 0) -> str:
        return self.subn(repl, string, count)[0]

    def subn(self, repl: Any, string: Any, count: int = 0) -> tuple[str, int]:
        if isinstance(string, Text):
            return string.subn(self.compiled, repl, count)
        return self.compiled.subn(repl, string, count)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.compiled, name)

    def __repr__(self) -> str:
        return repr(self.compiled)

    def __eq__(self, other: object) -> bool:
        return self.compiled == (other.compiled if isinstance(other, TextPattern) else other)

    def __hash__(self) -> int:
        return hash(self.compiled)

    def __reduce__(self) -> tuple[Any, ...]:
        return compile_, (self.compiled.pattern, self.compiled.flags)


def split(pattern: re.Pattern[str], text: Text, maxsplit: int = 0) -> list[Any]:
    """As `re.split`; each piece is a str."""
    out: list[Any] = []
    at = 0
    for number, match in enumerate(text.finditer(pattern), 1):
        if maxsplit < 0:
            break
        out += [str(text[at : match.start()]), *match.groups()]
        at = match.end()
        if number == maxsplit:
            break
    return [*out, str(text[at:])]


def compile_(pattern: Any, flags: Flags = 0) -> Any:
    """As `re.compile`, but the pattern's methods take a `Text` too. A pattern of bytes stays what it is."""
    if isinstance(pattern, TextPattern):
        if flags:
            raise ValueError("cannot process flags argument with a compiled pattern")
        return pattern
    compiled = re.compile(pattern, flags)
    return TextPattern(compiled) if isinstance(compiled.pattern, str) else compiled


def _search(pattern: Any, string: Any, flags: Flags = 0) -> Any:
    return compile_(pattern, flags).search(string)


def _match(pattern: Any, string: Any, flags: Flags = 0) -> Any:
    return compile_(pattern, flags).match(string)


def _fullmatch(pattern: Any, string: Any, flags: Flags = 0) -> Any:
    return compile_(pattern, flags).fullmatch(string)


def _finditer(pattern: Any, string: Any, flags: Flags = 0) -> Any:
    return compile_(pattern, flags).finditer(string)


def _findall(pattern: Any, string: Any, flags: Flags = 0) -> Any:
    return compile_(pattern, flags).findall(string)


def _split(pattern: Any, string: Any, maxsplit: int = 0, flags: Flags = 0) -> Any:
    return compile_(pattern, flags).split(string, maxsplit)


def _sub(pattern: Any, repl: Any, string: Any, count: int = 0, flags: Flags = 0) -> Any:
    return compile_(pattern, flags).sub(repl, string, count)


def _subn(pattern: Any, repl: Any, string: Any, count: int = 0, flags: Flags = 0) -> Any:
    return compile_(pattern, flags).subn(repl, string, count)


def _make_module() -> types.ModuleType:
    made = types.ModuleType("re", re.__doc__)
    made.__dict__.update({name: value for name, value in vars(re).items() if name not in made.__dict__})
    made.__dict__.update(
        compile=compile_,
        search=_search,
        match=_match,
        fullmatch=_fullmatch,
        finditer=_finditer,
        findall=_findall,
        split=_split,
        sub=_sub,
        subn=_subn,
    )
    return made


module = _make_module()


def import_for_cells(
    real_import: Callable[..., Any], *, is_cell: Callable[[Mapping[str, Any]], bool]
) -> Callable[..., Any]:
    """An `__import__` under which the code whose globals satisfy `is_cell` finds `module` as `re`.

    Libraries go on with the standard one: some ask whether a pattern is a `re.Pattern`.
    """

    def import_(
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        if name == "re" and level == 0 and globals is not None and is_cell(globals):
            return module
        return real_import(name, globals, locals, fromlist, level)

    return import_
