"""What the evaluator may look at: values whose every operation is known to be harmless, within bounds."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from guest.answer import AnswerDict
from guest.files import Files
from guest.results import CallError, CallResult
from guest.text import Text

MAX_STEPS = 100_000
"""Steps for one prompt: some 0.1 s."""
MAX_TOTAL = 20_000_000
"""Steps for all prompts of a loop."""
MAX_BYTES = 32 << 20
"""Characters that may be made for one prompt, intermediate values included."""

TEXTS = frozenset({str, CallResult})
NUMBERS = frozenset({int, float, bool, complex})
SCALARS = TEXTS | NUMBERS | {bytes, type(None)}
MAPPINGS = frozenset({dict, defaultdict, OrderedDict})
COLLECTIONS = frozenset({list, tuple, set, frozenset}) | MAPPINGS
VIEWS = frozenset(
    type(view) for d in (dict[Any, Any](), OrderedDict[Any, Any]()) for view in (d.keys(), d.values(), d.items())
)
SIZED = TEXTS | COLLECTIONS | VIEWS | {bytes, range, Text, Files}
CHANGEABLE = frozenset({list, set, deque, Counter, AnswerDict}) | MAPPINGS
"""What a loop may fill: nothing of it runs code of the cell."""


class Opaque:
    """Stands for the types that have a metaclass: to look for one of them in a set would run its code."""


def kind_of(value: Any) -> type:
    kind = type(value)
    return kind if type(kind) is type or kind is Files else Opaque


class Doubtful(Exception):
    """Whether this is harmless, or what comes of it, is not known for certain."""


class Unknown:
    """Stands for a value that was not foreseen."""


UNKNOWN = Unknown()


class Lazy:
    """An iterator that the evaluator made itself: nobody else misses what is taken from it."""

    def __init__(self, items: Iterator[Any]) -> None:
        self.items = items


class Scope:
    """Names as a piece of code sees them: its own, then what `outer` finds. `outer` may raise `NameError`."""

    def __init__(self, own: dict[str, Any], outer: Callable[[str], Any]) -> None:
        self.own = own
        self._outer = outer

    def look(self, name: str) -> Any:
        return self.own[name] if name in self.own else self._outer(name)


class Caution:
    """The checks of one loop: what it changes must not be read, and what is spent is bounded."""

    def __init__(self) -> None:
        self._changing: dict[int, Any] = {}  # by identity; holds them, so that no identity is given again
        self._keyed: dict[int, Any] = {}
        self._steps = self._made = self._total = 0

    # --- what was spent ---------------------------------------------------------------------

    def begin(self) -> None:
        """Before the next prompt."""
        self._total += self._steps
        self._steps = self._made = 0
        if self._total > MAX_TOTAL:
            raise Doubtful("too much to compute")

    def step(self, count: int = 1) -> None:
        self._steps += count
        if self._steps > MAX_STEPS:
            raise Doubtful("too much to compute")

    def make(self, size: int) -> None:
        """`size` characters or elements are about to be made."""
        self._made += max(0, size)
        if self._made > MAX_BYTES:
            raise Doubtful("too much to make")
        self.step(max(0, size) >> 12)

    # --- what the loop changes --------------------------------------------------------------

    def change(self, value: Any, *, inside: bool = False) -> None:
        """The loop changes `value`, with `inside` also what it holds. `Doubtful` if that may do anything else."""
        if kind_of(value) not in CHANGEABLE:
            raise Doubtful(f"a {type(value).__name__} is changed")
        self._changing[id(value)] = value
        if inside:
            self.step(len(value) >> 3)
            for held in value.values() if isinstance(value, Mapping) else value:
                self._changing[id(held)] = held

    @property
    def changes_mapping(self) -> bool:
        return any(kind_of(value) in MAPPINGS for value in self._changing.values())

    def touch(self, value: Any) -> Any:
        if id(value) in self._changing and kind_of(value) not in SCALARS:
            raise Doubtful("the loop changes it")
        return value

    # --- what values are --------------------------------------------------------------------

    def forget(self) -> None:
        """Code of the cell has run: what was seen of its values may hold no more."""
        self._keyed.clear()

    def plain(self, *values: Any) -> int:
        """See to it that they are exact builtin values all the way down; returns roughly how long their text is."""
        weight = 0
        stack = list(values)
        while stack:
            value = stack.pop()
            kind = kind_of(value)
            if kind in TEXTS or kind is bytes:
                weight += len(value)
            elif kind is int:
                weight += value.bit_length() // 3 + 2
            elif kind in SCALARS or kind is range:
                weight += 24
            elif kind is Text:
                weight += value.last - value.first
            elif kind in COLLECTIONS:
                self.touch(value)
                self.step((len(value) >> 3) + 1)
                weight += 4 * len(value) + 16
                stack += value
                if kind in MAPPINGS:
                    stack += value.values()
            else:
                raise Doubtful(f"a {kind.__name__}")
        return weight

    def keys(self, mapping: Any) -> None:
        """See to it that a look into it by key runs no code of the cell."""
        if self._keyed.get(id(mapping)) is not mapping:
            self.step(len(mapping) >> 3)
            self.plain(*mapping)
            self._keyed[id(mapping)] = mapping

    def truth(self, value: Any) -> bool:
        kind = kind_of(value)
        if kind in SIZED or kind in SCALARS:
            return bool(value)
        if kind is CallError:
            return False
        raise Doubtful(f"whether a {kind.__name__} is true")

    def iterate(self, value: Any) -> Iterator[Any]:
        """Its elements, one step each; from a second iterator, so that nobody misses them."""
        if type(value) is Lazy:
            return self._count(value.items)
        if not repeatable(value):
            raise Doubtful(f"the elements of a {type(value).__name__}")
        return self._count(iter(self.touch(value)))

    def _count(self, items: Iterator[Any]) -> Iterator[Any]:
        for item in items:
            self.step()
            yield self.touch(item)


def repeatable(value: Any) -> bool:
    """Whether it can be iterated over again and again, without any effect."""
    return kind_of(value) in SIZED or views_files(value)


def views_files(value: Any) -> bool:
    kind = type(value)
    return (kind is KeysView or kind is ValuesView or kind is ItemsView) and type(value._mapping) is Files
