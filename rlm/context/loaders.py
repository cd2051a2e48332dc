"""Loaders: functions of the user's that make an input of files of their own kind."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from rlm.errors import ConfigError, InputError
from rlm.tools.failures import reason
from rlm.tools.locate import load

Loader = Callable[[Path], Any]
"""From where a file lies to a str, bytes, a `Value`, or what JSON can hold."""

_registered: dict[str, Loader] = {}
_lock = threading.Lock()


def register_loader(suffixes: str | Iterable[str], loader: Loader) -> None:
    """Have `loader(path)` make the input of every file whose name ends so, in all runs of this process.

    `suffixes` is one or several, such as `".las"`; case does not count. What the loader returns is what `context` is in
    place of the file: a str a text, bytes a file with other contents, a dict or list the same again; a `Value` renames
    it. The file itself is mounted beside it. The loader runs here, outside of the sandbox, in the thread that prepares
    the run; what it raises ends the run with an `InputError`; in a directory the file is left as it is, with a notice.
    The setting `loaders` goes before. Raises `ConfigError` for what is no suffix or cannot be called.
    """
    made = {checked_suffix(suffix): loader for suffix in ([suffixes] if isinstance(suffixes, str) else suffixes)}
    if not callable(loader):
        raise ConfigError(f"a loader is a function of a path, not a {type(loader).__name__}")
    with _lock:
        _registered.update(made)


def checked_suffix(suffix: str) -> str:
    """`".LAS"` -> `".las"`. Raises `ConfigError`."""
    if not suffix.startswith(".") or len(suffix) < 2 or "/" in suffix:
        raise ConfigError(f"loaders: {suffix!r} is no suffix like '.las'")
    return suffix.lower()


class Loaders:
    """The loaders of a run: those of its settings, then those that are registered."""

    def __init__(self, configured: Mapping[str, Any]) -> None:
        """Raises `ConfigError` for one that cannot be found."""
        with _lock:
            found = dict(_registered)
        for suffix, loader in configured.items():
            found[checked_suffix(suffix)] = loader if callable(loader) else load(str(loader))
        self._by_suffix = sorted(found.items(), key=lambda each: -len(each[0]))

    def of(self, name: str) -> Loader | None:
        """The one for a file of this name: that of the longest suffix that it ends with."""
        lower = os.path.basename(name).lower()
        return next((loader for suffix, loader in self._by_suffix if lower.endswith(suffix)), None)


def call(loader: Loader, path: str, shown: str) -> Any:
    """What the loader makes of the file. Raises `InputError`, in one line, for whatever it raises."""
    try:
        made = loader(Path(path))
    except Exception as error:
        # A loader is code of the user's.
        raise InputError(f"the loader of {shown} failed: {reason(error)}") from error
    if made is None:
        raise InputError(f"the loader of {shown} returned nothing")
    return made
