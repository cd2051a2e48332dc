"""Which packages may be asked for: names with versions, and nothing that pip would take for more than that."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rlm.errors import ConfigError
from rlm.kernels.pins import normalised

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_VERSION = r"(?:===?|~=|!=|<=|>=|<|>)\s*[A-Za-z0-9][A-Za-z0-9.!+*_-]*"
_REQUIREMENT = re.compile(
    rf"(?P<name>{_NAME})\s*(?P<extras>\[\s*{_NAME}(?:\s*,\s*{_NAME})*\s*\])?\s*(?P<versions>{_VERSION}(?:\s*,\s*{_VERSION})*)?",
    re.ASCII,
)
MAX_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Requirement:
    """One package that was asked for."""

    name: str
    """Normalised."""
    text: str
    """As pip takes it: `name[extra]>=1,<2`, without blanks."""

    @property
    def bare(self) -> bool:
        """Any version will do, and no extras are wanted."""
        return normalised(self.text) == self.name


def parse(text: str) -> Requirement:
    """Check one requirement: a name, perhaps extras, perhaps versions.

    Options (`-r`, `--index-url`), paths, URLs, `name @ url`, wheel files and markers raise `ConfigError`.
    """
    match = _REQUIREMENT.fullmatch(text.strip()) if len(text) <= MAX_LENGTH else None
    if match is None or match["name"].lower().endswith((".whl", ".zip", ".tar.gz")):
        raise ConfigError(
            f"not a package: {text[:MAX_LENGTH]!r} (wanted: a name, or `name==version`; no options or URLs)"
        )
    return Requirement(name=normalised(match["name"]), text="".join(match[0].split()))


def refused(requirements: Sequence[Requirement], *, allow: Collection[str]) -> list[str]:
    """The names of `requirements` that are not in the allow-list.

    For requests out of a sandbox: a name is a message to whoever runs the index. What an allowed
    package depends on comes with it.
    """
    allowed = {normalised(name.strip()) for name in allow}
    return [requirement.name for requirement in requirements if requirement.name not in allowed]
