"""Which paths a client may ask about: what lies beneath the server's roots, and beneath the client's if it has any."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rlm.errors import ConfigError, InputError


class Roots:
    """Folders beneath which everything may be read. Raises `ConfigError` for one that is none.

    `narrower` are further folders: what is asked for must lie beneath one of these as well.
    """

    def __init__(self, folders: Sequence[Path], *, narrower: Sequence[Path] | None = None) -> None:
        self.folders = tuple(_real_folder(each) for each in folders)
        self._narrower = None if narrower is None else tuple(Path(os.path.realpath(each)) for each in narrower)

    def within(self, uris: Iterable[str]) -> Roots:
        """The same, narrowed to a client's roots. A URI that names no file of this machine allows nothing."""
        return Roots(self.folders, narrower=[path for uri in uris if (path := _path_of(uri)) is not None])

    def resolve(self, given: str) -> Path:
        """The real path of what a client names, absolute or relative to a root; no link is left in it.

        Raises `InputError` for what is not there, and in the same words for what may not be read.
        """
        try:
            for candidate in self._candidates(given):
                real = Path(os.path.realpath(candidate, strict=True))
                if self._allows(real):
                    return real
        except (OSError, ValueError):  # no such file, a loop of links, a NUL in the name
            pass
        raise InputError(f"there is no file or folder {given[:300]!r} beneath the roots")

    def _candidates(self, given: str) -> list[Path]:
        path = Path(given)
        if path.is_absolute():
            return [path]
        return [found for root in self.folders if os.path.lexists(found := root / path)]

    def _allows(self, real: Path) -> bool:
        if not any(real.is_relative_to(folder) for folder in self.folders):
            return False
        return self._narrower is None or any(real.is_relative_to(folder) for folder in self._narrower)


def _real_folder(folder: Path) -> Path:
    real = Path(os.path.realpath(folder.expanduser()))
    if not real.is_dir():
        raise ConfigError(f"--root: {folder} is not a folder")
    return real


def _path_of(uri: str) -> Path | None:
    try:
        parts = urlsplit(uri)
        path = unquote(parts.path, errors="strict")
    except ValueError:
        return None
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not path.startswith("/") or "\0" in path:
        return None
    return Path(path)
