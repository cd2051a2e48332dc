"""The functions and methods that the evaluator calls: pure ones of the standard library, told by identity."""

from __future__ import annotations

import builtins
import json
import math
import os
import posixpath
import re
import string
import textwrap
from collections.abc import Callable, Iterable
from json import dumps, loads
from types import ModuleType
from typing import Any

from guest.files import Files
from guest.purevalues import COLLECTIONS, MAPPINGS, SCALARS, SIZED, TEXTS, Caution, Doubtful, Lazy, kind_of, views_files
from guest.results import CallError, CallResult
from guest.text import Text

MAX_WIDTH = 100_000
"""The largest number in a format: it may be a width."""


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


METHODS: dict[type, frozenset[str]] = {
    str: words(
        "capitalize casefold center count encode endswith find format index isalnum isalpha isascii isdecimal isdigit"
        " isidentifier islower isnumeric isspace istitle isupper join ljust lower lstrip partition removeprefix"
        " removesuffix replace rfind rindex rjust rpartition rsplit rstrip split splitlines startswith strip swapcase"
        " title upper zfill"
    ),
    bytes: words("decode startswith endswith strip hex"),
    list: words("index count copy"),
    tuple: words("index count"),
    dict: words("get items keys values copy"),
    set: words("union intersection difference issubset issuperset isdisjoint copy"),
    float: words("is_integer"),
    Text: words("chunks lines find rfind count startswith endswith"),
    Files: words("paths keys items values get"),
}
METHODS[frozenset] = METHODS[set]

_FIELDS = {
    CallResult: words("model usage cached depth_limited ready stop_reason turns"),
    CallError: words("kind message text"),
}
CLASSES = (str, bytes, int, float, bool, list, tuple, dict, set, frozenset, type(None), CallError, CallResult)
Call = Callable[..., Any]


