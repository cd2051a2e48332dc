"""Who may ask: the keys of a server, and whose a request is."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterable, MutableMapping
from pathlib import Path

from rlm.errors import ConfigError

VARIABLE = "RLM_SERVE_KEYS"
SHORTEST = 16
"""Characters of a key: shorter ones can be guessed."""
NOBODY = "local"
"""Who asks where no key is needed."""


class Keys:
    """Keys, kept as hashes. Raises `ConfigError` for one that is too short."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        found = list(dict.fromkeys(keys))
        if any(len(key) < SHORTEST for key in found):
            raise ConfigError(f"a key has at least {SHORTEST} characters")
        self._hashes = [_hash(key) for key in found]

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def owner(self, authorization: str) -> str | None:
        """A name for who sent this header, the same for the same key; None if it holds no key of ours.

        Takes the same time whichever key it is.
        """
        if not self:
            return NOBODY
        scheme, _, given = authorization.partition(" ")
        hashed = _hash(given.strip())
        matches = [secrets.compare_digest(hashed, known) for known in self._hashes]
        return hashed[:16] if scheme.lower() == "bearer" and any(matches) else None


def load(file: Path | None, environ: MutableMapping[str, str] = os.environ) -> Keys:
    """The keys of a file and of RLM_SERVE_KEYS, apart by commas or lines; `#` begins a comment line.

    The variable is taken out of the environment, so that nothing that is started later finds it. Raises `ConfigError`.
    """
    texts = [environ.pop(VARIABLE, "")]
    if file is not None:
        try:
            texts.append(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
    lines = [line for text in texts for line in text.splitlines() if not line.lstrip().startswith("#")]
    keys = [key for line in lines for key in re.split(r"[,\s]+", line) if key]
    if file is not None and not keys:
        raise ConfigError(f"{file}: there is no key in it")
    return Keys(keys)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
