"""What the user's namespace offers, and what the host is told about it after each cell."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

MAX_LISTED = 50
MAX_NAME = 80
SLOW = 0.2
"""Seconds; a type that took longer to tell its size, or was interrupted at it, is not asked again."""
_slow_types: set[type] = set()


def measure(value: object) -> str:
    """A short, safe measure of a value: its shape or its length."""
    if type(value) in _slow_types:
        return ""
    began = time.monotonic()
    try:
        shape = getattr(value, "shape", None)
        if isinstance(shape, tuple) and all(isinstance(n, int) for n in shape):
            dtype = getattr(value, "dtype", "")
            return f"{shape} {dtype}".strip()
        if isinstance(value, (bool, int, float, complex)):
            text = repr(value) if not isinstance(value, int) or value.bit_length() < 256 else "a large int"
            return text[:MAX_NAME]
        if hasattr(value, "__len__"):
            return f"len {len(value):,}"
    except BaseException as error:
        # The value's own code may raise anything, or be interrupted; that is worth a word, not a failed cell.
        return f"({type(error).__name__})"
    finally:
        if time.monotonic() - began > SLOW and type(value).__module__ != "builtins":
            _slow_types.add(type(value))
    return ""


class Namespace:
    """The dict that cells run in: our names, the user's, and which of them changed."""

    def __init__(self, tools: dict[str, Any]) -> None:
        self._tools = tools
        self.values: dict[str, Any] = {**tools, "SHOW_VARS": self.show_vars}
        self._tools["SHOW_VARS"] = self.values["SHOW_VARS"]
        self._seen: dict[str, tuple[int, str]] = {}
        self._hidden: frozenset[str] = frozenset()

    def keep(self, names: Iterable[str]) -> None:
        """What is there under these names is ours too: it is put back where a cell takes it away."""
        self._tools.update({name: self.values[name] for name in names if name in self.values})

    def adopt(self, values: dict[str, Any]) -> None:
        """Live in the shell's dict; what is there before the first cell is not the user's."""
        values.update(self._tools)
        self.values = values
        self._hidden = frozenset(values)

    def show_vars(self) -> dict[str, str]:
        """The variables that you have made: name -> type and size."""
        return {name: _describe(value) for name, value in self._mine()}

    def _mine(self) -> list[tuple[str, Any]]:
        return [
            (name, value)
            for name, value in list(self.values.items())
            if isinstance(name, str)
            and not name.startswith("_")
            and name not in self._hidden
            and not isinstance(value, ModuleType)
        ]

    def changes(self) -> list[list[str]]:
        """`[name, type, size]` of each variable that the last cell made or changed."""
        current = {name: (id(value), _describe(value)) for name, value in self._mine()}
        changed = [name for name, mark in current.items() if self._seen.get(name) != mark]
        self._seen = current
        return [[name[:MAX_NAME], *_parts(self.values[name])] for name in changed[:MAX_LISTED]]

    def restore(self) -> list[str]:
        """Put back helpers that a cell deleted or redefined. Returns remarks for the model."""
        remarks = []
        for name, tool in self._tools.items():
            found = self.values.get(name, _GONE)
            if found is tool:
                continue
            self.values[name] = tool
            if found is _GONE:
                remarks.append(f"`{name}` was deleted; it is back.")
            else:
                self.values[f"my_{name}"] = found
                remarks.append(f"`{name}` was redefined; the original is back and yours is now `my_{name}`.")
        return remarks


_GONE = object()


def _parts(value: object) -> tuple[str, str]:
    return type(value).__name__[:MAX_NAME], measure(value)


def _describe(value: object) -> str:
    return " ".join(_parts(value)).strip()


def make_exit(name: str) -> Callable[..., None]:
    """`exit` and `quit`: in a script they end it, here they end the cell."""

    def leave(code: object = None) -> None:
        """End the cell; the kernel and its variables live on."""
        raise SystemExit(code)

    leave.__name__ = leave.__qualname__ = name
    return leave