class Library:
    """Calls for one loop."""

    def __init__(self, caution: Caution) -> None:
        self.caution = caution

    def call(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Any function, such as the key of a sort."""
        raise NotImplementedError

    def find(self, function: Any) -> Call | None:
        """What stands for `function` here; None if it is none of these."""
        name = known(function)
        if name is None:
            return None
        own = getattr(self, f"_{name}", None)
        return own or (lambda *args, **kwargs: self._plainly(function, args, kwargs))

    def _plainly(self, function: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.caution.make(self.caution.plain(*args, *kwargs.values()))
        return function(*args, **kwargs)

    # --- builtins ---------------------------------------------------------------------------

    def _len(self, value: Any) -> int:
        if kind_of(value) not in SIZED and not views_files(value):
            raise Doubtful(f"the length of a {type(value).__name__}")
        return len(value)

    def _bool(self, value: Any = False) -> bool:
        return self.caution.truth(value)

    def _format(self, value: Any, spec: str = "") -> str:
        self.caution.make(self.caution.plain(value, spec) + bounded(spec))
        return format(value, spec)

    def _round(self, number: Any, digits: Any = None) -> Any:
        if digits is not None and not -MAX_WIDTH < digits < MAX_WIDTH:
            raise Doubtful("round")
        return self._plainly(round, (number, digits), {})

    def _isinstance(self, value: Any, kinds: Any) -> bool:
        kinds = kinds if type(kinds) is tuple else (kinds,)
        usual = all(any(kind is each for each in CLASSES) for kind in kinds)
        if not usual or kind_of(value) not in SCALARS | SIZED | {CallError}:
            raise Doubtful("isinstance")
        return isinstance(value, kinds)

    def _construct(self, kind: Call, values: Iterable[Any]) -> Any:
        items = list(self.caution.iterate(values))
        if kind in (set, frozenset):
            self.caution.plain(items)
        return kind(items)

    def _list(self, values: Any = ()) -> Any:
        return self._construct(list, values)

    def _tuple(self, values: Any = ()) -> Any:
        return self._construct(tuple, values)

    def _set(self, values: Any = ()) -> Any:
        return self._construct(set, values)

    def _frozenset(self, values: Any = ()) -> Any:
        return self._construct(frozenset, values)

    def _dict(self, values: Any = (), **more: Any) -> Any:
        if kind_of(values) in MAPPINGS:
            self.caution.keys(values)
            return dict(values, **more)
        pairs = list(self.caution.iterate(values))
        self.caution.plain(pairs)
        return dict(pairs, **more)

    def _enumerate(self, values: Any, start: int = 0) -> Lazy:
        return Lazy(enumerate(self.caution.iterate(values), start))

    def _zip(self, *values: Any, strict: bool = False) -> Lazy:
        return Lazy(zip(*map(self.caution.iterate, values), strict=strict))

    def _map(self, function: Any, *values: Any) -> Lazy:
        return Lazy(self.call(function, *each) for each in zip(*map(self.caution.iterate, values), strict=False))

    def _filter(self, function: Any, values: Any) -> Lazy:
        truth = self.caution.truth
        items = self.caution.iterate(values)
        return Lazy(each for each in items if truth(each if function is None else self.call(function, each)))

    def _reversed(self, values: Any) -> Lazy:
        if kind_of(values) not in {list, tuple, str, range}:
            raise Doubtful("reversed")
        self.caution.make(len(values))
        return Lazy(self.caution.iterate(values[::-1]))

    def _any(self, values: Any) -> bool:
        return any(map(self.caution.truth, self.caution.iterate(values)))

    def _all(self, values: Any) -> bool:
        return all(map(self.caution.truth, self.caution.iterate(values)))

    def _sum(self, values: Any, start: Any = 0) -> Any:
        items = list(self.caution.iterate(values))
        if not all(kind_of(each) in SCALARS for each in (start, *items)):
            raise Doubtful("a sum of more than numbers")
        self.caution.plain(items)
        return sum(items, start)

    def _sorted(self, values: Any, *, key: Any = None, reverse: bool = False) -> list[Any]:
        items = list(self.caution.iterate(values))
        keys = items if key is None else [self.call(key, each) for each in items]
        self.caution.plain(keys, reverse)
        return [items[at] for at in sorted(range(len(items)), key=keys.__getitem__, reverse=reverse)]

    def _min(self, *values: Any, **options: Any) -> Any:
        return self._extreme(min, values, **options)

    def _max(self, *values: Any, **options: Any) -> Any:
        return self._extreme(max, values, **options)

    def _extreme(self, which: Call, values: tuple[Any, ...], *, key: Any = None, **default: Any) -> Any:
        items = list(self.caution.iterate(values[0] if len(values) == 1 else values))
        keys = items if key is None else [self.call(key, each) for each in items]
        self.caution.plain(keys)
        at = which(range(len(items)), key=keys.__getitem__, **{name: None for name in default})
        return default["default"] if at is None else items[at]

    def _loads(self, text: Any, **options: Any) -> Any:
        if options or type(text) is not str:
            raise Doubtful("json.loads")
        self.caution.step(len(text) >> 6)
        return loads(text)

    def _dumps(self, value: Any, **options: Any) -> str:
        default = options.pop("default", None)
        if options.keys() - {"ensure_ascii", "indent", "sort_keys", "separators"} or default not in (None, str):
            raise Doubtful("json.dumps")
        width = bounded(str(options.get("indent", "")))
        self.caution.make((2 + width) * self.caution.plain(value, options))
        return dumps(value, default=default, **options)

    # --- methods ----------------------------------------------------------------------------

    def method(self, value: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        kind = kind_of(value)
        kind = str if kind in TEXTS else kind
        if name not in METHODS.get(dict if kind in MAPPINGS else kind, ()):
            raise Doubtful(f".{name} of a {kind.__name__}")
        caution = self.caution
        if kind is str and name == "join" and len(args) == 1:
            args = (list(caution.iterate(args[0])),)
            caution.make(len(value) * len(args[0]))
        weight = caution.plain(*args, *kwargs.values())
        if kind is str:
            caution.make(len(value) + weight)
            self._text_method(value, name, args, weight)
        elif kind is Text and name not in ("chunks", "lines"):
            caution.step((value.last - value.first) >> 14)
        elif name == "get" and kind in MAPPINGS:
            caution.keys(value)
        elif kind in COLLECTIONS and kind not in MAPPINGS:
            caution.plain(value)
        result = getattr(kind, name)(value, *args, **kwargs)
        return Lazy(result) if kind is Text and name in ("chunks", "lines") else result

    def _text_method(self, value: str, name: str, args: tuple[Any, ...], weight: int) -> None:
        """Bounds for the methods that make a long text of a short one."""
        if name == "format":
            for _, field, spec, _ in string.Formatter().parse(value):
                self.caution.make(weight + bounded(spec or ""))
                if "." in (field or ""):
                    raise Doubtful("an attribute in a format")
        elif name in ("split", "rsplit", "splitlines"):
            # Many small texts take far more than the one.
            self.caution.step(len(value) >> 6)
        elif name == "replace" and args and isinstance(args[0], str):
            self.caution.make((value.count(args[0]) + 1) * weight)
        elif name in ("ljust", "rjust", "center", "zfill") and args and isinstance(args[0], int):
            self.caution.make(args[0])


def bounded(spec: str) -> int:
    """How much a format may add to what it formats, by the widths in it."""
    widths = [int(number) for number in re.findall(r"\d{1,9}", spec)]
    if "{" in spec or "*" in spec or any(width > MAX_WIDTH for width in widths):
        raise Doubtful("a format of unknown width")
    return sum(widths)


_BUILTINS = words(
    "abs all any ascii bool chr complex dict divmod enumerate filter float format frozenset hex int isinstance len list"
    " map max min oct ord range repr reversed round set slice sorted str sum tuple zip"
)
_MODULES = {
    builtins: _BUILTINS,
    json: words("dumps loads"),
    math: words("ceil floor sqrt log log2 log10 exp fabs trunc isnan isinf"),
    posixpath: words("basename dirname join split splitext"),
    textwrap: words("dedent"),
}
FUNCTIONS: dict[int, tuple[Any, str]] = {
    id(function): (function, name)
    for module, names in _MODULES.items()
    for name in names
    for function in [getattr(module, name)]
}
"""By identity, as a look-up by value would ask the value for its hash."""


def known(function: Any) -> str | None:
    found = FUNCTIONS.get(id(function))
    return found[1] if found is not None and found[0] is function else None


def attribute(value: Any, name: str) -> Any:
    """`value.name` without a call: a function of a module, or what a result of ours knows."""
    if type(value) is ModuleType:
        found = vars(value).get(name)
        if (value is os and found is posixpath) or known(found):
            return found
    elif name in _FIELDS.get(kind_of(value), ()):
        return getattr(value, name)
    raise Doubtful(f".{name} of a {type(value).__name__}")
