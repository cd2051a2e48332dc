"""`%pip install NAME …`: the host resolves and installs; this side asks, and looks again."""

from __future__ import annotations

import importlib
import re
import shlex
import sys

from guest.bridge import Bridge, BridgeClosed

_PIP = re.compile(r"^\s*(?:(?:python3?|\S*/python3?)\s+-m\s+)?pip3?\s+(.*)$", re.DOTALL)


def pip_line(command: str) -> str | None:
    """The arguments, if `command` is a call of pip."""
    match = _PIP.match(command)
    return match[1] if match else None


class Installer:
    def __init__(self, bridge: Bridge, directory: str) -> None:
        """`directory` is where the host puts this run's packages; empty when it installs none."""
        self._bridge = bridge
        if directory and directory not in sys.path:
            sys.path.append(directory)

    def pip(self, line: str) -> None:
        """`%pip install NAME …`: only `install`, only names; the user decides which."""
        words = shlex.split(line, comments=True)
        names = [word for word in words[1:] if not word.startswith("-")]
        if not words or words[0] != "install" or not names:
            print("%pip supports: %pip install NAME [NAME …]")  # noqa: T201
            return
        try:
            reply = self._bridge.request("install", names=names)
        except BridgeClosed as error:
            print(f"Nothing was installed: {error}")  # noqa: T201
            return
        importlib.invalidate_caches()
        print(reply.get("message", ""))  # noqa: T201
